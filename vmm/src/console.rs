// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's console: a pipe from the backend to the session, and a bounded buffer.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read as _};
use std::os::fd::{AsFd, BorrowedFd};

/// Size of the console's pipe in bytes. A guest that prints more than this before the session reads
/// must wait.
const PIPE_SIZE: usize = 1024 * 1024;

/// Number of bytes that are kept from the start of the output, where a kernel prints its version
/// and machine.
const HEAD_SIZE: usize = 64 * 1024;

/// Number of bytes that are kept from the end of the output, where a kernel prints the reason for a
/// crash.
const TAIL_SIZE: usize = 448 * 1024;

/// The guest's console output, of which the first 64 KiB and the last 448 KiB are kept.
#[derive(Clone, Debug, Default)]
pub struct Console {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total_bytes: u64,
}

impl Console {
    /// Number of bytes that the guest has written so far.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Returns the output from byte `position` on; `position` is an earlier value of
    /// [`Console::total_bytes`]. Replaces invalid UTF-8, and replaces dropped bytes by a line with
    /// their number.
    #[must_use]
    pub fn text_since(&self, position: u64) -> String {
        let head_end = self.head.len() as u64;
        let tail_start = self.total_bytes - self.tail.len() as u64;
        let mut bytes = Vec::new();
        if let Some(head) = self.head.get(to_index(position)..) {
            bytes.extend(head);
        }
        // Index in `bytes`, and number of the dropped bytes.
        let mut dropped = None;
        if position < tail_start && head_end < tail_start {
            dropped = Some((bytes.len(), tail_start - position.max(head_end)));
        }
        bytes.extend(
            self.tail.range(to_index(position.saturating_sub(tail_start)).min(self.tail.len())..),
        );
        match dropped {
            None => String::from_utf8_lossy(&bytes).into_owned(),
            Some((gap_start, count)) => {
                let (before, after) = bytes.split_at(gap_start);
                let (before, after) =
                    (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
                format!("{before}\n[{count} bytes of console output dropped here]\n{after}")
            }
        }
    }

    /// Returns the kernel's panic message, from "Kernel panic" to the end of the line.
    pub(crate) fn panic_message(&self) -> Option<String> {
        let text = self.text_since(0);
        let start = text.find("Kernel panic - not syncing")?;
        text[start..].lines().next().map(|line| line.trim_end().to_owned())
    }

    /// Appends output of the guest.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total_bytes += bytes.len() as u64;
        let (head, new_tail) = bytes.split_at(bytes.len().min(HEAD_SIZE - self.head.len()));
        self.head.extend(head);
        let new_tail = &new_tail[new_tail.len().saturating_sub(TAIL_SIZE)..];
        let excess = (self.tail.len() + new_tail.len()).saturating_sub(TAIL_SIZE);
        self.tail.drain(..excess);
        self.tail.extend(new_tail);
    }
}

/// Creates the console's pipe. Returns the non-blocking read end, for
/// [`crate::machine::RunningVm`], and the write end, for the backend.
///
/// # Errors
/// As `pipe2(2)`.
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    // Setting the size fails if the user's pipes exceed fs.pipe-user-pages-soft. The console works
    // with the default size too.
    let _ = rustix::pipe::fcntl_setpipe_size(&reader, PIPE_SIZE);
    Ok((reader, writer))
}

/// Reads the console's pipe into a [`Console`].
pub(crate) struct ConsoleReader {
    pipe: PipeReader,
    console: Console,
    is_closed: bool,
}

impl ConsoleReader {
    pub(crate) fn new(pipe: PipeReader) -> ConsoleReader {
        ConsoleReader { pipe, console: Console::default(), is_closed: false }
    }

    /// Reads the bytes that are in the pipe now. Leaves later bytes for the next call, because
    /// otherwise a guest that prints without end would block the caller.
    pub(crate) fn drain(&mut self) {
        let mut bytes_left = rustix::io::ioctl_fionread(&self.pipe).unwrap_or(0);
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.pipe.read(&mut chunk) {
                Ok(0) => {
                    self.is_closed = true;
                    return;
                }
                Ok(count) => {
                    self.console.push(&chunk[..count]);
                    bytes_left = bytes_left.saturating_sub(count as u64);
                    if bytes_left == 0 {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Returns the console output that was read so far.
    pub(crate) fn console(&self) -> &Console {
        &self.console
    }

    /// Returns true once the write end is closed and everything was read.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }
}

impl AsFd for ConsoleReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Converts a position to an index. A position that does not fit is beyond the end of every buffer.
fn to_index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
