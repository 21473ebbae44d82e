// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files that exist only in memory.

use std::ffi::CStr;
use std::fs::File;
use std::io;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

/// The kind of contents of a file in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Bytes that are never executed.
    Data,
    /// A program.
    Program,
}

/// Creates an empty file. `/proc` shows it as `name`.
///
/// # Errors
/// If there is no descriptor or memory left, or `vm.memfd_noexec` forbids a program.
pub fn create(name: &CStr, contents: Contents) -> io::Result<File> {
    let exec_flag = match contents {
        Contents::Data => MemfdFlags::NOEXEC_SEAL,
        Contents::Program => MemfdFlags::EXEC,
    };
    let fd = match memfd_create(name, MemfdFlags::CLOEXEC | exec_flag) {
        // Linux before 6.3 knows neither NOEXEC_SEAL nor EXEC.
        Err(Errno::INVAL) => memfd_create(name, MemfdFlags::CLOEXEC)?,
        result => result?,
    };
    Ok(fd.into())
}
