// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The device core: the table of connections, and the effect of each packet on the table.
//!
//! The core has no clock, no I/O and no threads. Its memory is bounded: at most [`MAX_CONNECTIONS`]
//! connections with two buffers of [`BUFFER_SIZE`](super::BUFFER_SIZE) each, and [`MAX_RESETS`]
//! resets. A packet whose answer would exceed a maximum is not answered. The core handles a packet
//! of the guest without waiting for the guest to receive one, so there is no deadlock.

use std::collections::VecDeque;

use super::connection::{Connection, Ports, State};
use super::packet::{GUEST_CID, HOST_CID, Header, Packet, TYPE_STREAM, op};

/// Maximum number of connections in the table, in any state.
pub const MAX_CONNECTIONS: usize = 64;

/// Maximum number of resets that wait for a buffer in the receive queue.
pub const MAX_RESETS: usize = 64;

/// Identifies a connection for the host. Ids are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(u64);

/// Result of [`Device::read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// The number of bytes that were read, at least one.
    Bytes(usize),
    /// No bytes are available yet.
    Empty,
    /// No bytes are left, and no more will come.
    End,
}

/// Error: the guest receives no more bytes on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest has closed the connection")]
pub struct GuestClosed;

/// A vsock device with the host's ends of all connections.
#[derive(Clone, Debug, Default)]
pub struct Device {
    connections: Vec<Connection>,
    listening_ports: Vec<u32>,
    resets: VecDeque<Header>,
    next_id: u64,
    /// Index of the last connection that sent a packet. The search for the next packet begins after
    /// this connection.
    last_sender: usize,
    /// Result of the next [`Device::take_changed`].
    has_changed: bool,
}

impl Device {
    /// Creates a device without connections and listening ports.
    #[must_use]
    pub fn new() -> Device {
        Device::default()
    }

    /// Handles a packet from the guest. `payload` is shorter than the header's `len` if the guest's
    /// buffer was too small, which violates the protocol.
    pub fn receive(&mut self, header: &Header, payload: &[u8]) {
        if header.src_cid != GUEST_CID {
            // Drop packets with another source than the guest's CID (section 5.10.6.2), because an
            // answer would have no receiver.
            return;
        }
        if header.dst_cid != HOST_CID || header.kind != TYPE_STREAM {
            self.reset(header);
            return;
        }
        let ports = Ports { guest: header.src_port, host: header.dst_port };
        let Some(index) = self
            .connections
            .iter()
            .position(|connection| connection.ports == ports && connection.is_live())
        else {
            if header.op == op::REQUEST
                && self.listening_ports.contains(&ports.host)
                && self.free_table_entry()
            {
                self.next_id += 1;
                self.connections.push(Connection::new(self.next_id, header));
                self.has_changed = true;
            } else {
                self.reset(header);
            }
            return;
        };

        let connection = &mut self.connections[index];
        connection.receive_credit(header);
        let stays_open = match header.op {
            _ if header.len as usize != payload.len() => false,
            op::RW => connection.receive_data(payload).is_ok(),
            op::CREDIT_UPDATE => true,
            op::CREDIT_REQUEST => {
                connection.receive_credit_request();
                true
            }
            // A shutdown of both halves ends the connection (section 5.10.6.5).
            op::SHUTDOWN => !connection.receive_shutdown(header.flags),
            // These operations end the connection: a reset, a request for an existing connection, a
            // response (the host never sends requests), and an unknown operation.
            _ => false,
        };
        if !stays_open {
            if connection.is_closed() {
                self.connections.remove(index);
            } else {
                connection.set_gone();
            }
            self.reset(header);
        }
        self.has_changed |= !stays_open || matches!(header.op, op::RW | op::SHUTDOWN);
    }

    /// Returns the next packet for the guest, with at most `max_payload` bytes after the header.
    /// `None` if no packet fits.
    pub fn next_packet(&mut self, max_payload: usize) -> Option<Packet> {
        if let Some(header) = self.resets.pop_front() {
            return Some(Packet { header, payload: Vec::new() });
        }
        let connection_count = self.connections.len();
        for distance in 1..=connection_count {
            let index = (self.last_sender + distance) % connection_count;
            if let Some(packet) = self.connections[index].next_packet(max_payload) {
                self.last_sender = index;
                self.has_changed |= self.connections[index].take_writable();
                return Some(packet);
            }
        }
        None
    }

