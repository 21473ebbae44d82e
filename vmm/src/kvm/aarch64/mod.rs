// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The aarch64 part of the microVM: guest memory before the first instruction, the VM's parts
//! inside KVM, and the handling of exits.
//!
//! - [`load`] copies the kernel (`image`) and the initramfs into guest memory, writes the device
//!   tree (`device_tree`) there, and returns a [`KernelEntry`].
//! - `setup` creates the GICv3 (`gic`) and the vCPUs.
//! - `exits` handles the exits of `KVM_RUN`.
//! - `state` describes the state of the GIC and of the vCPUs as plain data.
//! - `registers` has KVM's ids of registers, and formats registers as text.
//! - `layout` has the physical addresses of guest memory and devices.
//! - `filter` has the system calls that the microVM's threads may issue on this architecture.

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

/// Entry point of a kernel (`Documentation/arch/arm64/booting.rst`): the first byte of the Image,
/// entered with the address of the device tree in `x0`.
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
        "{} is not an aarch64 kernel in the format Image; decompress a compressed kernel (Image.gz, vmlinuz.efi) first",
        file.display()
    )]
    NotAKernel {
        /// The file.
        file: PathBuf,
    },
    /// The Image is of a big-endian kernel.
    #[error("{} is a big-endian kernel; this VM runs little-endian kernels", file.display())]
    BigEndian {
        /// The Image.
        file: PathBuf,
    },
    /// Guest memory is too small for the kernel.
    #[error(
        "the kernel {} needs memory up to {end:#x}, and this VM's memory ends at {memory_end:#x}: give the VM more memory",
        file.display()
    )]
    KernelTooBig {
        /// The kernel.
        file: PathBuf,
        /// Physical end address of the kernel, its `.bss` included.
        end: u64,
        /// Physical end address of the memory that the kernel may use at boot.
        memory_end: u64,
    },
    /// Guest memory is too small for the initramfs.
    #[error(
        "{} has {size} bytes, but only {available_size} are free between the kernel and the device tree: give the VM more memory",
        file.display()
    )]
    InitramfsTooBig {
        /// The initramfs.
        file: PathBuf,
        /// Size of the initramfs in bytes.
        size: u64,
        /// Number of bytes between the kernel and the device tree.
        available_size: u64,
    },
    /// The command line is too long.
    #[error("the kernel's command line has {length} bytes; at most {limit} are possible")]
    CommandLineTooLong {
        /// Length of the command line in bytes.
        length: usize,
        /// Maximum length of a command line in bytes.
        limit: usize,
    },
    /// The command line holds a NUL byte.
    #[error("the kernel's command line holds a NUL byte, at which the kernel stops reading")]
    CommandLineNul,
    /// The number of vCPUs is out of range.
    #[error("a VM has 1 to {MAX_CPUS} vCPUs, not {0}")]
    Cpus(u8),
    /// The device tree cannot be created.
    #[error("cannot create the device tree: {0}")]
    DeviceTree(#[from] vm_fdt::Error),
    /// An address that must be written is not in guest memory.
    #[error("guest memory is too small: {0}")]
    Memory(#[from] GuestMemoryError),
}

/// Range of the physical addresses of the initramfs.
type InitramfsRange = std::ops::Range<u64>;

/// Returns the address and the size in bytes of each region of a guest memory of `bytes` bytes. On
/// aarch64 there is one region.
#[must_use]
pub fn memory_ranges(bytes: u64) -> Vec<(GuestAddress, usize)> {
    let size = usize::try_from(bytes).expect("aarch64 has 64-bit sizes");
    vec![(GuestAddress(MEMORY_START), size)]
}

/// Returns the boot arguments for this machine:
///
/// - `console=ttyS0`: the console is the serial port.
/// - `panic=-1`: the kernel restarts at once after a panic.
#[must_use]
pub fn kernel_arguments() -> String {
    "console=ttyS0 panic=-1".to_owned()
}

/// Loads a kernel, its initramfs and the device tree into guest memory, which must be zeroed, at
/// the addresses in [`layout`].
///
/// `kernel` is an Image; `cmdline` is the whole command line, [`kernel_arguments`] included; `cpus`
/// is the number of vCPUs.
///
/// # Errors
/// [`LoadError`] if a file cannot be read, `kernel` is not an Image, a file does not fit into
/// memory, or `cmdline` or `cpus` is out of range.
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
    let memory_size =
        memory.find_region(GuestAddress(MEMORY_START)).map_or(0, GuestMemoryRegion::len);
    let boot_memory_end = MEMORY_START + memory_size.min(BOOT_MEMORY);
    let device_tree_address = (boot_memory_end.saturating_sub(DEVICE_TREE_SIZE)
        & !(DEVICE_TREE_SIZE - 1))
        .max(MEMORY_START);
    let kernel = image::load(memory, kernel, device_tree_address)?;
    let initramfs = load::load_initramfs(memory, initramfs, kernel.end, device_tree_address)?;
    let device_tree_blob = device_tree::create(cmdline, cpus, memory_size, &initramfs)?;
    memory.write_slice(&device_tree_blob, GuestAddress(device_tree_address))?;
    Ok(KernelEntry { entry: kernel.entry, device_tree: device_tree_address })
}

#[cfg(test)]
mod tests;
