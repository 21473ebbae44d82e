// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The aarch64 part of the microVM: guest memory before the first instruction, the VM's parts inside
//! KVM, and the handling of exits.
//!
//! ```text
//! load         Image file -> image; initramfs, command line, devices -> device_tree;
//!              returns an KernelEntry
//! setup        GICv3 (gic), vCPUs
//! exits        exits of KVM_RUN
//! state        state of GIC and vCPUs, as plain data
//! registers    KVM's ids of registers; registers as text
//! ```

mod device_tree;
mod exits;
pub(super) mod filter;
pub(crate) mod gic;
mod image;
pub mod layout;
pub(crate) mod registers;
mod setup;
pub mod state;
use std::path::{Path, PathBuf};

use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap, GuestMemoryRegion,
};

pub use state::{VcpuState, VmState};

pub(super) use setup::{Cpu, IrqChips, create_parts, restore_parts};

use super::load;
use layout::{BOOT_MEMORY, CMDLINE_SIZE, DEVICE_TREE_SIZE, MAX_CPUS, MEMORY_START};

/// Entry point of a kernel (`Documentation/arch/arm64/booting.rst`): the first byte of the Image, with
/// the address of the device tree in `x0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelEntry {
    /// Physical address of the first instruction.
    pub entry: u64,
    /// Physical address of the device tree.
    pub device_tree: u64,
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
    /// The file is not an arm64 Image.
    #[error(
        "{} is not an aarch64 kernel: not an Image; a compressed one (Image.gz, vmlinuz.efi) has to be decompressed first",
        file.display()
    )]
    NotAKernel {
        /// The file.
        file: PathBuf,
    },
    /// The Image is of a big-endian kernel.
    #[error("{} is a big-endian kernel; this VM runs little-endian ones", file.display())]
    BigEndian {
        /// The Image.
        file: PathBuf,
    },
    /// Guest memory is too small for the kernel.
    #[error(
        "{} needs memory up to {end:#x}, this VM has it up to {memory_end:#x}: give it more memory",
        file.display()
    )]
    KernelTooBig {
        /// The kernel.
        file: PathBuf,
        /// Physical end address of the kernel, with its `.bss`.
        end: u64,
        /// End of the memory that the kernel may use at boot.
        memory_end: u64,
    },
    /// Guest memory is too small for the initramfs.
    #[error(
        "{} has {size} bytes, but only {room} are free between the kernel and the device tree: give the VM more memory",
        file.display()
    )]
    InitramfsTooBig {
        /// The initramfs.
        file: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// Bytes between the kernel and the device tree.
        room: u64,
    },
    /// The command line is too long.
    #[error("the kernel's command line has {length} bytes; {limit} are possible")]
    CommandLineTooLong {
        /// Its length in bytes.
        length: usize,
        /// Longest command line in bytes.
        limit: usize,
    },
    /// The command line holds a NUL byte, at which the kernel would stop reading.
    #[error("the kernel's command line holds a NUL byte, after which the kernel reads nothing")]
    CommandLineNul,
    /// The number of vCPUs is out of range.
    #[error("a VM has 1 to {MAX_CPUS} vCPUs, not {0}")]
    Cpus(u8),
    /// The device tree cannot be written.
    #[error("cannot write the device tree: {0}")]
    DeviceTree(#[from] vm_fdt::Error),
    /// Guest memory does not contain an address that must be written.
    #[error("guest memory is too small: {0}")]
    Memory(#[from] GuestMemoryError),
}

/// Physical addresses of the initramfs.
type Initramfs = std::ops::Range<u64>;

/// Returns the address and the size of each region of `bytes` of guest memory: one region.
#[must_use]
pub fn memory_ranges(bytes: u64) -> Vec<(GuestAddress, usize)> {
    let size = usize::try_from(bytes).expect("aarch64 has 64-bit sizes");
    vec![(GuestAddress(MEMORY_START), size)]
}

/// Returns the boot arguments for this machine:
///
/// - `console=ttyS0`: the serial port.
/// - `panic=-1`: restart at once after a panic.
#[must_use]
pub fn kernel_arguments() -> String {
    "console=ttyS0 panic=-1".to_owned()
}

/// Loads a kernel, its initramfs and the device tree into zeroed guest memory, at the addresses in
/// [`layout`]. The files are read straight into guest memory.
///
/// `kernel` is an Image; `cmdline` is the whole command line, [`kernel_arguments`] included.
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
    load::check_cmdline(cmdline, CMDLINE_SIZE - 1)?;
    let size = memory.find_region(GuestAddress(MEMORY_START)).map_or(0, GuestMemoryRegion::len);
    let end = MEMORY_START + size.min(BOOT_MEMORY);
    let device_tree =
        (end.saturating_sub(DEVICE_TREE_SIZE) & !(DEVICE_TREE_SIZE - 1)).max(MEMORY_START);
    let kernel = image::load(memory, kernel, device_tree)?;
    let initramfs = load::load_initramfs(memory, initramfs, kernel.end, device_tree)?;
    let tree = device_tree::create(cmdline, cpus, size, &initramfs)?;
    memory.write_slice(&tree, GuestAddress(device_tree))?;
    Ok(KernelEntry { entry: kernel.entry, device_tree })
}

#[cfg(test)]
mod tests;
