// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The file systems that PID 1 mounts over the initramfs.

use std::ffi::CStr;

/// File systems for the runner: type and mount point. Standard input, output and error are the
/// console already, which the kernel opened.
const FOR_RUNNER: &[(&CStr, &CStr)] = &[(c"proc", c"/proc")];

/// Further file systems that a program of `sudbox exec` expects.
const FOR_PROGRAMS: &[(&CStr, &CStr)] = &[
    (c"devtmpfs", c"/dev"),
    (c"sysfs", c"/sys"),
    (c"devpts", c"/dev/pts"),
    (c"tmpfs", c"/dev/shm"),
];

/// Mounts the file systems that the runner itself needs.
pub(crate) fn mount_for_runner() {
    mount_all(FOR_RUNNER);
}

/// Mounts the further file systems that programs expect. A kernel without one of them goes without.
pub(crate) fn mount_for_programs() {
    mount_all(FOR_PROGRAMS);
}

/// Mounts each file system. A failure shows in the case or program that needs it.
fn mount_all(mounts: &[(&CStr, &CStr)]) {
    for (kind, place) in mounts {
        // SAFETY: both strings are terminated.
        unsafe {
            libc::mkdir(place.as_ptr(), 0o755);
            libc::mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, std::ptr::null());
        }
    }
}
