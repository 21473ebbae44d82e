// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Reads stdin on request of the guest, in a thread, so that the session can still wait for the guest and
//! for signals.

use rustix::event::epoll;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Maximum size of a chunk in bytes.
const CHUNK_SIZE: usize = 32 * 1024;

/// Stdin, read in chunks by a thread. The thread reads a chunk only after [`Stdin::request_chunk`].
pub(crate) struct Stdin {
    /// An epoll descriptor that is readable when a chunk was read or `interrupt` of [`Stdin::new`]
    /// is readable.
    epoll: OwnedFd,
    /// A pipe with one byte for each chunk that was read from stdin and not yet taken.
    chunk_ready: io::PipeReader,
    chunks: Receiver<Vec<u8>>,
    requests: SyncSender<()>,
    is_requested: bool,
}

impl Stdin {
    /// Starts the thread, which may block in `read(2)` until the process ends. `interrupt` is the file
    /// descriptor by which the caller interrupts.
    ///
    /// # Errors
    /// If the process has no descriptors or threads left.
    pub(crate) fn new(interrupt: Option<BorrowedFd<'_>>) -> io::Result<Stdin> {
        let (chunk_ready, mut chunk_ready_writer) = io::pipe()?;
        let epoll_fd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for fd in [Some(chunk_ready.as_fd()), interrupt].into_iter().flatten() {
            let data = epoll::EventData::new_u64(0);
            epoll::add(&epoll_fd, fd, data, epoll::EventFlags::IN)?;
        }
        let (requests, request_receiver) = sync_channel(1);
        let (chunk_sender, chunks) = sync_channel(1);
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            while request_receiver.recv().is_ok() {
                let mut chunk = vec![0; CHUNK_SIZE];
                // A read error counts as the end of stdin.
                let count = io::stdin().read(&mut chunk).unwrap_or(0);
                chunk.truncate(count);
                if chunk_sender.send(chunk).is_err() || chunk_ready_writer.write_all(&[0]).is_err()
                {
                    return;
                }
            }
        })?;
        Ok(Stdin { epoll: epoll_fd, chunk_ready, chunks, requests, is_requested: false })
    }

    /// A descriptor that is readable when a chunk was read or `interrupt` of [`Stdin::new`] is readable.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Whether a chunk was requested and not yet taken.
    pub(crate) fn is_requested(&self) -> bool {
        self.is_requested
    }

    /// Requests a chunk.
    pub(crate) fn request_chunk(&mut self) {
        self.is_requested = true;
        // If the channel is full a chunk is requested already; if the thread has ended there are no more.
        let _ = self.requests.try_send(());
    }

    /// Takes the requested chunk; an empty chunk means the end of stdin. Blocks until the thread has read
    /// the chunk. `None` if no chunk was requested, or the thread has ended.
    pub(crate) fn take_chunk(&mut self) -> Option<Vec<u8>> {
        if !self.is_requested {
            return None;
        }
        let _ = self.chunk_ready.read(&mut [0]);
        self.is_requested = false;
        self.chunks.try_recv().ok()
    }
}
