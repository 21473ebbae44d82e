//! One stream between a guest port and a host port: buffers, credit and the way it ends.
//!
//! Credit (virtio 1.2, section 5.10.6.3) is kept for each connection by itself, in free-running
//! counters modulo 2^32. Each side may have as many bytes under way as the other's buffer holds:
//!
//! ```text
//! guest -> host   inbox.len() = received - fwd_cnt  <= BUFFER      (the guest keeps to it, or is reset)
//! host -> guest   sent - peer_fwd_cnt               <= peer_buf_alloc   (we keep to it)
//! ```

use std::collections::VecDeque;

use super::packet::{GUEST_CID, HOST_CID, Header, Packet, SHUTDOWN_BOTH, TYPE_STREAM, op};
use super::packet::{SHUTDOWN_RECEIVE, SHUTDOWN_SEND};

/// Bytes buffered for each direction of a connection; also the credit the guest is told.
pub const BUFFER: usize = 256 * 1024;

/// [`BUFFER`] as it is told to the guest.
#[expect(clippy::cast_possible_truncation, reason = "256 KiB fit")]
const BUF_ALLOC: u32 = BUFFER as u32;

/// The guest hears of freed room once it is this much: seldom enough not to be a packet for each
/// read, early enough that a guest which sends steadily never waits.
const UPDATE_AFTER: u32 = BUF_ALLOC / 4;

/// The two ports that name a connection while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) guest: u32,
    pub(super) host: u32,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Both sides talk.
    Open,
    /// The host has closed; what it wrote still goes out, then a shutdown, then the guest resets.
    Closing,
    /// The guest knows nothing of it any more; the host may still read what came.
    Gone,
}

/// A connection that the guest opened.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) ports: Ports,
    pub(super) phase: Phase,
    /// The host has taken it with `accept`.
    pub(super) accepted: bool,
    inbox: VecDeque<u8>,
    outbox: VecDeque<u8>,
    /// Bytes the host has read.
    fwd_cnt: u32,
    /// `fwd_cnt` as the guest last heard it.
    told_fwd_cnt: u32,
    /// Bytes sent to the guest.
    sent: u32,
    peer_buf_alloc: u32,
    peer_fwd_cnt: u32,
    /// Which halves the guest has shut down.
    guest_shutdown: u32,
    owes_response: bool,
    owes_update: bool,
    /// A credit request went out since the guest last told its credit.
    asked: bool,
    /// The shutdown that follows `Phase::Closing` went out.
    shutdown_sent: bool,
    /// A write of the host found no room for all of its bytes.
    writer_waits: bool,
}

/// A guest broke the rules on a connection, which is to be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation;

impl Connection {
    /// A connection that answers `request`.
    pub(super) fn new(id: u64, request: &Header) -> Connection {
        Connection {
            id,
            ports: Ports { guest: request.src_port, host: request.dst_port },
            phase: Phase::Open,
            accepted: false,
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            fwd_cnt: 0,
            told_fwd_cnt: 0,
            sent: 0,
            peer_buf_alloc: request.buf_alloc,
            peer_fwd_cnt: request.fwd_cnt,
            guest_shutdown: 0,
            owes_response: true,
            owes_update: false,
            asked: false,
            shutdown_sent: false,
            writer_waits: false,
        }
    }

    /// Takes the credit that every packet of the guest carries.
    pub(super) fn take_credit(&mut self, header: &Header) {
        self.peer_buf_alloc = header.buf_alloc;
        self.peer_fwd_cnt = header.fwd_cnt;
        self.asked = false;
    }

    /// Takes data from the guest.
    pub(super) fn take_data(&mut self, payload: &[u8]) -> Result<(), Violation> {
        if self.guest_shutdown & SHUTDOWN_SEND != 0 {
            return Err(Violation);
        }
        if self.phase == Phase::Closing {
            // Under way when the host closed. Nobody will read it, so it counts as read.
            self.count_read(payload.len());
            return Ok(());
        }
        if payload.len() > BUFFER - self.inbox.len() {
            return Err(Violation);
        }
        self.inbox.extend(payload);
        Ok(())
    }

    /// Takes a shutdown from the guest. True if that was both halves: it is over for the guest,
    /// which waits for a reset.
    pub(super) fn take_shutdown(&mut self, flags: u32) -> bool {
        self.guest_shutdown |= flags & SHUTDOWN_BOTH;
        if self.guest_shutdown & SHUTDOWN_RECEIVE != 0 {
            self.outbox = VecDeque::new();
        }
        self.guest_shutdown == SHUTDOWN_BOTH
    }

    /// The guest asked what credit it has.
    pub(super) fn owe_update(&mut self) {
        self.owes_update = true;
    }

    /// The guest knows this connection no more.
    pub(super) fn vanish(&mut self) {
        self.phase = Phase::Gone;
        self.guest_shutdown = SHUTDOWN_BOTH;
        self.outbox = VecDeque::new();
    }

