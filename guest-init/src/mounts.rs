// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The file systems that PID 1 mounts over the initramfs.

use std::ffi::CStr;

/// File systems for the runner: type and mount point. Standard input, output and error are the
/// console already, which the kernel opened.
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

/// Mounts each file system. A failure shows in the case or program that needs it.
fn mount_all(mounts: &[(&CStr, &CStr)]) {
    for (kind, mount_point) in mounts {
        // SAFETY: both strings are terminated.
        unsafe {
            libc::mkdir(mount_point.as_ptr(), 0o755);
            libc::mount(kind.as_ptr(), mount_point.as_ptr(), kind.as_ptr(), 0, std::ptr::null());
        }
    }
}
