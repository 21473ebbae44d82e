// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Trace events of the kernel, through a detached mount of tracefs.

use crate::case::{Check, Failure};
use crate::shared::KernelChange;
use crate::support::*;
use crate::sys;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};

/// The size of each CPU's trace buffer in KiB.
const BUFFER_KB: &str = "64";

/// A mount of tracefs with enabled events. Dropping it disables the events.
pub(crate) struct Tracefs {
    /// The root of the mount.
    mount: File,
    /// The paths of the `enable` files of the enabled events.
    enable_paths: Vec<String>,
    change: Option<KernelChange>,
}

/// Whether the kernel records the enabled events (`tracing_on`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recording {
    On,
    Off,
}

/// One event of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The id of the task.
    pub(crate) tid: i32,
    /// The event's text, such as `sys_enter: NR 95 (...)`.
    pub(crate) text: String,
}

impl Tracefs {
    /// Mounts tracefs and enables these events (`SYSTEM/NAME`).
    pub(crate) fn start(events: &[&str]) -> Result<Tracefs, Failure> {
        Tracefs::enable(events, Recording::On)
    }

    /// As [`Tracefs::start`], but without recording the events.
    pub(crate) fn start_without_recording(events: &[&str]) -> Result<Tracefs, Failure> {
        Tracefs::enable(events, Recording::Off)
    }

    fn enable(events: &[&str], recording: Recording) -> Result<Tracefs, Failure> {
        let mount = sys::mount_detached(c"tracefs").map_err(broken("mounting tracefs"))?;
        // SAFETY: the file becomes the owner of the new descriptor.
        let mount = unsafe { File::from_raw_fd(mount) };
        let mut tracefs =
            Tracefs { mount, enable_paths: Vec::new(), change: Some(KernelChange::begin()) };
        // The kernel allocates the buffer when the first event is enabled, so a small buffer saves
        // time. The size is written only if it differs, since a change of the size waits for every CPU.
        let mut size = String::new();
        tracefs
            .open("buffer_size_kb", libc::O_RDONLY)?
            .read_to_string(&mut size)
            .map_err(broken("buffer_size_kb"))?;
        if size.trim() != BUFFER_KB {
            tracefs.write("buffer_size_kb", BUFFER_KB)?;
        }
        tracefs.write("tracing_on", if recording == Recording::On { "1" } else { "0" })?;
        for event in events {
            let path = format!("events/{event}/enable");
            tracefs.write(&path, "1")?;
            tracefs.enable_paths.push(path);
        }
        Ok(tracefs)
    }

    /// Disables the events. Tries to disable all, and returns the first error.
    fn disable(&mut self) -> Check {
        let paths = std::mem::take(&mut self.enable_paths);
        paths.iter().map(|path| self.write(path, "0")).fold(Ok(()), Result::and)?;
        if let Some(change) = self.change.take() {
            change.end();
        }
        Ok(())
    }

    /// Disables the events, and returns the texts of the recorded events of each of these tasks.
    pub(crate) fn stop<const N: usize>(
        mut self,
        tids: [i32; N],
    ) -> Result<[Vec<String>; N], Failure> {
        self.disable()?;
        let mut text = Vec::new();
        // Reading removes the events from the buffer.
        let result =
            self.open("trace_pipe", libc::O_RDONLY | libc::O_NONBLOCK)?.read_to_end(&mut text);
        match result {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                return Err(broken("reading the trace")(error));
            }
            _ => {}
        }
        let text = String::from_utf8_lossy(&text);
        let events: Vec<_> = text.lines().filter_map(parse_event).collect();
        Ok(tids.map(|tid| {
            events.iter().filter(|event| event.tid == tid).map(|e| e.text.clone()).collect()
        }))
    }

    fn open(&self, path: &str, flags: i32) -> Result<File, Failure> {
        let name = std::ffi::CString::new(path).map_err(broken("a path"))?;
        // SAFETY: the name is terminated; the file becomes the owner of the new descriptor.
        unsafe {
            let fd = libc::openat(self.mount.as_raw_fd(), name.as_ptr(), flags | libc::O_CLOEXEC);
            if fd < 0 {
                let error = std::io::Error::last_os_error();
                return Err(Failure::Broken(format!("opening {path} in tracefs: {error}")));
            }
            Ok(File::from_raw_fd(fd))
        }
    }

    /// Appends a line to a file.
    pub(crate) fn append(&self, path: &str, text: &str) -> Result<(), Failure> {
        self.open(path, libc::O_WRONLY | libc::O_APPEND)?
            .write_all(text.as_bytes())
            .map_err(broken(path))
    }

    /// Appends a line to a file. Returns false if the kernel refuses the line with the error
    /// `refusal_errno`. Other errors are failures.
    pub(crate) fn append_if_accepted(
        &self,
        path: &str,
        text: &str,
        refusal_errno: i32,
    ) -> Result<bool, Failure> {
        let mut file = self.open(path, libc::O_WRONLY | libc::O_APPEND)?;
        match file.write_all(text.as_bytes()) {
            Err(error) if error.raw_os_error() == Some(refusal_errno) => Ok(false),
            result => result.map(|()| true).map_err(broken(path)),
        }
    }

    /// Replaces the content of a file.
    fn write(&self, path: &str, text: &str) -> Result<(), Failure> {
        self.open(path, libc::O_WRONLY | libc::O_TRUNC)?
            .write_all(text.as_bytes())
            .map_err(broken(path))
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        let _ = self.disable();
    }
}

/// Parses `COMM-TID [CPU] FLAGS TIME: TEXT`, where COMM may contain anything but a newline. Newer
/// kernels print a `0x` before the arguments of a call (kernel/trace/trace_syscalls.c), which is removed.
fn parse_event(line: &str) -> Option<Event> {
    let (comm_and_tid, rest) = line.split_once(" [")?;
    let tid = comm_and_tid.trim_end().rsplit_once('-')?.1.parse().ok()?;
    let (_, text) = rest.split_once(": ")?;
    Some(Event { tid, text: text.replace(": 0x", ": ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_parsed_from_its_line() {
        let line = "          case-7-61      [000] .....     1.205: sys_enter: NR 95 (5f, 0, 0)";
        let expected = Event { tid: 61, text: "sys_enter: NR 95 (5f, 0, 0)".into() };
        assert_eq!(parse_event(line), Some(expected));
        let line = "a - b-61 [001] d..1. 1.2: sys_umask(mask: 0x41)";
        assert_eq!(parse_event(line), Some(Event { tid: 61, text: "sys_umask(mask: 41)".into() }));
        assert_eq!(parse_event("a line without an event"), None);
    }
}
