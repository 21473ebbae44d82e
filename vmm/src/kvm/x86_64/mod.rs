//! What is particular to x86-64: everything that lies in the guest's memory and registers before
//! its first instruction, what KVM makes of the machine, and what a guest leaves it for.
//!
//! ```text
//! setup: interrupt controllers, PIT, vCPUs    exits, ports: what the guest needs
//! state: all of that as plain data            dump: registers for people
//! load: kernel file -> kernel     -> Entry        boot_registers: Entry -> registers of the boot CPU
//!       initramfs   -> initramfs                  boot_msrs, cpuid: every vCPU's
//!       the rest    -> boot_params, mp_table, acpi
//! ```

mod acpi;
mod boot_params;
mod cpuid;
mod dump;
mod exits;
pub(super) mod filter;
mod i8042;
mod initramfs;
mod kernel;
pub mod layout;
mod mp_table;
mod ports;
mod registers;
mod setup;
pub mod state;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap, GuestMemoryRegion,
};

pub use cpuid::cpuid;
pub use registers::{boot_msrs, boot_registers};
pub use state::{VcpuState, VmState};

pub(super) use setup::{Chips, Cpu, boot, resume};

use super::load::check_cmdline;
use layout::{CMDLINE, CMDLINE_SIZE, MAX_CPUS, MMIO_HOLE, MMIO_HOLE_END};

/// Where the boot CPU begins, and by which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// 32-bit protected mode without paging, `ebx` at the start info (Xen's
    /// `docs/misc/pvh.pandoc`; in Linux `arch/x86/platform/pvh/head.S`).
    Pvh {
        /// Physical address of the first instruction.
        entry: u64,
    },
    /// 64-bit mode, `rsi` at the zero page (`Documentation/arch/x86/boot.rst`, "64-bit boot
    /// protocol").
    Linux64 {
        /// Physical address of the first instruction.
        entry: u64,
    },
}

/// Why a kernel or its initramfs cannot be put into guest memory.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A system call on the file failed.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The kernel or the initramfs.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file ends before what its headers announce.
    #[error(
        "{} is truncated: its {what} ends at byte {end}, the file at byte {size}; build or copy it again",
        file.display()
    )]
    Truncated {
        /// The kernel.
        file: PathBuf,
        /// Which part.
        what: &'static str,
        /// Where the part ends, in bytes.
        end: u64,
        /// Size of the file in bytes.
        size: u64,
    },
    /// Neither kind of kernel.
    #[error(
        "{} is no x86-64 kernel: neither an ELF file (vmlinux) nor a bzImage; a compressed vmlinux has to be decompressed first",
        file.display()
    )]
    NotAKernel {
        /// The file.
        file: PathBuf,
    },
    /// An ELF file, and not an x86-64 kernel.
    #[error("{} is an ELF file, but not a vmlinux for x86-64: {why}", file.display())]
    NotVmlinux {
        /// The file.
        file: PathBuf,
        /// What it is or lacks.
        why: &'static str,
    },
    /// A vmlinux without `XEN_ELFNOTE_PHYS32_ENTRY`.
    #[error(
        "{} has no PVH entry point: configure the kernel with CONFIG_PVH=y, or give its bzImage",
        file.display()
    )]
    NoPvhNote {
        /// The vmlinux.
        file: PathBuf,
    },
    /// What `linux-loader` found wrong beyond that, such as malformed notes.
    #[error("cannot load {}: {source}", file.display())]
    Loader {
        /// The kernel.
        file: PathBuf,
        /// Its own words.
        source: linux_loader::loader::Error,
    },
    /// A bzImage that cannot be entered in 64-bit mode.
    #[error(
        "{} is a bzImage without a 64-bit entry point: it is a 32-bit kernel, or older than Linux 3.8",
        file.display()
    )]
    No64BitEntry {
        /// The bzImage.
        file: PathBuf,
    },
    /// The kernel wants an address that the machine uses itself.
    #[error(
        "{} wants to be loaded at {address:#x}, below the first MiB's end, where the machine's own tables are",
        file.display()
    )]
    TooLow {
        /// The kernel.
        file: PathBuf,
        /// The physical address.
        address: u64,
    },
    /// Guest memory ends before the kernel does.
    #[error(
        "{} needs memory up to {end:#x}, this VM has it up to {memory_end:#x}: give it more memory",
        file.display()
    )]
    KernelTooBig {
        /// The kernel.
        file: PathBuf,
        /// End of the kernel, its `.bss` or the room to decompress included: a physical address.
        end: u64,
        /// End of memory below the hole for devices.
        memory_end: u64,
    },
    /// No room for the initramfs behind the kernel.
    #[error(
        "{} has {size} bytes, and between the kernel and the end of memory are {room}: give the VM more memory",
        file.display()
    )]
    InitramfsTooBig {
        /// The initramfs.
        file: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// Bytes there are.
        room: u64,
    },
    /// The command line does not fit.
    #[error("the kernel's command line has {length} bytes; {most} are possible")]
    CommandLineTooLong {
        /// Its length in bytes.
        length: usize,
        /// How long it may be for this kernel.
        most: usize,
    },
    /// The kernel would see only its beginning.
    #[error("the kernel's command line holds a NUL byte, behind which the kernel reads nothing")]
    CommandLineNul,
    /// A number of vCPUs for which there are no tables.
    #[error("a VM has 1 to {MAX_CPUS} vCPUs, not {0}")]
    Cpus(u8),
    /// Guest memory lacks addresses that every machine has.
    #[error("guest memory does not reach over the first MiB: {0}")]
    Memory(#[from] GuestMemoryError),
}

