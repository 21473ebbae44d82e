// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's physical address space, which the device tree describes to the kernel. The addresses are those
//! of QEMU's virt machine.
//!
//! ```text
//! 8000000h      80A0000h         9000000h  A000000h      40000000h
//! | distributor | redistributors | serial | virtio-mmio | Image ... initramfs | device tree |
//! ```

/// Distributor of the GICv3 (`KVM_VGIC_V3_DIST_SIZE`: 64 KiB).
pub const GIC_DISTRIBUTOR: u64 = 0x0800_0000;

/// Size of the distributor's registers in bytes.
pub const GIC_DISTRIBUTOR_SIZE: u64 = 0x1_0000;

/// Redistributors, one after the other.
pub const GIC_REDISTRIBUTORS: u64 = 0x080a_0000;

/// Size of one redistributor's registers in bytes (`KVM_VGIC_V3_REDIST_SIZE`).
pub const GIC_REDISTRIBUTOR_SIZE: u64 = 0x2_0000;

/// Number of the GIC's interrupts, the 32 private ones included: the smallest that KVM offers.
pub const GIC_INTERRUPTS: u32 = 64;

/// MMIO address of the UART.
pub const SERIAL_MMIO: Option<u64> = Some(SERIAL);

/// Registers of the UART, one byte each.
pub const SERIAL: u64 = 0x0900_0000;

/// Interrupt of the UART, an SPI. An irqfd's GSI is the number of the SPI
/// (`kvm_vgic_setup_default_irq_routing`).
pub const SERIAL_GSI: u32 = 1;

/// Registers of the virtio-mmio vsock device.
pub const VSOCK_MMIO: u64 = 0x0a00_0000;

/// Size of the vsock device's registers in bytes, with the configuration space.
pub const VSOCK_MMIO_SIZE: u64 = 0x1000;

/// Interrupt of the vsock device, an SPI.
pub const VSOCK_GSI: u32 = 16;

/// Start of memory. The kernel requires a multiple of 2 MiB.
pub const MEMORY_START: u64 = 0x4000_0000;

/// Number of bytes from the start of memory that may hold the initramfs and the device tree. The kernel
/// requires the initramfs within 32 GiB of the kernel.
pub const BOOT_MEMORY: u64 = 16 << 30;

/// Space for the device tree in bytes, which is also its alignment. The kernel maps this many bytes
/// (`MAX_FDT_SIZE`).
pub const DEVICE_TREE_SIZE: u64 = 0x20_0000;

/// Size of the command line in bytes with its terminator: arm64's `COMMAND_LINE_SIZE`.
pub const CMDLINE_SIZE: usize = 2048;

/// Largest number of vCPUs. Affinity level 0 has 16 values, so all vCPUs differ in this level.
pub const MAX_CPUS: u8 = 8;
