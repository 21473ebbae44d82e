//! The device core: the table of connections, and what each packet of the guest does to it.
//!
//! No clock, no I/O, no threads. What the guest can make it hold is bounded: [`MAX_CONNECTIONS`]
//! connections of two [`BUFFER`](super::BUFFER)s each and [`MAX_RESETS`] answers. Packets whose
//! answer would exceed that are dropped, so taking packets from the guest never has to wait for
//! the guest to take ours, and no deadlock can come of it.

use std::collections::VecDeque;

use super::connection::{Connection, Phase, Ports};
use super::packet::{GUEST_CID, HOST_CID, Header, Packet, TYPE_STREAM, op};

/// Connections in the table, whatever their state.
pub const MAX_CONNECTIONS: usize = 64;

/// Resets that wait to be sent.
pub const MAX_RESETS: usize = 64;

/// Names a connection for the host, and is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(u64);

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing yet.
    Empty,
    /// Nothing, and nothing more will come.
    End,
}

/// Nothing that is written can reach the guest any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest has closed the connection")]
pub struct Closed;

/// A vsock device with the host's end of every connection.
#[derive(Clone, Debug, Default)]
pub struct Device {
    connections: Vec<Connection>,
    listening: Vec<u32>,
    resets: VecDeque<Header>,
    next_id: u64,
    /// The connection after which the search for the next packet begins.
    turn: usize,
    news: bool,
}

impl Device {
    /// A device to which nobody is connected and on which nobody listens.
    #[must_use]
    pub fn new() -> Device {
        Device::default()
    }

    /// Takes a packet from the guest. `payload` is what followed the header, as much of it as the
    /// header's `len` says and the guest's buffer held.
    pub fn receive(&mut self, header: &Header, payload: &[u8]) {
        if header.src_cid != GUEST_CID {
            // Section 5.10.6.2: the source must be the guest's CID. An answer would go astray.
            return;
        }
        if header.dst_cid != HOST_CID || header.kind != TYPE_STREAM {
            self.reset(header);
            return;
        }
        let ports = Ports { guest: header.src_port, host: header.dst_port };
        let Some(at) = self.connections.iter().position(|c| c.ports == ports && c.is_live()) else {
            if header.op == op::REQUEST && self.listening.contains(&ports.host) && self.make_room()
            {
                self.next_id += 1;
                self.connections.push(Connection::new(self.next_id, header));
                self.news = true;
            } else {
                self.reset(header);
            }
            return;
        };

        let connection = &mut self.connections[at];
        connection.take_credit(header);
        let lives = match header.op {
            _ if header.len as usize != payload.len() => false,
            op::RW => connection.take_data(payload).is_ok(),
            op::CREDIT_UPDATE => true,
            op::CREDIT_REQUEST => {
                connection.owe_update();
                true
            }
            // Both halves end a connection, and the guest waits for a reset (section 5.10.6.5).
            op::SHUTDOWN => !connection.take_shutdown(header.flags),
            // A reset; a request where there is a connection; a response, though the host never
            // asks; an operation that does not exist.
            _ => false,
        };
        if !lives {
            if connection.is_closed() {
                self.connections.remove(at);
            } else {
                connection.vanish();
            }
            self.reset(header);
        }
        self.news |= !lives || matches!(header.op, op::RW | op::SHUTDOWN);
    }

    /// The next packet for the guest, with at most `max_payload` bytes after the header; `None`
    /// if there is none that fits.
    pub fn next_packet(&mut self, max_payload: usize) -> Option<Packet> {
        if let Some(header) = self.resets.pop_front() {
            return Some(Packet { header, payload: Vec::new() });
        }
        let count = self.connections.len();
        for step in 1..=count {
            let at = (self.turn + step) % count;
            if let Some(packet) = self.connections[at].next_packet(max_payload) {
                self.turn = at;
                self.news |= self.connections[at].take_room_news();
                return Some(packet);
            }
        }
        None
    }

