// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `/proc` says of a task.

use super::record::{Moment, Record};
use crate::sys;

/// Lines of `/proc/PID/status` that are the same whenever a program did the same. `SigQ` is not among
/// them: it counts the signals of all processes of the user. `conserve` checks that it grows by nothing.
pub(crate) const STATUS: &[&str] = &[
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

/// Reads a file, from inside, as far as there is room.
pub(crate) fn read<'a>(path: &std::ffi::CStr, room: &'a mut [u8]) -> &'a [u8] {
    let at = i64::from(libc::AT_FDCWD).cast_unsigned();
    let mut length = 0;
    // SAFETY: reads the path and writes into the room.
    unsafe {
        let Ok(fd) = sys::call(libc::SYS_openat, &[at, path.as_ptr() as u64, 0, 0]) else {
            return &[];
        };
        while length < room.len() {
            let rest = &mut room[length..];
            match sys::call(libc::SYS_read, &[fd, rest.as_mut_ptr() as u64, rest.len() as u64]) {
                Ok(more @ 1..) => length += usize::try_from(more).unwrap_or(0),
                _ => break,
            }
        }
        let _ = sys::call(libc::SYS_close, &[fd]);
    }
    &room[..length]
}

/// Records the calling task's own lines.
pub(crate) fn status(record: &Record, moment: Moment) {
    let mut room = [0; 4096];
    lines(record, moment, read(c"/proc/thread-self/status", &mut room));
}

/// Records the lines of [`STATUS`] that are in this text.
pub(crate) fn lines(record: &Record, moment: Moment, text: &[u8]) {
    for line in text.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (key, value) = line.split_at(colon);
        if let Some(name) = STATUS.iter().find(|name| name.as_bytes() == key) {
            record.put(moment, name, value);
        }
    }
}
