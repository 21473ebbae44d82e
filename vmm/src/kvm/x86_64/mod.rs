// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The x86-64 part of the microVM: guest memory and registers before the first instruction, the
//! VM's parts inside KVM, and the handling of exits.
//!
//! ```text
//! load            kernel file -> kernel; initramfs file -> initramfs;
//!                 tables: boot_params, mp_table, acpi; returns a KernelEntry
//! setup           interrupt controllers, PIT, vCPUs
//! registers       KernelEntry -> registers of the boot CPU; MSRs of every vCPU
//! cpuid           CPUID leaves of every vCPU
//! exits, ports    exits of KVM_RUN, I/O ports, i8042
//! state           state of VM and vCPUs, as plain data
//! dump            registers as text
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
use std::path::{Path, PathBuf};

use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap, GuestMemoryRegion,
};

pub use cpuid::cpuid;
pub use registers::{boot_msrs, boot_registers};
pub use state::{VcpuState, VmState};

pub(super) use setup::{Cpu, IrqChips, create_parts, restore_parts};

use super::load::check_cmdline;
use layout::{CMDLINE, CMDLINE_SIZE, MAX_CPUS, MMIO_HOLE, MMIO_HOLE_END};

/// Entry point of a kernel and the protocol by which it is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelEntry {
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

/// Reason why a kernel or its initramfs cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A system call on the file failed.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The kernel or the initramfs.
        file: PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// The file ends before a part that its headers announce.
    #[error(
        "{} is truncated: its {part} ends at byte {end}, the file at byte {size}; build or copy it again",
        file.display()
    )]
    Truncated {
        /// The kernel.
        file: PathBuf,
        /// The part of the kernel that is cut off.
        part: &'static str,
        /// End of that part in the file, in bytes.
        end: u64,
        /// Size of the file in bytes.
        size: u64,
    },
    /// The file is neither a vmlinux nor a bzImage.
    #[error(
        "{} is not an x86-64 kernel: neither an ELF file (vmlinux) nor a bzImage; decompress a compressed vmlinux first",
        file.display()
    )]
    NotAKernel {
        /// The file.
        file: PathBuf,
    },
    /// The file is an ELF file, but not an x86-64 kernel.
    #[error("{} is an ELF file, but not a vmlinux for x86-64: {reason}", file.display())]
    NotVmlinux {
        /// The file.
        file: PathBuf,
        /// The difference from an x86-64 kernel.
        reason: &'static str,
    },
    /// The vmlinux has no `XEN_ELFNOTE_PHYS32_ENTRY` note.
    #[error(
        "{} has no PVH entry point: configure the kernel with CONFIG_PVH=y, or give its bzImage",
        file.display()
    )]
    NoPvhNote {
        /// The vmlinux.
        file: PathBuf,
    },
    /// `linux-loader` failed for another reason, such as malformed notes.
    #[error("cannot load {}: {source}", file.display())]
    Loader {
        /// The kernel.
        file: PathBuf,
        /// Error of `linux-loader`.
        source: linux_loader::loader::Error,
    },
    /// The bzImage cannot be entered in 64-bit mode.
    #[error(
        "{} is a bzImage without a 64-bit entry point: it is a 32-bit kernel, or older than Linux 3.8",
        file.display()
    )]
    No64BitEntry {
        /// The bzImage.
        file: PathBuf,
    },
    /// The kernel is linked to addresses in the first MiB.
    #[error(
        "{} has a load address of {address:#x}, in the first MiB, where the machine's own tables are",
        file.display()
    )]
    TooLow {
        /// The kernel.
        file: PathBuf,
        /// The physical address.
        address: u64,
    },
    /// Guest memory is too small for the kernel.
    #[error(
        "{} needs memory up to {end:#x}, this VM has memory up to {memory_end:#x}: give the VM more",
        file.display()
    )]
    KernelTooBig {
        /// The kernel.
        file: PathBuf,
        /// Physical end address of the kernel, with its `.bss` or its room for decompression.
        end: u64,
        /// End of guest memory below the MMIO hole.
        memory_end: u64,
    },
    /// Guest memory is too small for the initramfs.
    #[error(
        "{} has {size} bytes, but only {available_size} are free between the kernel and the end of memory: give the VM more memory",
        file.display()
    )]
    InitramfsTooBig {
        /// The initramfs.
        file: PathBuf,
        /// Size of the initramfs in bytes.
        size: u64,
        /// Bytes between the kernel and the end of memory.
        available_size: u64,
    },
    /// The command line is too long.
    #[error("the kernel's command line has {length} bytes; at most {limit} are possible")]
    CommandLineTooLong {
        /// Length of the command line in bytes.
        length: usize,
        /// Longest command line for this kernel in bytes.
        limit: usize,
    },
    /// The command line holds a NUL byte.
    #[error("the kernel's command line holds a NUL byte, at which the kernel stops reading")]
    CommandLineNul,
    /// The number of vCPUs is out of range.
    #[error("a VM has 1 to {MAX_CPUS} vCPUs, not {0}")]
    Cpus(u8),
    /// Guest memory lacks the first MiB.
    #[error("guest memory lacks addresses in the first MiB: {0}")]
    Memory(#[from] GuestMemoryError),
}

