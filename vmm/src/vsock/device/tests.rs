// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the device core with guests that follow the protocol, violate it, or act at random.

use super::super::BUFFER_SIZE;
use super::super::packet::{SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};
use super::*;
use proptest::prelude::*;

mod connections;
mod credit;
mod limits;
mod random;

const PORT: u32 = 1024;

/// The guest's `buf_alloc`.
const GUEST_BUFFER: u32 = 64 * 1024;

fn header(guest: u32, op: u16) -> Header {
    Header {
        src_cid: GUEST_CID,
        dst_cid: HOST_CID,
        src_port: guest,
        dst_port: PORT,
        kind: TYPE_STREAM,
        op,
        buf_alloc: GUEST_BUFFER,
        ..Header::default()
    }
}

fn data(guest: u32, len: usize) -> Header {
    Header { len: u32::try_from(len).unwrap(), ..header(guest, op::RW) }
}

fn listening() -> Device {
    let mut device = Device::new();
    device.listen(PORT);
    device
}

/// A device with one accepted connection, whose response was sent.
fn connected(guest: u32) -> (Device, ConnectionId) {
    let mut device = listening();
    let id = connect(&mut device, guest);
    (device, id)
}

fn connect(device: &mut Device, guest: u32) -> ConnectionId {
    device.receive(&header(guest, op::REQUEST), &[]);
    assert_eq!(only_packet(device).op, op::RESPONSE);
    device.accept(PORT).expect("a connection")
}

/// Takes the only packet that the device has, and returns its header.
fn only_packet(device: &mut Device) -> Header {
    let packet = device.next_packet(usize::MAX).expect("a packet");
    assert_eq!(device.next_packet(usize::MAX), None);
    packet.header
}

fn packets(device: &mut Device) -> Vec<Packet> {
    let packets: Vec<_> = std::iter::from_fn(|| device.next_packet(4096)).take(1000).collect();
    assert!(packets.len() < 1000, "the device never stops");
    assert!(!device.has_packet());
    packets
}

/// Reads at most `limit` bytes of a connection and appends them to `into`.
fn read(device: &mut Device, id: ConnectionId, into: &mut Vec<u8>, limit: usize) -> ReadResult {
    let mut buffer = vec![0; limit.min(BUFFER_SIZE)];
    let read = device.read(id, &mut buffer);
    if let ReadResult::Bytes(count) = read {
        into.extend(&buffer[..count]);
    }
    read
}

fn read_all(device: &mut Device, id: ConnectionId) -> (Vec<u8>, ReadResult) {
    let mut bytes = Vec::new();
    loop {
        match read(device, id, &mut bytes, 1000) {
            ReadResult::Bytes(_) => {}
            end => return (bytes, end),
        }
    }
}

/// The bytes of a stream from offset `from` on. The pattern's period is a prime, so that no two pieces are
/// equal.
fn pattern(from: usize, len: usize) -> impl Iterator<Item = u8> {
    (from..from + len).map(|i| u8::try_from(i % 251).unwrap())
}

/// A guest that follows the protocol, with one connection.
#[derive(Default)]
struct Guest {
    sent: u32,
    host_fwd_cnt: u32,
    host_buf_alloc: u32,
    /// Bytes that were received and not read.
    unread: Vec<u8>,
    fwd_cnt: u32,
    /// Number of bytes that the guest has sent, and that it has read.
    wrote: Vec<u8>,
    read: Vec<u8>,
    reset: bool,
}

impl Guest {
    fn header(&self, op: u16, len: usize) -> Header {
        Header { fwd_cnt: self.fwd_cnt, ..Header { op, ..data(1, len) } }
    }

    fn credit(&self) -> usize {
        self.host_buf_alloc.checked_sub(self.sent.wrapping_sub(self.host_fwd_cnt)).unwrap() as usize
    }

    /// Sends as many of `len` bytes as the guest has credit for.
    fn send(&mut self, device: &mut Device, len: usize) {
        let len = len.min(self.credit());
        if len == 0 {
            return;
        }
        let from = self.wrote.len();
        self.wrote.extend(pattern(from, len));
        device.receive(&self.header(op::RW, len), &self.wrote[from..]);
        self.sent = self.sent.wrapping_add(u32::try_from(len).unwrap());
    }

    /// Receives packets until the device has none or `buffers` buffers are used.
    fn receive(&mut self, device: &mut Device, buffers: usize, size: usize) {
        for _ in 0..buffers {
            let Some(packet) = device.next_packet(size) else { break };
            assert_eq!(packet.header.len as usize, packet.payload.len());
            assert!(packet.payload.len() <= size);
            self.host_fwd_cnt = packet.header.fwd_cnt;
            self.host_buf_alloc = packet.header.buf_alloc;
            match packet.header.op {
                op::RW => {
                    self.unread.extend(&packet.payload);
                    assert!(self.unread.len() <= GUEST_BUFFER as usize, "beyond our credit");
                }
                op::CREDIT_REQUEST => device.receive(&self.header(op::CREDIT_UPDATE, 0), &[]),
                op::RST => self.reset = true,
                _ => {}
            }
        }
    }

    /// Reads bytes. Like Linux, sends a credit update when the free space that the host knows gets small.
    fn read(&mut self, device: &mut Device, len: usize) {
        let len = len.min(self.unread.len());
        self.read.extend(self.unread.drain(..len));
        self.fwd_cnt = self.fwd_cnt.wrapping_add(u32::try_from(len).unwrap());
        if len > 0 {
            device.receive(&self.header(op::CREDIT_UPDATE, 0), &[]);
        }
    }
}

fn pair() -> (Device, ConnectionId, Guest) {
    let mut device = listening();
    device.receive(&header(1, op::REQUEST), &[]);
    let mut guest = Guest::default();
    guest.receive(&mut device, 9, 4096);
    let id = device.accept(PORT).unwrap();
    (device, id, guest)
}

// Regressions of others, written before this device was.
