// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's first connection to one port, as a [`HostStream`].

use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::device::{ConnectionId, Device, ReadResult};
use super::shared_device::SharedDevice;
use crate::machine::HostStream;
use crate::poll::{self, PollFd, PollFlags};

/// The host's end of the guest's first connection to a port. Later connections are reset.
pub struct VsockStream {
    shared_device: Arc<SharedDevice>,
    port: u32,
    connection: Option<ConnectionId>,
}

impl VsockStream {
    /// Creates the stream for `port`, on which the device must listen.
    #[must_use]
    pub fn new(shared_device: Arc<SharedDevice>, port: u32) -> VsockStream {
        VsockStream { shared_device, port, connection: None }
    }

    /// Runs `action` on the device and the connection. First clears the device's event, so that any
    /// later change sets the event again.
    fn with<R>(
        &self,
        action: impl FnOnce(&mut Device, ConnectionId) -> io::Result<R>,
    ) -> io::Result<R> {
        let connection = self.connection.ok_or(ErrorKind::NotConnected)?;
        self.shared_device.clear_changed();
        self.shared_device.with(|device| action(device, connection))
    }

    fn event(&self) -> PollFd<'_> {
        PollFd::from_borrowed_fd(
            poll::borrow_eventfd(self.shared_device.changed_evt()),
            PollFlags::IN,
        )
    }
}

impl HostStream for VsockStream {
    fn accept(&mut self) -> io::Result<bool> {
        self.shared_device.clear_changed();
        self.connection = self.shared_device.with(|device| {
            let connection = device.accept(self.port)?;
            device.stop_listening(self.port);
            Some(connection)
        });
        Ok(self.connection.is_some())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|device, connection| match device.read(connection, buffer) {
            ReadResult::Bytes(count) => Ok(count),
            ReadResult::Empty => Err(ErrorKind::WouldBlock.into()),
            ReadResult::End => Ok(0),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|device, connection| match device.write(connection, bytes) {
            Ok(0) => Err(ErrorKind::WouldBlock.into()),
            Ok(count) => Ok(count),
            Err(error) => Err(io::Error::new(ErrorKind::BrokenPipe, error)),
        })
    }

    fn read_event(&self) -> PollFd<'_> {
        self.event()
    }

    fn write_event(&self) -> PollFd<'_> {
        self.event()
    }

    fn drain(&mut self) {
        self.shared_device.receive_all();
    }

    fn has_unread_bytes(&self) -> bool {
        self.shared_device.with(|device| device.has_packet())
    }
}