    /// True if [`Device::next_packet`] has something for a buffer that is large enough.
    #[must_use]
    pub fn has_packet(&self) -> bool {
        !self.resets.is_empty() || self.connections.iter().any(Connection::has_packet)
    }

    /// From now on the guest may connect to this port.
    pub fn listen(&mut self, port: u32) {
        if !self.listening.contains(&port) {
            self.listening.push(port);
        }
    }

    /// From now on the guest may not; connections to it that were not accepted are reset.
    pub fn ignore(&mut self, port: u32) {
        self.listening.retain(|&p| p != port);
        while let Some(at) =
            self.connections.iter().position(|c| c.ports.host == port && !c.accepted)
        {
            self.evict(at);
        }
    }

    /// The oldest connection to `port` that was not accepted yet.
    pub fn accept(&mut self, port: u32) -> Option<ConnectionId> {
        let new = self.connections.iter_mut().find(|c| c.ports.host == port && !c.accepted)?;
        new.accepted = true;
        Some(ConnectionId(new.id))
    }

    /// Moves bytes that the guest has sent into `buffer`. What came before the guest closed, or
    /// died, stays readable.
    pub fn read(&mut self, id: ConnectionId, buffer: &mut [u8]) -> Read {
        match self.open(id) {
            None => Read::End,
            Some(c) if c.is_readable() && !buffer.is_empty() => Read::Bytes(c.read(buffer)),
            Some(c) if c.is_finished() && !c.is_readable() => Read::End,
            Some(_) => Read::Empty,
        }
    }

    /// Takes as many of these bytes as there is room for, perhaps none, and returns how many. After
    /// a short write, [`Device::take_news`] tells when there is room.
    ///
    /// # Errors
    /// [`Closed`] if the guest will not read them.
    pub fn write(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<usize, Closed> {
        match self.open(id) {
            Some(c) if !c.is_deaf() => Ok(c.write(bytes)),
            _ => Err(Closed),
        }
    }

    /// Closes a connection. What was written still goes out if the guest takes it.
    pub fn close(&mut self, id: ConnectionId) {
        let Some(at) = self.connections.iter().position(|c| c.id == id.0) else { return };
        match self.connections[at].phase {
            Phase::Open => self.connections[at].close(),
            Phase::Closing => {}
            Phase::Gone => drop(self.connections.remove(at)),
        }
    }

    /// The driver has reset the device: the guest knows no connection any more. What it had sent
    /// stays readable for the host; the ports listened to stay.
    pub fn reset_by_driver(&mut self) {
        self.news |= !self.connections.is_empty();
        self.resets.clear();
        self.connections.retain_mut(|connection| {
            let missed = connection.accepted && !connection.is_closed();
            connection.vanish();
            missed
        });
    }

    /// True once after something happened that the host may have waited for: a new connection,
    /// bytes to read, room to write, an end.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// The connection of that name, unless the host has closed it.
    fn open(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|c| c.id == id.0 && c.phase != Phase::Closing)
    }

    /// Answers a packet with a reset, unless it is one or too many answers wait already.
    fn reset(&mut self, header: &Header) {
        if header.op != op::RST && self.resets.len() < MAX_RESETS {
            self.resets.push_back(header.reset());
        }
    }

    /// Finds a place in the table. If it is full, a connection gives way in which nobody on the
    /// host is interested: one that the guest dropped before it was accepted, or one that the
    /// host has closed and the guest does not let go.
    fn make_room(&mut self) -> bool {
        if self.connections.len() < MAX_CONNECTIONS {
            return true;
        }
        let dispensable = self.connections.iter().position(Connection::is_dispensable);
        dispensable.map(|at| self.evict(at)).is_some()
    }

    /// Removes a connection; the guest is told if it still thinks of it.
    fn evict(&mut self, at: usize) {
        let connection = self.connections.remove(at);
        if connection.is_live() && self.resets.len() < MAX_RESETS {
            self.resets.push_back(connection.farewell());
        }
    }
}

#[cfg(test)]
mod tests;
