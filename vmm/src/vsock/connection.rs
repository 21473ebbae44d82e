// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One connection between a guest port and a host port: buffers, credit and shutdown.
//!
//! Credit (virtio 1.2, section 5.10.6.3) is kept in counters modulo 2^32. In each direction, the
//! bytes in flight must fit into the receiver's buffer:
//!
//! ```text
//! guest -> host   inbox.len() = received - fwd_cnt  <= BUFFER_SIZE     or the guest is reset
//! host -> guest   sent - peer_fwd_cnt               <= peer_buf_alloc  Connection::credit
//! ```

use std::collections::VecDeque;

use super::packet::{GUEST_CID, HOST_CID, Header, Packet, SHUTDOWN_BOTH, TYPE_STREAM, op};
use super::packet::{SHUTDOWN_RECEIVE, SHUTDOWN_SEND};

/// Size of the buffer for each direction of a connection in bytes; also the host's `buf_alloc`.
pub const BUFFER_SIZE: usize = 256 * 1024;

/// [`BUFFER_SIZE`] as a header field.
#[expect(clippy::cast_possible_truncation, reason = "256 KiB fit")]
const BUF_ALLOC: u32 = BUFFER_SIZE as u32;

/// Number of bytes that the host reads between two credit updates: a part of the buffer, so that a
/// guest that sends steadily never waits, but not one update for each read.
const CREDIT_UPDATE_THRESHOLD: u32 = BUF_ALLOC / 4;

/// The two ports that identify a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) guest: u32,
    pub(super) host: u32,
}

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The connection is open; both sides may send.
    Open,
    /// The host has closed the connection. The remaining bytes of the outbox are sent, then a
    /// shutdown, which the guest answers with a reset.
    Closing,
    /// The connection no longer exists for the guest. The host may still read received bytes.
    Gone,
}

/// A connection that the guest opened.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) ports: Ports,
    pub(super) state: State,
    /// Whether the host has accepted the connection ([`super::device::Device::accept`]).
    pub(super) is_accepted: bool,
    /// Bytes that were received and that the host has not read.
    inbox: VecDeque<u8>,
    /// Bytes that the host wrote and that were not sent.
    outbox: VecDeque<u8>,
    /// Number of bytes that the host has read, modulo 2^32.
    fwd_cnt: u32,
    /// The `fwd_cnt` in the last packet to the guest.
    last_fwd_cnt: u32,
    /// Number of bytes that were sent to the guest, modulo 2^32.
    sent: u32,
    /// The `buf_alloc` in the last packet from the guest.
    peer_buf_alloc: u32,
    /// The `fwd_cnt` in the last packet from the guest.
    peer_fwd_cnt: u32,
    /// Halves that the guest has shut down: `VIRTIO_VSOCK_SHUTDOWN_F_*`.
    guest_shutdown: u32,
    /// Whether a response must be sent.
    response_due: bool,
    /// Whether a credit update must be sent.
    update_due: bool,
    /// Whether a credit request was sent since the last packet from the guest.
    credit_requested: bool,
    /// Whether the shutdown of [`State::Closing`] was sent.
    shutdown_sent: bool,
    /// Whether the outbox was too full for the last write of the host.
    writer_waits: bool,
}

/// Error: the guest violated the protocol, so the connection must be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation;

impl Connection {
    /// Creates the connection for a request of the guest.
    pub(super) fn new(id: u64, request: &Header) -> Connection {
        Connection {
            id,
            ports: Ports { guest: request.src_port, host: request.dst_port },
            state: State::Open,
            is_accepted: false,
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            fwd_cnt: 0,
            last_fwd_cnt: 0,
            sent: 0,
            peer_buf_alloc: request.buf_alloc,
            peer_fwd_cnt: request.fwd_cnt,
            guest_shutdown: 0,
            response_due: true,
            update_due: false,
            credit_requested: false,
            shutdown_sent: false,
            writer_waits: false,
        }
    }

