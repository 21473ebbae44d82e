//! What is particular to aarch64: everything that lies in the guest's memory before its first
//! instruction, what KVM makes of the machine, and what a guest leaves it for.
//!
//! ```text
//! setup: GICv3 (gic), vCPUs           exits: what the guest needs
//! state: all of that as plain data    registers: KVM's names of them, and for people
//! load: Image -> image -> Entry       initramfs, command line, machine -> device_tree
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
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap, GuestMemoryRegion,
};

pub use state::{VcpuState, VmState};

pub(super) use setup::{Chips, Cpu, boot, resume};

use super::load;
use layout::{BOOT_MEMORY, CMDLINE_SIZE, DEVICE_TREE_SIZE, MAX_CPUS, MEMORY};

/// Where the boot CPU begins (`Documentation/arch/arm64/booting.rst`): at the first byte of the
/// Image, with the device tree's address in `x0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Physical address of the first instruction.
    pub entry: u64,
    /// Physical address of the device tree.
    pub device_tree: u64,
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
    /// No arm64 Image.
    #[error(
        "{} is no aarch64 kernel: not an Image; a compressed one (Image.gz, vmlinuz.efi) has to be decompressed first",
        file.display()
    )]
    NotAKernel {
        /// The file.
        file: PathBuf,
    },
    /// An Image for the other byte order.
    #[error("{} is a big-endian kernel, and this VM is not for those", file.display())]
    BigEndian {
        /// The Image.
        file: PathBuf,
    },
    /// Guest memory ends before the kernel does.
    #[error(
        "{} needs memory up to {end:#x}, this VM has it up to {memory_end:#x}: give it more memory",
        file.display()
    )]
    KernelTooBig {
        /// The kernel.
        file: PathBuf,
        /// End of the kernel, its `.bss` included: a physical address.
        end: u64,
        /// End of memory.
        memory_end: u64,
    },
    /// No room for the initramfs behind the kernel.
    #[error(
        "{} has {size} bytes, and between the kernel and the device tree are {room}: give the VM more memory",
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
        /// How long it may be.
        most: usize,
    },
    /// The kernel would see only its beginning.
    #[error("the kernel's command line holds a NUL byte, behind which the kernel reads nothing")]
    CommandLineNul,
    /// A number of vCPUs for which there is no room.
    #[error("a VM has 1 to {MAX_CPUS} vCPUs, not {0}")]
    Cpus(u8),
    /// The device tree cannot be written.
    #[error("cannot write the device tree: {0}")]
    DeviceTree(#[from] vm_fdt::Error),
    /// Guest memory is not where it should be.
    #[error("guest memory is too small: {0}")]
    Memory(#[from] GuestMemoryError),
}

/// Where the initramfs is: physical addresses of its first byte and of the byte behind its last.
type Initramfs = std::ops::Range<u64>;

/// Where `bytes` of memory lie. Start and length of each range, in bytes.
#[must_use]
pub fn memory_ranges(bytes: u64) -> Vec<(GuestAddress, usize)> {
    let size = usize::try_from(bytes).expect("aarch64 has 64-bit sizes");
    vec![(GuestAddress(MEMORY), size)]
}

/// Boot arguments that belong to this machine:
///
/// - `console=ttyS0`: the serial port, whose output is kept.
/// - `panic=-1`: a panic restarts at once, so that it is seen at once.
#[must_use]
pub fn kernel_arguments() -> String {
    "console=ttyS0 panic=-1".to_owned()
}

/// Puts a kernel, its initramfs and the device tree into fresh (zeroed) guest memory as laid out in
/// [`layout`]. The files are read straight into it.
///
/// `kernel` is an Image; `cmdline` is the whole command line, [`kernel_arguments`] included.
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
    load::check_cmdline(cmdline, CMDLINE_SIZE - 1)?;
    let size = memory.find_region(GuestAddress(MEMORY)).map_or(0, GuestMemoryRegion::len);
    let end = MEMORY + size.min(BOOT_MEMORY);
    let device_tree = (end.saturating_sub(DEVICE_TREE_SIZE) & !(DEVICE_TREE_SIZE - 1)).max(MEMORY);
    let kernel = image::load(memory, kernel, device_tree)?;
    let initramfs = load::initramfs(memory, initramfs, kernel.end, device_tree)?;
    let tree = device_tree::make(cmdline, cpus, size, &initramfs)?;
    memory.write_slice(&tree, GuestAddress(device_tree))?;
    Ok(Entry { entry: kernel.entry, device_tree })
}
