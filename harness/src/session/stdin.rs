// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Stdin, read only when the guest wants it, and waited for together with signals.

use rustix::event::epoll;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Most bytes of one piece.
const PIECE: usize = 32 * 1024;

/// Stdin, read by a thread piece by piece. A piece is read only after [`Stdin::want`].
pub(crate) struct Stdin {
    /// An epoll descriptor: readable when a piece is there, or `interrupt` is readable.
    ready: OwnedFd,
    /// Holds a byte for each piece that is there.
    pieces_there: io::PipeReader,
    pieces: Receiver<Vec<u8>>,
    requests: SyncSender<()>,
    awaited: bool,
}

impl Stdin {
    /// Starts the thread. It may wait for a terminal or a file for as long as the process lives, and
    /// ends with it.
    ///
    /// # Errors
    /// If the process has no descriptors or threads left.
    pub(crate) fn new(interrupt: Option<BorrowedFd<'_>>) -> io::Result<Stdin> {
        let (pieces_there, mut piece_is_there) = io::pipe()?;
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for fd in [Some(pieces_there.as_fd()), interrupt].into_iter().flatten() {
            let data = epoll::EventData::new_u64(0);
            epoll::add(&ready, fd, data, epoll::EventFlags::IN)?;
        }
        let (requests, wanted) = sync_channel(1);
        let (sender, pieces) = sync_channel(1);
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            while wanted.recv().is_ok() {
                let mut piece = vec![0; PIECE];
                // A stdin that cannot be read is at its end.
                let count = io::stdin().read(&mut piece).unwrap_or(0);
                piece.truncate(count);
                if sender.send(piece).is_err() || piece_is_there.write_all(&[0]).is_err() {
                    return;
                }
            }
        })?;
        Ok(Stdin { ready, pieces_there, pieces, requests, awaited: false })
    }

    /// Readable when a piece is there, or the interrupt descriptor is readable.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Whether a piece was asked for and has not been taken.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// Asks for a piece.
    pub(crate) fn want(&mut self) {
        self.awaited = true;
        // It fails only if the thread is gone, and then no piece comes.
        let _ = self.requests.try_send(());
    }

    /// The piece that is there; empty at the end of stdin. Waits for it if there is none yet and
    /// [`Stdin::descriptor`] is not readable.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        if !self.awaited {
            return None;
        }
        let _ = self.pieces_there.read(&mut [0]);
        self.awaited = false;
        self.pieces.try_recv().ok()
    }
}
