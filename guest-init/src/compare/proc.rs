// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Records a task's state from `/proc`.

use super::record::{Moment, Record};
use crate::sys;

/// The names of the lines of `/proc/PID/status` that are the same in every run of a scenario. `SigQ` is left
/// out, since it counts the signals of all processes of the user.
pub(crate) const STATUS_LINES: &[&str] = &[
    "Umask",
    "State",
    "FDSize",
    "VmLck",
    "VmPin",
    "VmStk",
    "VmExe",
    "VmLib",
    "VmSwap",
    "Threads",
    "SigPnd",
    "ShdPnd",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "CoreDumping",
    "THP_enabled",
    "untag_mask",
    "x86_Thread_features",
    "x86_Thread_features_locked",
];

/// Reads a file into a buffer, up to the buffer's length. The system calls are made inside the allowed
/// range, so that they are not dispatched. Returns the bytes read; none if the file cannot be opened.
pub(crate) fn read_file<'a>(path: &std::ffi::CStr, buffer: &'a mut [u8]) -> &'a [u8] {
    let working_directory = i64::from(libc::AT_FDCWD).cast_unsigned();
    let mut length = 0;
    // SAFETY: reads the path and writes into the buffer.
    unsafe {
        let arguments = [working_directory, path.as_ptr() as u64, 0, 0];
        let Ok(fd) = sys::call(libc::SYS_openat, &arguments) else {
            return &[];
        };
        while length < buffer.len() {
            let rest = &mut buffer[length..];
            match sys::call(libc::SYS_read, &[fd, rest.as_mut_ptr() as u64, rest.len() as u64]) {
                Ok(count @ 1..) => length += usize::try_from(count).unwrap_or(0),
                _ => break,
            }
        }
        let _ = sys::call(libc::SYS_close, &[fd]);
    }
    &buffer[..length]
}

/// Records the lines of the calling task's `status` file whose names are in [`STATUS_LINES`].
pub(crate) fn record_status(record: &Record, moment: Moment) {
    let mut buffer = [0; 4096];
    record_status_lines(record, moment, read_file(c"/proc/thread-self/status", &mut buffer));
}

/// Records the lines of the text of a `status` file whose names are in [`STATUS_LINES`].
pub(crate) fn record_status_lines(record: &Record, moment: Moment, text: &[u8]) {
    for line in text.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (key, value) = line.split_at(colon);
        if let Some(name) = STATUS_LINES.iter().find(|name| name.as_bytes() == key) {
            record.put(moment, name, value);
        }
    }
}