    /// Stores the credit information of a packet from the guest.
    pub(super) fn receive_credit(&mut self, header: &Header) {
        self.peer_buf_alloc = header.buf_alloc;
        self.peer_fwd_cnt = header.fwd_cnt;
        self.credit_requested = false;
    }

    /// Receives data from the guest.
    ///
    /// # Errors
    /// [`Violation`] if the guest has shut down sending, or has no credit for the data.
    pub(super) fn receive_data(&mut self, payload: &[u8]) -> Result<(), Violation> {
        if self.guest_shutdown & SHUTDOWN_SEND != 0 {
            return Err(Violation);
        }
        if self.state == State::Closing {
            // The guest sent the data before it received the shutdown. Nobody will read the data,
            // so count the data as read.
            self.count_read(payload.len());
            return Ok(());
        }
        if payload.len() > BUFFER_SIZE - self.inbox.len() {
            return Err(Violation);
        }
        self.inbox.extend(payload);
        Ok(())
    }

    /// Handles a shutdown from the guest. Returns true if both halves are shut down. The guest then
    /// waits for a reset.
    pub(super) fn receive_shutdown(&mut self, flags: u32) -> bool {
        self.guest_shutdown |= flags & SHUTDOWN_BOTH;
        if self.guest_shutdown & SHUTDOWN_RECEIVE != 0 {
            self.outbox = VecDeque::new();
        }
        self.guest_shutdown == SHUTDOWN_BOTH
    }

    /// Handles a credit request from the guest.
    pub(super) fn receive_credit_request(&mut self) {
        self.update_due = true;
    }

    /// Marks the connection as gone for the guest.
    pub(super) fn set_gone(&mut self) {
        self.state = State::Gone;
        self.guest_shutdown = SHUTDOWN_BOTH;
        self.outbox = VecDeque::new();
    }