/// Returns the address and the size of each region of `bytes` of guest memory: one region below the
/// MMIO hole, and one region with the remaining memory from 4 GiB on.
#[must_use]
pub fn memory_ranges(bytes: u64) -> Vec<(GuestAddress, usize)> {
    let size = |bytes: u64| usize::try_from(bytes).expect("x86-64 has 64-bit sizes");
    let mut ranges = vec![(GuestAddress(0), size(bytes.min(MMIO_HOLE)))];
    if bytes > MMIO_HOLE {
        ranges.push((GuestAddress(MMIO_HOLE_END), size(bytes - MMIO_HOLE)));
    }
    ranges
}

/// Returns the boot arguments for this machine:
///
/// - `console=ttyS0`: the console is the serial port.
/// - `reboot=k`: the kernel restarts by the keyboard controller's reset line. Without this
///   argument, the kernel tries other ways first, among them a triple fault (`reboot=t`), which
///   would look like a crash.
/// - `panic=-1`: the kernel restarts at once after a panic.
/// - `no_timer_check`: the kernel does not test whether the PIT is connected. A guest of KVM skips
///   the test anyway (`kvm_guest_init`). A kernel without `CONFIG_KVM_GUEST` counts the ticks of a
///   short time (`timer_irq_works`); on emulated KVM and a busy host, such a kernel counts too few
///   ticks and panics.
/// - `virtio_mmio.device=`: the vsock device, for kernels without ACPI.
///
/// No argument is needed for clocks and timers: a guest of KVM knows the frequency of its TSC
/// (`kvm_get_tsc_khz`) and from it the speed of its delay loop (`kvm_get_preset_lpj`), and does not
/// calibrate the local APIC timer, because [`cpuid`] offers TSC deadline mode.
#[must_use]
pub fn kernel_arguments() -> String {
    let size = layout::VSOCK_MMIO_SIZE / 1024;
    let (base, gsi) = (layout::VSOCK_MMIO, layout::VSOCK_GSI);
    format!(
        "console=ttyS0 reboot=k panic=-1 no_timer_check virtio_mmio.device={size}K@{base:#x}:{gsi}"
    )
}

/// Loads a kernel, its initramfs, its command line and the machine's tables into zeroed guest
/// memory, at the addresses in [`layout`]. The files are read straight into guest memory.
///
/// `kernel` is a vmlinux with a PVH note or a bzImage with a 64-bit entry; `cmdline` is the whole
/// command line, [`kernel_arguments`] included.
///
/// # Errors
/// [`LoadError`] if a file cannot be read, is not a kernel, or does not fit into memory.
pub fn load(
    memory: &GuestMemoryMmap,
    kernel: &Path,
    initramfs: &Path,
    cmdline: &str,
    cpus: u8,
) -> Result<KernelEntry, LoadError> {
    if cpus == 0 || cpus > MAX_CPUS {
        return Err(LoadError::Cpus(cpus));
    }
    let kernel = kernel::load(memory, kernel)?;
    let initramfs = initramfs::load(memory, initramfs, &kernel)?;
    write_cmdline(memory, cmdline, kernel.cmdline_size)?;
    mp_table::write(memory, cpus)?;
    acpi::write_tables(memory, cpus)?;
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

/// Writes the command line, which may have `limit` bytes, with a terminator.
fn write_cmdline(memory: &GuestMemoryMmap, cmdline: &str, limit: usize) -> Result<(), LoadError> {
    check_cmdline(cmdline, limit.min(CMDLINE_SIZE - 1))?;
    memory.write_slice(cmdline.as_bytes(), GuestAddress(CMDLINE))?;
    memory.write_obj(0_u8, GuestAddress(CMDLINE + cmdline.len() as u64))?;
    Ok(())
}

/// Returns the end of guest memory below the MMIO hole: a physical address.
fn low_memory_end(memory: &GuestMemoryMmap) -> u64 {
    memory.find_region(GuestAddress(0)).map_or(0, GuestMemoryRegion::len)
}

#[cfg(test)]
mod tests;