/// Where `bytes` of memory lie: below the hole for devices, and what does not fit there from 4 GiB
/// on. Start and length of each range, in bytes.
#[must_use]
pub fn memory_ranges(bytes: u64) -> Vec<(GuestAddress, usize)> {
    let size = |bytes: u64| usize::try_from(bytes).expect("x86-64 has 64-bit sizes");
    let mut ranges = vec![(GuestAddress(0), size(bytes.min(MMIO_HOLE)))];
    if bytes > MMIO_HOLE {
        ranges.push((GuestAddress(MMIO_HOLE_END), size(bytes - MMIO_HOLE)));
    }
    ranges
}

/// Boot arguments that belong to this machine:
///
/// - `console=ttyS0`: the serial port, whose output is kept.
/// - `reboot=k`: the reset line of the keyboard controller, which is the machine's orderly end. The
///   default without it is the same, but behind what a BIOS or ACPI may know; `reboot=t` would make
///   it look like a crash.
/// - `panic=-1`: a panic restarts at once, so that it is seen at once.
/// - `no_timer_check`: the PIT is connected as the tables say. A guest of KVM knows that it need not
///   look (`kvm_guest_init`); a kernel without `CONFIG_KVM_GUEST` counts ticks for a moment, and
///   under emulated KVM on a busy machine counts too few and panics.
/// - `virtio_mmio.device=`: the vsock device, for kernels without ACPI.
///
/// Nothing else about clocks and timers: in a guest of KVM the kernel knows the frequency of its TSC
/// (`kvm_get_tsc_khz`), from it the speed of its delay loop (`kvm_get_preset_lpj`), and does not
/// calibrate the local APIC's timer, because [`cpuid`] offers it the TSC's deadline.
#[must_use]
pub fn kernel_arguments() -> String {
    let size = layout::VSOCK_MMIO_SIZE / 1024;
    let (base, gsi) = (layout::VSOCK_MMIO, layout::VSOCK_GSI);
    format!(
        "console=ttyS0 reboot=k panic=-1 no_timer_check virtio_mmio.device={size}K@{base:#x}:{gsi}"
    )
}

/// Puts a kernel, its initramfs, its command line and the machine's tables into fresh (zeroed)
/// guest memory as laid out in [`layout`]. The files are read straight into it.
///
/// `kernel` is a vmlinux with a PVH note or a bzImage with a 64-bit entry; `cmdline` is the whole
/// command line, [`kernel_arguments`] included.
///
/// # Errors
/// [`LoadError`] if a file cannot be read, is no kernel, or does not fit into memory.
pub fn load(
    memory: &GuestMemoryMmap,
    kernel: &Path,
    initramfs: &Path,
    cmdline: &str,
    cpus: u8,
) -> Result<Entry, LoadError> {
    if cpus == 0 || cpus > MAX_CPUS {
        return Err(LoadError::Cpus(cpus));
    }
    let kernel = kernel::load(memory, kernel)?;
    let initramfs = initramfs::load(memory, initramfs, &kernel)?;
    write_cmdline(memory, cmdline, kernel.cmdline_size)?;
    mp_table::write(memory, cpus)?;
    acpi::write(memory, cpus)?;
    match &kernel.setup_header {
        None => boot_params::write_start_info(memory, &initramfs)?,
        Some(header) => {
            boot_params::write_zero_page(memory, *header, &initramfs)?;
            registers::write_page_tables(memory)?;
        }
    }
    registers::write_gdt(memory, &kernel.entry)?;
    Ok(kernel.entry)
}

fn write_cmdline(memory: &GuestMemoryMmap, cmdline: &str, most: usize) -> Result<(), LoadError> {
    check_cmdline(cmdline, most.min(CMDLINE_SIZE - 1))?;
    memory.write_slice(cmdline.as_bytes(), GuestAddress(CMDLINE))?;
    memory.write_obj(0_u8, GuestAddress(CMDLINE + cmdline.len() as u64))?;
    Ok(())
}

/// End of the memory below the hole for devices: a physical address.
fn low_memory_end(memory: &GuestMemoryMmap) -> u64 {
    memory.find_region(GuestAddress(0)).map_or(0, GuestMemoryRegion::len)
}
