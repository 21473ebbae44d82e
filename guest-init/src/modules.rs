// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Loads the kernel modules that the host has put into the initramfs, such as the vsock driver.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// The folder of the modules, which are loaded in the order of their names.
const MODULE_FOLDER: &str = "/modules";

/// Loads all modules.
///
/// # Errors
/// A message that names the first module that the kernel refuses.
pub(crate) fn load() -> Result<(), String> {
    let Ok(entries) = fs::read_dir(MODULE_FOLDER) else { return Ok(()) };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let describe = |error: io::Error| format!("the module {name} cannot be loaded: {error}");
        let path = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
        // SAFETY: both strings are terminated and outlive the calls; the descriptor is closed once.
        unsafe {
            let fd = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            if fd < 0 {
                return Err(describe(io::Error::last_os_error()));
            }
            let result = libc::syscall(libc::SYS_finit_module, fd, c"".as_ptr(), 0);
            let error = io::Error::last_os_error();
            libc::close(fd);
            if result != 0 {
                return Err(describe(error));
            }
        }
    }
    Ok(())
}
