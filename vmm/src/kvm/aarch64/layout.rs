//! Where things are in the guest's physical address space. The kernel learns all of it from the
//! device tree; the addresses are those of QEMU's virt machine.
//!
//! ```text
//! 8000000h      80A0000h         9000000h  A000000h      40000000h
//! | distributor | redistributors | serial | virtio-mmio | Image ... initramfs | device tree |
//! ```

/// The distributor of the GICv3 (`KVM_VGIC_V3_DIST_SIZE`: 64 KiB).
pub const GIC_DISTRIBUTOR: u64 = 0x0800_0000;

/// Size of the distributor's registers.
pub const GIC_DISTRIBUTOR_SIZE: u64 = 0x1_0000;

/// The redistributors, one behind the other.
pub const GIC_REDISTRIBUTORS: u64 = 0x080a_0000;

/// Size of the registers of one (`KVM_VGIC_V3_REDIST_SIZE`).
pub const GIC_REDISTRIBUTOR_SIZE: u64 = 0x2_0000;

/// Interrupts of the GIC in all, the 32 of a CPU's own included: the least that KVM offers.
pub const GIC_INTERRUPTS: u32 = 64;

/// Registers of the serial interface, a byte each.
pub const SERIAL_MMIO: Option<u64> = Some(SERIAL);

/// The same address.
pub const SERIAL: u64 = 0x0900_0000;

/// Its interrupt: a shared one (SPI). KVM takes its number as that of an irqfd's line
/// (`kvm_vgic_setup_default_irq_routing`).
pub const SERIAL_GSI: u32 = 1;

/// Registers of the virtio-mmio vsock device.
pub const VSOCK_MMIO: u64 = 0x0a00_0000;

/// Size of these registers, the device's configuration included.
pub const VSOCK_MMIO_SIZE: u64 = 0x1000;

/// Its interrupt.
pub const VSOCK_GSI: u32 = 16;

/// Beginning of memory; the kernel wants it at a multiple of 2 MiB.
pub const MEMORY: u64 = 0x4000_0000;

/// Most bytes of memory in which the initramfs and the device tree are put: the kernel wants the
/// initramfs within 32 GiB of itself.
pub const BOOT_MEMORY: u64 = 16 << 30;

/// Room for the device tree, and what its address is a multiple of: the kernel maps that much of it
/// (`MAX_FDT_SIZE`).
pub const DEVICE_TREE_SIZE: u64 = 0x20_0000;

/// Longest command line in bytes, with its terminator (`COMMAND_LINE_SIZE` of arm64).
pub const CMDLINE_SIZE: usize = 2048;

/// Most vCPUs, each with a redistributor and an affinity of one digit.
pub const MAX_CPUS: u8 = 8;
