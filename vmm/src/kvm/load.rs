// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Loading of command line, initramfs and files into guest memory, the same on every architecture.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use vm_memory::{Bytes as _, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use super::arch::LoadError;

/// Smallest page size in bytes.
pub(super) const PAGE_SIZE: u64 = 0x1000;

/// Checks that the kernel will read the whole command line: at most `limit` bytes, and no NUL byte.
///
/// # Errors
/// [`LoadError::CommandLineTooLong`], [`LoadError::CommandLineNul`].
pub(super) fn check_cmdline(cmdline: &str, limit: usize) -> Result<(), LoadError> {
    if cmdline.len() > limit {
        return Err(LoadError::CommandLineTooLong { length: cmdline.len(), limit });
    }
    if cmdline.contains('\0') {
        return Err(LoadError::CommandLineNul);
    }
    Ok(())
}

/// Reads the initramfs `path` into guest memory, page-aligned, as close as possible below `end` and
/// above `begin`. An initramfs close to `begin` could be overwritten while the kernel relocates or
/// unpacks itself. Returns the physical addresses of the initramfs.
///
/// # Errors
/// [`LoadError`] if the file cannot be read or does not fit.
pub(super) fn load_initramfs(
    memory: &GuestMemoryMmap,
    path: &Path,
    begin: u64,
    end: u64,
) -> Result<Range<u64>, LoadError> {
    let read_error = |source| LoadError::Read { file: path.to_owned(), source };
    let mut file = File::open(path).map_err(read_error)?;
    let size = file.metadata().map_err(read_error)?.len();
    let end = end & !(PAGE_SIZE - 1);
    let available_size = end.saturating_sub(begin.next_multiple_of(PAGE_SIZE));
    if size > available_size {
        return Err(LoadError::InitramfsTooBig { file: path.to_owned(), size, available_size });
    }
    // No underflow: `size` is at most `available_size`.
    let address = (end - size) & !(PAGE_SIZE - 1);
    read_file(memory, &mut file, address, size).map_err(read_error)?;
    Ok(address..address + size)
}

/// Reads the next `size` bytes of a file to `address`.
///
/// # Errors
/// As `read(2)`, or if the address is not in guest memory.
pub(super) fn read_file(
    memory: &GuestMemoryMmap,
    file: &mut File,
    address: u64,
    size: u64,
) -> io::Result<()> {
    let size = usize::try_from(size).map_err(io::Error::other)?;
    memory.read_exact_volatile_from(GuestAddress(address), file, size).map_err(io_error)
}

/// Converts a memory error into the I/O error that caused it, if there is one.
pub(super) fn io_error(error: GuestMemoryError) -> io::Error {
    match error {
        GuestMemoryError::IOError(error) => error,
        other => io::Error::other(other),
    }
}
