// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the device core with guests that follow the protocol, that violate the protocol, and
//! that act at random.

use super::super::BUFFER_SIZE;
use super::super::packet::{SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};
use super::*;
use proptest::prelude::*;

mod connections;
mod credit;
mod limits;
mod random;

const HOST_PORT: u32 = 1024;

/// The guest's `buf_alloc`.
const GUEST_BUFFER: u32 = 64 * 1024;

/// Creates the header of a packet from a port of the guest.
fn header(guest_port: u32, op: u16) -> Header {
    Header {
        src_cid: GUEST_CID,
        dst_cid: HOST_CID,
        src_port: guest_port,
        dst_port: HOST_PORT,
        kind: TYPE_STREAM,
        op,
        buf_alloc: GUEST_BUFFER,
        ..Header::default()
    }
}

/// Creates the header of a packet with `len` bytes of data.
fn data_header(guest_port: u32, len: usize) -> Header {
    Header { len: u32::try_from(len).unwrap(), ..header(guest_port, op::RW) }
}

fn listening_device() -> Device {
    let mut device = Device::new();
    device.listen(HOST_PORT);
    device
}

/// Creates a device with one accepted connection, whose response was sent.
fn connected_device(guest_port: u32) -> (Device, ConnectionId) {
    let mut device = listening_device();
    let id = connect(&mut device, guest_port);
    (device, id)
}

/// Opens and accepts a connection from a port of the guest.
fn connect(device: &mut Device, guest_port: u32) -> ConnectionId {
    device.receive(&header(guest_port, op::REQUEST), &[]);
    assert_eq!(only_packet(device).op, op::RESPONSE);
    device.accept(HOST_PORT).expect("a connection")
}

/// Takes the only packet that the device has, and returns its header.
fn only_packet(device: &mut Device) -> Header {
    let packet = device.next_packet(usize::MAX).expect("a packet");
    assert_eq!(device.next_packet(usize::MAX), None);
    packet.header
}

/// Takes all packets that the device has.
fn all_packets(device: &mut Device) -> Vec<Packet> {
    let packets: Vec<_> = std::iter::from_fn(|| device.next_packet(4096)).take(1000).collect();
    assert!(packets.len() < 1000, "the device has packets without end");
    assert!(!device.has_packet());
    packets
}

/// Reads at most `limit` bytes of a connection and appends them to `bytes`.
fn read(device: &mut Device, id: ConnectionId, bytes: &mut Vec<u8>, limit: usize) -> ReadResult {
    let mut buffer = vec![0; limit.min(BUFFER_SIZE)];
    let result = device.read(id, &mut buffer);
    if let ReadResult::Bytes(count) = result {
        bytes.extend(&buffer[..count]);
    }
    result
}

/// Returns all bytes that the host has received, and the result of the last read.
fn read_all(device: &mut Device, id: ConnectionId) -> (Vec<u8>, ReadResult) {
    let mut bytes = Vec::new();
    loop {
        match read(device, id, &mut bytes, 1000) {
            ReadResult::Bytes(_) => {}
            end => return (bytes, end),
        }
    }
}

/// Returns `len` bytes of test data from offset `start` on. The data repeats after 251 bytes, a
/// prime, so that lost and reordered pieces change the stream.
fn test_data(start: usize, len: usize) -> impl Iterator<Item = u8> {
    (start..start + len).map(|i| u8::try_from(i % 251).unwrap())
}

/// A guest that follows the protocol, with one connection.
#[derive(Default)]
struct Guest {
    /// Number of sent bytes, modulo 2^32.
    sent_count: u32,
    host_fwd_cnt: u32,
    host_buf_alloc: u32,
    /// Bytes that were received and not read.
    unread: Vec<u8>,
    fwd_cnt: u32,
    /// All bytes that the guest has sent.
    sent_bytes: Vec<u8>,
    /// All bytes that the guest has read.
    read_bytes: Vec<u8>,
    /// Whether the host has reset the connection.
    is_reset: bool,
}

impl Guest {
    fn header(&self, op: u16, len: usize) -> Header {
        Header { fwd_cnt: self.fwd_cnt, op, ..data_header(1, len) }
    }

    fn credit(&self) -> usize {
        let in_flight = self.sent_count.wrapping_sub(self.host_fwd_cnt);
        self.host_buf_alloc.checked_sub(in_flight).unwrap() as usize
    }

    /// Sends as many of `len` bytes as the guest has credit for.
    fn send(&mut self, device: &mut Device, len: usize) {
        let len = len.min(self.credit());
        if len == 0 {
            return;
        }
        let start = self.sent_bytes.len();
        self.sent_bytes.extend(test_data(start, len));
        device.receive(&self.header(op::RW, len), &self.sent_bytes[start..]);
        self.sent_count = self.sent_count.wrapping_add(u32::try_from(len).unwrap());
    }

    /// Receives at most `max_packets` packets with at most `max_payload` bytes of data each.
    fn receive(&mut self, device: &mut Device, max_packets: usize, max_payload: usize) {
        for _ in 0..max_packets {
            let Some(packet) = device.next_packet(max_payload) else { break };
            assert_eq!(packet.header.len as usize, packet.payload.len());
            assert!(packet.payload.len() <= max_payload);
            self.host_fwd_cnt = packet.header.fwd_cnt;
            self.host_buf_alloc = packet.header.buf_alloc;
            match packet.header.op {
                op::RW => {
                    self.unread.extend(&packet.payload);
                    assert!(self.unread.len() <= GUEST_BUFFER as usize, "beyond the credit");
                }
                op::CREDIT_REQUEST => device.receive(&self.header(op::CREDIT_UPDATE, 0), &[]),
                op::RST => self.is_reset = true,
                _ => {}
            }
        }
    }

    /// Reads at most `len` bytes, and sends a credit update.
    fn read(&mut self, device: &mut Device, len: usize) {
        let len = len.min(self.unread.len());
        self.read_bytes.extend(self.unread.drain(..len));
        self.fwd_cnt = self.fwd_cnt.wrapping_add(u32::try_from(len).unwrap());
        if len > 0 {
            device.receive(&self.header(op::CREDIT_UPDATE, 0), &[]);
        }
    }
}

/// Creates a device with one accepted connection, and the guest of the connection.
fn connected_guest() -> (Device, ConnectionId, Guest) {
    let mut device = listening_device();
    device.receive(&header(1, op::REQUEST), &[]);
    let mut guest = Guest::default();
    guest.receive(&mut device, 9, 4096);
    let id = device.accept(HOST_PORT).unwrap();
    (device, id, guest)
}
