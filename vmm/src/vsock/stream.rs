// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's first connection to one port, as a [`HostStream`].

use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::device::{ConnectionId, Device, Read};
use super::link::Link;
use crate::machine::HostStream;
use crate::poll::{self, PollFd, PollFlags};

/// Host's end of the guest's first connection to one port. Later connections are reset.
pub struct VsockStream {
    link: Arc<Link>,
    port: u32,
    connection: Option<ConnectionId>,
}

impl VsockStream {
    /// Makes a stream on `link`, whose device must listen on `port`.
    #[must_use]
    pub fn new(link: Arc<Link>, port: u32) -> VsockStream {
        VsockStream { link, port, connection: None }
    }

    /// Works on the device and the connection. The event is cleared before, so that what happens
    /// from now on sets it again.
    fn with<R>(
        &self,
        work: impl FnOnce(&mut Device, ConnectionId) -> io::Result<R>,
    ) -> io::Result<R> {
        let connection = self.connection.ok_or(ErrorKind::NotConnected)?;
        self.link.clear_changed();
        self.link.with(|device| work(device, connection))
    }

    fn event(&self) -> PollFd<'_> {
        PollFd::from_borrowed_fd(poll::event_fd(self.link.changed_evt()), PollFlags::IN)
    }
}

impl HostStream for VsockStream {
    fn accept(&mut self) -> io::Result<bool> {
        self.link.clear_changed();
        self.connection = self.link.with(|device| {
            let connection = device.accept(self.port)?;
            device.stop_listening(self.port);
            Some(connection)
        });
        Ok(self.connection.is_some())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|device, connection| match device.read(connection, buffer) {
            Read::Bytes(count) => Ok(count),
            Read::Empty => Err(ErrorKind::WouldBlock.into()),
            Read::End => Ok(0),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|device, connection| match device.write(connection, bytes) {
            Ok(0) => Err(ErrorKind::WouldBlock.into()),
            Ok(count) => Ok(count),
            Err(closed) => Err(io::Error::new(ErrorKind::BrokenPipe, closed)),
        })
    }

    fn readable(&self) -> PollFd<'_> {
        self.event()
    }

    fn writable(&self) -> PollFd<'_> {
        self.event()
    }

    fn drain(&mut self) {
        self.link.receive_all();
    }

    fn has_unread(&self) -> bool {
        self.link.with(|device| device.has_packet())
    }
}
