// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The file systems that PID 1 mounts over the initramfs.

use std::ffi::CStr;

/// The file systems that the runner needs: type and mount point. The runner needs no `/dev`, since the kernel
/// has opened the console as standard input, output and error.
const RUNNER_MOUNTS: &[(&CStr, &CStr)] = &[(c"proc", c"/proc")];

/// Further file systems that a program of `sudbox exec` expects.
const PROGRAM_MOUNTS: &[(&CStr, &CStr)] = &[
    (c"devtmpfs", c"/dev"),
    (c"sysfs", c"/sys"),
    (c"devpts", c"/dev/pts"),
    (c"tmpfs", c"/dev/shm"),
];

/// Mounts the file systems that the runner itself needs.
pub(crate) fn mount_for_runner() {
    mount_all(RUNNER_MOUNTS);
}

/// Mounts the further file systems that programs expect. If the kernel does not support one of them,
/// the others are mounted.
pub(crate) fn mount_for_programs() {
    mount_all(PROGRAM_MOUNTS);
}

/// Mounts each file system. Ignores errors: a case or program that needs a missing file system fails.
fn mount_all(mounts: &[(&CStr, &CStr)]) {
    for (fs_type, mount_point) in mounts {
        let (fs_type, mount_point) = (fs_type.as_ptr(), mount_point.as_ptr());
        // SAFETY: both strings are terminated.
        unsafe {
            libc::mkdir(mount_point, 0o755);
            libc::mount(fs_type, mount_point, fs_type, 0, std::ptr::null());
        }
    }
}
