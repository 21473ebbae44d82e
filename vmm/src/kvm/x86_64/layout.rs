// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's physical address space: boot structures in the first MiB, devices in the hole below
//! 4 GiB. A kernel searches the MP table and the RSDP at fixed addresses; the other structures are
//! at addresses that the kernel does not use.
//!
//! ```text
//! 0          500h     6000h       7000h      9000h        20000h   9FC00h   A0000h   E0000h  100000h
//! | (unused) | GDT ... | start info | zero page | page tables | cmdline | MP table | (hole) | ACPI | RAM ...
//! ... C0000000h                                        FEC00000h  FEE00000h  FFFBC000h   100000000h
//!     | virtio-mmio | ...                             | I/O APIC | local APIC | KVM's own | RAM ...
//! ```

/// Global descriptor table for the first instructions of the kernel, with either boot protocol.
pub const GDT: u64 = 0x500;

/// `struct hvm_start_info` of PVH with its memory map and module list
/// (`include/xen/interface/hvm/start_info.h`).
pub const PVH_START_INFO: u64 = 0x6000;

/// `struct boot_params` of the 64-bit boot protocol (`Documentation/arch/x86/boot.rst`).
pub const ZERO_PAGE: u64 = 0x7000;

/// Page tables that map the first 4 GiB to themselves, for the 64-bit boot protocol: one PML4, one
/// PDPT, four page directories of 2 MiB pages.
pub const PAGE_TABLES: u64 = 0x9000;

/// Kernel command line.
pub const CMDLINE: u64 = 0x20000;

/// Size of the command line in bytes with its terminator: x86's `COMMAND_LINE_SIZE`.
pub const CMDLINE_SIZE: usize = 2048;

/// The MP table: the last KiB of base memory, one of the places where `mpparse.c` looks
/// (MultiProcessor Specification 1.4, section 4).
pub const MP_TABLE: u64 = 0x9_fc00;

/// End of base memory.
pub const BASE_MEMORY_END: u64 = 0xa_0000;

/// RSDP, followed by the other ACPI tables. The tables are in the read-only memory of the BIOS,
/// which a kernel searches if its boot parameters have no address of the RSDP (ACPI 6.5, section
/// 5.2.5.1).
pub const ACPI: u64 = 0xe_0000;

/// End of the first MiB and of the BIOS area. Ordinary memory starts here.
pub const HIGH_MEMORY: u64 = 0x10_0000;

/// Start of the MMIO hole below 4 GiB. Memory continues after the hole.
pub const MMIO_HOLE: u64 = 0xc000_0000;

/// End of the MMIO hole.
pub const MMIO_HOLE_END: u64 = 0x1_0000_0000;

/// Registers of the virtio-mmio vsock device.
pub const VSOCK_MMIO: u64 = MMIO_HOLE;

/// Size of the vsock device's registers in bytes, with the configuration space.
pub const VSOCK_MMIO_SIZE: u64 = 0x1000;

/// Interrupt of the vsock device: an I/O APIC pin that no ISA device of a PC uses.
pub const VSOCK_GSI: u32 = 5;

/// I/O APIC, at KVM's address (`IOAPIC_DEFAULT_BASE_ADDRESS` in `arch/x86/kvm/ioapic.h`).
pub const IO_APIC: u64 = 0xfec0_0000;

/// Local APIC of every vCPU (`APIC_DEFAULT_PHYS_BASE` in `arch/x86/include/asm/apicdef.h`).
pub const LOCAL_APIC: u64 = 0xfee0_0000;

/// Page for `KVM_SET_IDENTITY_MAP_ADDR`. KVM uses this page on Intel processors without
/// unrestricted guest mode.
pub const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;

/// Three pages for `KVM_SET_TSS_ADDR`. KVM uses these pages on the same processors as
/// [`KVM_IDENTITY_MAP`].
pub const KVM_TSS: u64 = KVM_IDENTITY_MAP + 0x1000;

/// First I/O port of the UART: COM1.
pub const SERIAL_PORT: u16 = 0x3f8;

/// MMIO address of the UART; `None`, because the UART has I/O ports.
pub const SERIAL_MMIO: Option<u64> = None;

/// Interrupt of the UART: ISA IRQ 4.
pub const SERIAL_GSI: u32 = 4;

/// Largest number of vCPUs for which the MP table and the ACPI tables have room.
pub const MAX_CPUS: u8 = 8;