    /// Returns true if [`Device::next_packet`] returns a packet if the packet fits.
    #[must_use]
    pub fn has_packet(&self) -> bool {
        !self.resets.is_empty() || self.connections.iter().any(Connection::has_packet)
    }

    /// Accepts connections to this port from now on.
    pub fn listen(&mut self, port: u32) {
        if !self.listening_ports.contains(&port) {
            self.listening_ports.push(port);
        }
    }

    /// Refuses connections to this port from now on, and resets connections that the host has not
    /// accepted.
    pub fn stop_listening(&mut self, port: u32) {
        self.listening_ports.retain(|&listening_port| listening_port != port);
        while let Some(index) = self
            .connections
            .iter()
            .position(|connection| connection.ports.host == port && !connection.is_accepted)
        {
            self.evict(index);
        }
    }

    /// Accepts the oldest connection to `port` that waits to be accepted.
    pub fn accept(&mut self, port: u32) -> Option<ConnectionId> {
        let connection = self
            .connections
            .iter_mut()
            .find(|connection| connection.ports.host == port && !connection.is_accepted)?;
        connection.is_accepted = true;
        Some(ConnectionId(connection.id))
    }

    /// Moves received bytes into `buffer`. Received bytes stay readable after the guest has closed
    /// the connection or reset the device.
    pub fn read(&mut self, id: ConnectionId, buffer: &mut [u8]) -> ReadResult {
        match self.find_open(id) {
            None => ReadResult::End,
            Some(connection) if connection.is_readable() && !buffer.is_empty() => {
                ReadResult::Bytes(connection.read(buffer))
            }
            Some(connection) if connection.is_read_closed() && !connection.is_readable() => {
                ReadResult::End
            }
            Some(_) => ReadResult::Empty,
        }
    }

    /// Appends as many bytes to the connection's outbox as fit, and returns their number, which may
    /// be 0. After a short write, [`Device::take_changed`] returns true when more bytes fit.
    ///
    /// # Errors
    /// [`GuestClosed`] if the guest receives no more bytes.
    pub fn write(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<usize, GuestClosed> {
        match self.find_open(id) {
            Some(connection) if !connection.is_write_closed() => Ok(connection.write(bytes)),
            _ => Err(GuestClosed),
        }
    }

    /// Closes a connection. Written bytes are still sent, if the guest has not shut down receiving.
    pub fn close(&mut self, id: ConnectionId) {
        let Some(index) = self.connections.iter().position(|connection| connection.id == id.0)
        else {
            return;
        };
        match self.connections[index].state {
            State::Open => self.connections[index].close(),
            State::Closing => {}
            State::Gone => drop(self.connections.remove(index)),
        }
    }

    /// Handles a reset of the device by the driver, which ends all connections for the guest.
    /// Received bytes stay readable, and the listening ports stay.
    pub fn reset_by_driver(&mut self) {
        self.has_changed |= !self.connections.is_empty();
        self.resets.clear();
        self.connections.retain_mut(|connection| {
            // The host still reads a connection that it has accepted and not closed.
            let is_in_use = connection.is_accepted && !connection.is_closed();
            connection.set_gone();
            is_in_use
        });
    }

    /// Returns true once after changes for which the host may wait: a new connection, bytes to read,
    /// free space after a short write, or the end of a connection.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Returns the connection with this id, unless the host has closed it.
    fn find_open(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections
            .iter_mut()
            .find(|connection| connection.id == id.0 && connection.state != State::Closing)
    }

    /// Answers a packet with a reset, unless the packet is a reset or [`MAX_RESETS`] wait already.
    fn reset(&mut self, header: &Header) {
        if header.op != op::RST && self.resets.len() < MAX_RESETS {
            self.resets.push_back(header.reset());
        }
    }

    /// Removes a connection from a full table that the host does not need: a connection that the
    /// guest ended before the host accepted the connection, or a connection that the host has closed
    /// and the guest has not reset. Returns false if the table stays full.
    fn free_table_entry(&mut self) -> bool {
        if self.connections.len() < MAX_CONNECTIONS {
            return true;
        }
        let dispensable_index = self.connections.iter().position(Connection::is_dispensable);
        dispensable_index.map(|index| self.evict(index)).is_some()
    }

    /// Removes a connection. Sends a reset if the connection still exists for the guest.
    fn evict(&mut self, index: usize) {
        let connection = self.connections.remove(index);
        if connection.is_live() && self.resets.len() < MAX_RESETS {
            self.resets.push_back(connection.reset());
        }
    }
}

#[cfg(test)]
mod tests;