    /// Moves as many received bytes into `buffer` as fit, and returns their number.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.inbox.len());
        let (front, back) = self.inbox.as_slices();
        let split = count.min(front.len());
        buffer[..split].copy_from_slice(&front[..split]);
        buffer[split..count].copy_from_slice(&back[..count - split]);
        self.inbox.drain(..count);
        self.count_read(count);
        count
    }

    /// Counts bytes that left the inbox, and makes a credit update due after enough bytes.
    fn count_read(&mut self, count: usize) {
        self.fwd_cnt = self.fwd_cnt.wrapping_add(wire_len(count));
        if self.fwd_cnt.wrapping_sub(self.last_fwd_cnt) >= CREDIT_UPDATE_THRESHOLD
            && self.guest_shutdown & SHUTDOWN_SEND == 0
        {
            self.update_due = true;
        }
    }

    /// Returns true if there are bytes to read.
    pub(super) fn is_readable(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Returns true if the guest has shut down sending. Received bytes can still be read.
    pub(super) fn is_read_closed(&self) -> bool {
        self.guest_shutdown & SHUTDOWN_SEND != 0
    }

    /// Returns true if the connection exists for the guest.
    pub(super) fn is_live(&self) -> bool {
        self.state != State::Gone
    }

    /// Returns true if the host has closed the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closing
    }

    /// Returns true if the host no longer needs the connection in the table.
    pub(super) fn is_dispensable(&self) -> bool {
        self.state == State::Closing || (self.state == State::Gone && !self.is_accepted)
    }

    /// Returns true if the guest receives no more bytes.
    pub(super) fn is_write_closed(&self) -> bool {
        self.state != State::Open || self.guest_shutdown & SHUTDOWN_RECEIVE != 0
    }

    /// Appends as many bytes to the outbox as fit, and returns their number.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(BUFFER_SIZE - self.outbox.len());
        self.outbox.extend(&bytes[..count]);
        self.writer_waits = count < bytes.len();
        count
    }

    /// Returns true once when the outbox is no longer full after a short write.
    pub(super) fn take_writable(&mut self) -> bool {
        self.outbox.len() < BUFFER_SIZE && std::mem::take(&mut self.writer_waits)
    }

    /// Closes the connection for the host. Drops the received bytes; the outbox is still sent.
    pub(super) fn close(&mut self) {
        self.state = State::Closing;
        self.count_read(self.inbox.len());
        self.inbox = VecDeque::new();
    }

    /// Returns the number of bytes that the guest has credit for.
    fn credit(&self) -> u32 {
        // The credit is 0 if the guest claims to have read more than was sent, or has made its
        // buffer smaller than the bytes in flight.
        self.peer_buf_alloc.saturating_sub(self.sent.wrapping_sub(self.peer_fwd_cnt))
    }

    /// Returns the reset that ends the connection for the guest.
    pub(super) fn reset(&self) -> Header {
        Header {
            src_cid: HOST_CID,
            dst_cid: GUEST_CID,
            src_port: self.ports.host,
            dst_port: self.ports.guest,
            kind: TYPE_STREAM,
            op: op::RST,
            ..Header::default()
        }
    }

    /// Returns the operation of the next packet, if there is one.
    fn next_op(&self, max_payload: usize) -> Option<u16> {
        if self.state == State::Gone {
            return None;
        }
        if self.response_due {
            return Some(op::RESPONSE);
        }
        if !self.outbox.is_empty() {
            if self.credit() == 0 {
                if !self.credit_requested {
                    return Some(op::CREDIT_REQUEST);
                }
            } else if max_payload > 0 {
                return Some(op::RW);
            }
        } else if self.state == State::Closing && !self.shutdown_sent {
            return Some(op::SHUTDOWN);
        }
        // Every packet carries the credit, so an update is sent only if there is no other packet.
        self.update_due.then_some(op::CREDIT_UPDATE)
    }

    /// Returns true if [`Connection::next_packet`] returns a packet if the packet fits.
    pub(super) fn has_packet(&self) -> bool {
        self.next_op(usize::MAX).is_some()
    }

    /// Returns the next packet for the guest, with at most `max_payload` bytes of data.
    pub(super) fn next_packet(&mut self, max_payload: usize) -> Option<Packet> {
        let operation = self.next_op(max_payload)?;
        let mut payload = Vec::new();
        let mut flags = 0;
        match operation {
            op::RESPONSE => self.response_due = false,
            op::RW => {
                let count = max_payload.min(self.credit() as usize).min(self.outbox.len());
                payload.extend(self.outbox.drain(..count));
                self.sent = self.sent.wrapping_add(wire_len(count));
            }
            op::SHUTDOWN => {
                self.shutdown_sent = true;
                flags = SHUTDOWN_BOTH;
            }
            op::CREDIT_REQUEST => self.credit_requested = true,
            _ => {}
        }
        self.update_due = false;
        self.last_fwd_cnt = self.fwd_cnt;
        let header = Header {
            src_cid: HOST_CID,
            dst_cid: GUEST_CID,
            src_port: self.ports.host,
            dst_port: self.ports.guest,
            len: wire_len(payload.len()),
            kind: TYPE_STREAM,
            op: operation,
            flags,
            buf_alloc: BUF_ALLOC,
            fwd_cnt: self.fwd_cnt,
        };
        Some(Packet { header, payload })
    }
}

#[cfg(test)]
impl Connection {
    /// Returns the number of bytes in the buffers.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.inbox.len() + self.outbox.len()
    }

    /// Sets all counters as if `count` bytes had passed in each direction.
    pub(super) fn skip_to(&mut self, count: u32) {
        (self.fwd_cnt, self.last_fwd_cnt) = (count, count);
        (self.sent, self.peer_fwd_cnt) = (count, count);
    }
}

/// Converts a length to the 32 bits of a header field. The length must be at most [`BUFFER_SIZE`],
/// or come from a header.
#[expect(
    clippy::cast_possible_truncation,
    reason = "bounded by BUFFER_SIZE or a u32 from the wire"
)]
fn wire_len(len: usize) -> u32 {
    len as u32
}