    /// Moves received bytes into `buffer`, as many as fit, and returns how many.
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

    /// Counts bytes that left the inbox, and sees to it that the guest hears of the room in time.
    fn count_read(&mut self, count: usize) {
        self.fwd_cnt = self.fwd_cnt.wrapping_add(wire_len(count));
        if self.fwd_cnt.wrapping_sub(self.told_fwd_cnt) >= UPDATE_AFTER
            && self.guest_shutdown & SHUTDOWN_SEND == 0
        {
            self.owes_update = true;
        }
    }

    /// True if there is something to read.
    pub(super) fn is_readable(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// True if the guest will send no more. What has come can still be read.
    pub(super) fn is_finished(&self) -> bool {
        self.guest_shutdown & SHUTDOWN_SEND != 0
    }

    /// True if the guest knows of this connection.
    pub(super) fn is_live(&self) -> bool {
        self.phase != Phase::Gone
    }

    /// True if the host has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// True if nobody on the host would miss it.
    pub(super) fn is_dispensable(&self) -> bool {
        self.phase == Phase::Closing || (self.phase == Phase::Gone && !self.accepted)
    }

    /// True if nothing that is written can reach the guest's reader.
    pub(super) fn is_deaf(&self) -> bool {
        self.phase != Phase::Open || self.guest_shutdown & SHUTDOWN_RECEIVE != 0
    }

    /// Takes bytes of the host for the guest: as many as there is room for.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(BUFFER - self.outbox.len());
        self.outbox.extend(&bytes[..count]);
        self.writer_waits = count < bytes.len();
        count
    }

    /// True once if a write had not found room for all and there is room now.
    pub(super) fn take_room_news(&mut self) -> bool {
        self.outbox.len() < BUFFER && std::mem::take(&mut self.writer_waits)
    }

    /// The host is done: nothing more is read, what was written still goes out.
    pub(super) fn close(&mut self) {
        self.phase = Phase::Closing;
        self.count_read(self.inbox.len());
        self.inbox = VecDeque::new();
    }

    /// Bytes that the guest has room for.
    fn credit(&self) -> u32 {
        // A guest that claims to have read what was never sent, or shrinks its buffer below what
        // is under way, has none.
        self.peer_buf_alloc.saturating_sub(self.sent.wrapping_sub(self.peer_fwd_cnt))
    }

    /// The reset that tells the guest of the end.
    pub(super) fn farewell(&self) -> Header {
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

    /// What the next packet would be, if there is one.
    fn due(&self, max_payload: usize) -> Option<u16> {
        if self.phase == Phase::Gone {
            return None;
        }
        if self.owes_response {
            return Some(op::RESPONSE);
        }
        if !self.outbox.is_empty() {
            if self.credit() == 0 {
                if !self.asked {
                    return Some(op::CREDIT_REQUEST);
                }
            } else if max_payload > 0 {
                return Some(op::RW);
            }
        } else if self.phase == Phase::Closing && !self.shutdown_sent {
            return Some(op::SHUTDOWN);
        }
        // Any packet tells the credit, so it needs one of its own only if there is no other.
        self.owes_update.then_some(op::CREDIT_UPDATE)
    }

    /// True if [`Connection::next_packet`] has something for a buffer of any size.
    pub(super) fn has_packet(&self) -> bool {
        self.due(usize::MAX).is_some()
    }

    /// The next packet for the guest, with at most `max_payload` bytes of data.
    pub(super) fn next_packet(&mut self, max_payload: usize) -> Option<Packet> {
        let operation = self.due(max_payload)?;
        let mut payload = Vec::new();
        let mut flags = 0;
        match operation {
            op::RESPONSE => self.owes_response = false,
            op::RW => {
                let count = max_payload.min(self.credit() as usize).min(self.outbox.len());
                payload.extend(self.outbox.drain(..count));
                self.sent = self.sent.wrapping_add(wire_len(count));
            }
            op::SHUTDOWN => {
                self.shutdown_sent = true;
                flags = SHUTDOWN_BOTH;
            }
            op::CREDIT_REQUEST => self.asked = true,
            _ => {}
        }
        self.owes_update = false;
        self.told_fwd_cnt = self.fwd_cnt;
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
    /// Bytes it holds.
    pub(super) fn buffered(&self) -> usize {
        self.inbox.len() + self.outbox.len()
    }

    /// Sets all counters as if so many bytes had passed both ways.
    pub(super) fn skip_to(&mut self, count: u32) {
        (self.fwd_cnt, self.told_fwd_cnt) = (count, count);
        (self.sent, self.peer_fwd_cnt) = (count, count);
    }
}

/// A length that is at most [`BUFFER`], or a payload's, which a header counts in 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "bounded by BUFFER or a u32 from the wire")]
fn wire_len(len: usize) -> u32 {
    len as u32
}
