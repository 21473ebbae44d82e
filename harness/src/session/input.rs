// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Stdin, read only when somebody wants it, in one descriptor with the interrupt.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Most bytes that are read at once.
const PIECE: usize = 32 * 1024;

/// Stdin and the interrupt.
pub(crate) struct Input {
    /// Readable when there is something to take, or the interrupt is.
    ready: OwnedFd,
    /// A byte for each piece that is there.
    bell: io::PipeReader,
    pieces: Receiver<Vec<u8>>,
    wanted: Sender<()>,
}

impl Input {
    /// Nothing is read before [`Input::want`].
    ///
    /// # Errors
    /// If this machine has no descriptors or threads left.
    pub(crate) fn new(interrupt: Option<BorrowedFd<'_>>) -> io::Result<Input> {
        let (bell, mut ringer) = io::pipe()?;
        // SAFETY: has no preconditions; the descriptor is checked and owned here alone.
        let ready = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        for fd in [Some(bell.as_fd()), interrupt].into_iter().flatten() {
            let mut event = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: 0 };
            // SAFETY: both descriptors are open, and the event lives until the call returns.
            let added = unsafe {
                libc::epoll_ctl(
                    ready.as_raw_fd(),
                    libc::EPOLL_CTL_ADD,
                    fd.as_raw_fd(),
                    &raw mut event,
                )
            };
            if added < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let (wanted, wants) = channel();
        let (sender, pieces) = channel();
        // A thread, as a file or a terminal makes who reads it wait. It ends with the process.
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            while wants.recv().is_ok() {
                let mut piece = vec![0; PIECE];
                // What cannot be read is at its end.
                let count = io::stdin().read(&mut piece).unwrap_or(0);
                piece.truncate(count);
                if sender.send(piece).is_err() || ringer.write_all(&[0]).is_err() {
                    return;
                }
            }
        })?;
        Ok(Input { ready, bell, pieces, wanted })
    }

    /// Readable when there is something to take, or the interrupt is.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Asks for a piece.
    pub(crate) fn want(&self) {
        // It fails only if the thread is gone, and then nothing comes.
        let _ = self.wanted.send(());
    }

    /// A piece of what was read; empty at the end. To be called when the descriptor is readable.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let _ = self.bell.read(&mut [0]);
        self.pieces.try_recv().unwrap_or_default()
    }
}
