//! What of a kernel's loading is the same on every architecture.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use vm_memory::{Bytes as _, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use super::arch::LoadError;

/// Bytes of a page, at least.
pub(super) const PAGE: u64 = 0x1000;

/// Whether the kernel sees the whole of a command line, of which it takes `most` bytes.
///
/// # Errors
/// [`LoadError::CommandLineTooLong`], [`LoadError::CommandLineNul`].
pub(super) fn check_cmdline(cmdline: &str, most: usize) -> Result<(), LoadError> {
    if cmdline.len() > most {
        return Err(LoadError::CommandLineTooLong { length: cmdline.len(), most });
    }
    if cmdline.contains('\0') {
        return Err(LoadError::CommandLineNul);
    }
    Ok(())
}

/// Reads the file `path` to whole pages at the end of the memory from `begin` to `end`, out of the
/// way of what the kernel unpacks and moves at the beginning. Its first byte and the byte behind its
/// last: physical addresses.
///
/// # Errors
/// [`LoadError`] if it cannot be read or there is no room.
pub(super) fn initramfs(
    memory: &GuestMemoryMmap,
    path: &Path,
    begin: u64,
    end: u64,
) -> Result<Range<u64>, LoadError> {
    let read = |source| LoadError::Read { file: path.to_owned(), source };
    let mut file = File::open(path).map_err(read)?;
    let size = file.metadata().map_err(read)?.len();
    let end = end & !(PAGE - 1);
    let room = end.saturating_sub(begin.next_multiple_of(PAGE));
    if size > room {
        return Err(LoadError::InitramfsTooBig { file: path.to_owned(), size, room });
    }
    // `size` is at most `room`, which ends at a multiple of the page size: nothing below wraps.
    let address = (end - size) & !(PAGE - 1);
    read_file(memory, &mut file, address, size).map_err(read)?;
    Ok(address..address + size)
}

/// Reads the next `size` bytes of a file to `address`.
///
/// # Errors
/// As `read(2)`, and if there is no such memory.
pub(super) fn read_file(
    memory: &GuestMemoryMmap,
    file: &mut File,
    address: u64,
    size: u64,
) -> io::Result<()> {
    let size = usize::try_from(size).map_err(io::Error::other)?;
    memory.read_exact_volatile_from(GuestAddress(address), file, size).map_err(io_error)
}

/// What of such an error is one of the file's stays what it is.
pub(super) fn io_error(error: GuestMemoryError) -> io::Error {
    match error {
        GuestMemoryError::IOError(error) => error,
        other => io::Error::other(other),
    }
}
