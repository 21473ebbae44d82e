//! Files that are only in memory.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

/// What such a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Bytes that are never executed.
    Data,
    /// A program.
    Program,
}

/// An empty file of this name, which is for people to see in `/proc`.
///
/// # Errors
/// If there is no descriptor or memory left, or `vm.memfd_noexec` forbids a program.
pub fn create(name: &CStr, purpose: Use) -> io::Result<File> {
    // SAFETY: the name is terminated and read only.
    let create = |flags| unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | flags) };
    let mut fd = create(match purpose {
        Use::Data => libc::MFD_NOEXEC_SEAL,
        Use::Program => libc::MFD_EXEC,
    });
    if fd < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        // Linux before 6.3 knows neither flag.
        fd = create(0);
    }
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}
