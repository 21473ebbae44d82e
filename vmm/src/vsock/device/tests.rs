// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The device against guests that keep the rules, break them, or do anything at all.

use super::super::BUFFER;
use super::super::packet::{SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};
use super::*;
use proptest::prelude::*;

const PORT: u32 = 1024;

/// What a guest tells of its own buffer.
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

/// A device with one connection that was accepted and answered.
fn connected(guest: u32) -> (Device, ConnectionId) {
    let mut device = listening();
    let id = connect(&mut device, guest);
    (device, id)
}

fn connect(device: &mut Device, guest: u32) -> ConnectionId {
    device.receive(&header(guest, op::REQUEST), &[]);
    assert_eq!(only(device).op, op::RESPONSE);
    device.accept(PORT).expect("a connection")
}

/// The one packet that the device has.
fn only(device: &mut Device) -> Header {
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

/// Reads at most `limit` bytes of a connection to the end of `into`.
fn read(device: &mut Device, id: ConnectionId, into: &mut Vec<u8>, limit: usize) -> Read {
    let mut buffer = vec![0; limit.min(BUFFER)];
    let read = device.read(id, &mut buffer);
    if let Read::Bytes(count) = read {
        into.extend(&buffer[..count]);
    }
    read
}

fn read_all(device: &mut Device, id: ConnectionId) -> (Vec<u8>, Read) {
    let mut bytes = Vec::new();
    loop {
        match read(device, id, &mut bytes, 1000) {
            Read::Bytes(_) => {}
            end => return (bytes, end),
        }
    }
}

/// Bytes of a stream from a place on; the period is a prime, so that no piece looks like another.
fn pattern(from: usize, len: usize) -> impl Iterator<Item = u8> {
    (from..from + len).map(|i| u8::try_from(i % 251).unwrap())
}

/// A guest that keeps the rules: the other end of one connection.
#[derive(Default)]
struct Guest {
    sent: u32,
    host_fwd_cnt: u32,
    host_buf_alloc: u32,
    /// Bytes that have come and were not read.
    unread: Vec<u8>,
    fwd_cnt: u32,
    /// What it has sent, and what it has read.
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

    /// Sends as much of `len` bytes as it has credit for.
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

    /// Takes the device's packets until it has none or `buffers` are used.
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

    /// Reads, and tells of it as Linux does: when the room it last told of gets small.
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

/// Firecracker issue 1751: the guest used up its credit and never heard of new.
#[test]
fn a_large_transfer_from_the_guest_never_stalls() {
    for piece in [7, 4096, 65536, BUFFER] {
        let (mut device, id, mut guest) = pair();
        let mut got = Vec::new();
        let total = 5 * BUFFER;
        let mut idle = 0;
        while got.len() < total {
            let before = got.len();
            guest.send(&mut device, 65536);
            // A reader that takes small pieces takes them until there are none.
            while let Read::Bytes(_) = read(&mut device, id, &mut got, piece) {}
            guest.receive(&mut device, 100, 4096);
            idle = if got.len() == before { idle + 1 } else { 0 };
            assert!(idle < 3, "stalled after {} bytes", got.len());
        }
        assert_eq!(got, guest.wrote);
    }
}

/// And it hears of it in a few packets, not in one for each read.
#[test]
fn credit_updates_are_few() {
    let (mut device, id, mut guest) = pair();
    let (mut bytes, mut updates) = (Vec::new(), 0);
    while bytes.len() < 10 * BUFFER {
        guest.send(&mut device, 4096);
        read(&mut device, id, &mut bytes, 4096);
        while let Some(packet) = device.next_packet(4096) {
            guest.host_fwd_cnt = packet.header.fwd_cnt;
            updates += 1;
        }
    }
    assert_eq!(updates, 40);
}

/// The same towards the guest: its credit updates reopen the way.
#[test]
fn a_large_transfer_to_the_guest_never_stalls() {
    let (mut device, id, mut guest) = pair();
    let bytes: Vec<u8> = pattern(0, 10 * BUFFER).collect();
    let mut left = &bytes[..];
    for _ in 0..10_000 {
        left = &left[device.write(id, left).unwrap()..];
        guest.receive(&mut device, 1000, 4096);
        guest.read(&mut device, 10_000);
    }
    assert_eq!(guest.read, bytes);
}

/// Firecracker pull request 6077: after the guest had closed, the device was busy for ever.
#[test]
fn after_the_guest_closed_there_is_nothing_to_do() {
    for reset in [op::SHUTDOWN, op::RST] {
        let (mut device, id) = connected(1);
        device.receive(&data(1, 3), b"bye");
        device.receive(&Header { flags: SHUTDOWN_BOTH, ..header(1, reset) }, &[]);
        packets(&mut device);
        assert_eq!(read_all(&mut device, id), (b"bye".to_vec(), Read::End));
        assert!(device.take_changed());
        for _ in 0..3 {
            assert_eq!(read_all(&mut device, id), (Vec::new(), Read::End));
            assert_eq!(device.write(id, b"x"), Err(Closed));
            assert!(!device.has_packet() && !device.take_changed());
        }
        device.close(id);
        assert!(!device.has_packet() && device.connections.is_empty());
    }
}

/// gramine-tdx issue 25: one counter for all connections.
#[test]
fn each_connection_counts_for_itself() {
    let (mut device, one) = connected(1);
    let two = connect(&mut device, 2);
    device.receive(&data(1, 100), &[1; 100]);
    device.receive(&data(2, 7), &[2; 7]);
    assert_eq!(read_all(&mut device, one).0.len(), 100);
    assert_eq!(read_all(&mut device, two).0.len(), 7);
    for (guest, fwd_cnt) in [(1, 100), (2, 7)] {
        device.receive(&header(guest, op::CREDIT_REQUEST), &[]);
        let update = only(&mut device);
        assert_eq!(
            (update.op, update.dst_port, update.fwd_cnt),
            (op::CREDIT_UPDATE, guest, fwd_cnt)
        );
    }
}

// What packets do.

#[test]
fn a_request_is_answered_with_addresses_and_credit() {
    let mut device = listening();
    device.receive(&header(5, op::REQUEST), &[]);
    assert!(device.take_changed());
    let r = only(&mut device);
    assert_eq!((r.op, r.kind, r.len), (op::RESPONSE, TYPE_STREAM, 0));
    assert_eq!((r.src_cid, r.src_port, r.dst_cid, r.dst_port), (HOST_CID, PORT, GUEST_CID, 5));
    assert_eq!((r.buf_alloc as usize, r.fwd_cnt), (BUFFER, 0));
    assert!(device.accept(PORT).is_some());
    assert_eq!(device.accept(PORT), None);
}

#[test]
fn where_nobody_listens_there_is_a_reset() {
    let mut device = listening();
    device.receive(&Header { dst_port: 7, ..header(1, op::REQUEST) }, &[]);
    let r = only(&mut device);
    assert_eq!((r.op, r.src_port, r.dst_port), (op::RST, 7, 1));
    assert!(!device.take_changed());
}

#[test]
fn whoever_was_not_accepted_is_reset_when_nobody_listens_any_more() {
    let (mut device, id) = connected(1);
    device.receive(&header(2, op::REQUEST), &[]);
    device.stop_listening(PORT);
    let r = only(&mut device);
    assert_eq!((r.op, r.dst_port), (op::RST, 2));
    device.receive(&header(3, op::REQUEST), &[]);
    assert_eq!(only(&mut device).op, op::RST);
    assert_eq!(device.accept(PORT), None);
    assert_eq!(device.write(id, b"still there"), Ok(11));
}

#[test]
fn packets_without_a_connection_are_reset_and_resets_are_not() {
    for operation in
        [0, op::RESPONSE, op::SHUTDOWN, op::RW, op::CREDIT_UPDATE, op::CREDIT_REQUEST, 99]
    {
        let mut device = listening();
        device.receive(&header(1, operation), &[]);
        assert_eq!(only(&mut device).op, op::RST, "operation {operation}");
    }
    let mut device = listening();
    device.receive(&header(1, op::RST), &[]);
    assert!(!device.has_packet());
}

#[test]
fn other_types_and_other_hosts_are_reset_and_forged_senders_are_not() {
    let mut device = listening();
    device.receive(&Header { kind: 2, ..header(1, op::REQUEST) }, &[]);
    let r = only(&mut device);
    assert_eq!((r.op, r.kind), (op::RST, 2));
    device.receive(&Header { dst_cid: 9, ..header(1, op::REQUEST) }, &[]);
    let r = only(&mut device);
    assert_eq!((r.op, r.src_cid), (op::RST, 9));
    for src_cid in [0, 1, 2, 4, GUEST_CID | 1 << 32, u64::MAX] {
        device.receive(&Header { src_cid, ..header(1, op::REQUEST) }, &[]);
        assert!(!device.has_packet());
    }
    assert_eq!(device.accept(PORT), None);
}

#[test]
fn what_makes_no_sense_on_a_connection_resets_it() {
    for bad in [
        header(1, op::REQUEST),
        header(1, op::RESPONSE),
        header(1, 0),
        header(1, 8),
        header(1, u16::MAX),
        data(1, 5),
    ] {
        let (mut device, id) = connected(1);
        device.receive(&data(1, 2), b"ok");
        device.receive(&bad, &[]);
        assert_eq!(only(&mut device).op, op::RST, "{bad:?}");
        assert_eq!(read_all(&mut device, id), (b"ok".to_vec(), Read::End));
        // The ports are free again.
        device.receive(&header(1, op::REQUEST), &[]);
        assert_eq!(only(&mut device).op, op::RESPONSE);
    }
}

#[test]
fn a_reset_of_the_guest_is_not_answered() {
    let (mut device, id) = connected(1);
    device.receive(&header(1, op::RST), &[]);
    assert!(!device.has_packet());
    assert_eq!(read_all(&mut device, id).1, Read::End);
}

#[test]
fn more_than_the_credit_resets_the_connection() {
    let (mut device, id) = connected(1);
    device.receive(&data(1, BUFFER), &vec![1; BUFFER]);
    assert!(!device.has_packet());
    device.receive(&data(1, 1), &[2]);
    assert_eq!(only(&mut device).op, op::RST);
    let (bytes, end) = read_all(&mut device, id);
    assert_eq!((bytes.len(), end), (BUFFER, Read::End));
}

#[test]
fn a_half_that_is_shut_down_is_and_the_other_is_not() {
    let (mut device, id) = connected(1);
    device.receive(&data(1, 4), b"last");
    device.receive(&Header { flags: SHUTDOWN_SEND, ..header(1, op::SHUTDOWN) }, &[]);
    assert_eq!(read_all(&mut device, id), (b"last".to_vec(), Read::End));
    assert_eq!(device.write(id, b"answer"), Ok(6));
    assert_eq!(device.next_packet(99).unwrap().payload, b"answer");
    device.receive(&data(1, 1), b"!");
    assert_eq!(only(&mut device).op, op::RST, "data after the end of data");

    let (mut device, id) = connected(1);
    assert_eq!(device.write(id, b"never read"), Ok(10));
    device.receive(&Header { flags: SHUTDOWN_RECEIVE, ..header(1, op::SHUTDOWN) }, &[]);
    assert_eq!(device.write(id, b"x"), Err(Closed));
    assert!(!device.has_packet());
    device.receive(&data(1, 4), b"more");
    assert_eq!(read_all(&mut device, id), (b"more".to_vec(), Read::Empty));
    device.receive(&Header { flags: SHUTDOWN_SEND, ..header(1, op::SHUTDOWN) }, &[]);
    assert_eq!(only(&mut device).op, op::RST, "both halves are over");
}

#[test]
fn a_close_comes_after_the_data_and_ends_with_the_guests_reset() {
    let (mut device, id) = connected(1);
    device.write(id, b"goodbye").unwrap();
    device.close(id);
    assert_eq!(device.write(id, b"x"), Err(Closed));
    assert_eq!(read_all(&mut device, id).1, Read::End);
    let all = packets(&mut device);
    assert_eq!(all.iter().map(|p| p.header.op).collect::<Vec<_>>(), [op::RW, op::SHUTDOWN]);
    assert_eq!(all[1].header.flags, SHUTDOWN_BOTH);
    // Data that was under way is dropped without harm.
    device.receive(&data(1, 5), b"hello");
    assert!(!device.has_packet());
    device.receive(&header(1, op::RST), &[]);
    assert!(device.connections.is_empty() && !device.has_packet());
    device.close(id);
}

#[test]
fn a_close_reaches_a_guest_that_waits_for_credit_before_it_reads() {
    let (mut device, id, mut guest) = pair();
    device.write(id, &vec![1; BUFFER]).unwrap();
    guest.receive(&mut device, 1000, 4096);
    guest.send(&mut device, BUFFER);
    assert_eq!(guest.credit(), 0);
    device.close(id);
    guest.receive(&mut device, 1000, 4096);
    assert_eq!(guest.credit(), BUFFER);
}

#[test]
fn a_guest_without_room_is_asked_once() {
    let (mut device, id) = connected(1);
    device.write(id, &vec![1; GUEST_BUFFER as usize + 1]).unwrap();
    let all = packets(&mut device);
    let sent: usize = all.iter().map(|p| p.payload.len()).sum();
    assert_eq!(sent, GUEST_BUFFER as usize);
    assert_eq!(all.last().unwrap().header.op, op::CREDIT_REQUEST);
    assert!(!device.has_packet());
    device.receive(&Header { fwd_cnt: 1, ..header(1, op::CREDIT_UPDATE) }, &[]);
    assert_eq!(only(&mut device).len, 1);
}

#[test]
fn a_guest_that_lies_about_its_credit_gets_nothing() {
    for (buf_alloc, fwd_cnt) in [(0, 0), (10, 9_999), (u32::MAX, u32::MAX), (0, u32::MAX)] {
        let (mut device, id) = connected(1);
        device.write(id, &[7; 100]).unwrap();
        device.receive(&Header { buf_alloc, fwd_cnt, ..header(1, op::CREDIT_UPDATE) }, &[]);
        let sent: usize = packets(&mut device).iter().map(|p| p.payload.len()).sum();
        assert!(sent <= 100);
    }
}

#[test]
fn counters_wrap() {
    let (mut device, id, mut guest) = pair();
    // 4 GiB would take long: the counters of both sides are put near their ends instead.
    let near = u32::MAX - 1000;
    device.connections[0].skip_to(near);
    (guest.sent, guest.host_fwd_cnt, guest.fwd_cnt) = (near, near, near);
    guest.read(&mut device, 0);
    device.receive(&guest.header(op::CREDIT_UPDATE, 0), &[]);
    for _ in 0..100 {
        guest.send(&mut device, 10_000);
        let (bytes, _) = read_all(&mut device, id);
        assert_eq!(device.write(id, &bytes), Ok(bytes.len()));
        guest.receive(&mut device, 1000, 4096);
        guest.read(&mut device, 100_000);
    }
    assert_eq!(guest.wrote.len(), 1_000_000);
    assert_eq!(guest.read, guest.wrote);
}

#[test]
fn a_short_write_is_followed_by_news_of_room() {
    let (mut device, id, mut guest) = pair();
    device.take_changed();
    assert_eq!(device.write(id, &vec![0; BUFFER + 1]), Ok(BUFFER));
    assert_eq!(device.write(id, &[0]), Ok(0));
    assert!(!device.take_changed());
    guest.receive(&mut device, 1, 4096);
    assert!(device.take_changed());
    assert_eq!(device.write(id, &[0]), Ok(1));
}

#[test]
fn connections_take_turns() {
    let (mut device, one) = connected(1);
    let two = connect(&mut device, 2);
    for id in [one, two] {
        device.write(id, &[0; 1000]).unwrap();
    }
    let order: Vec<u32> =
        (0..4).map(|_| device.next_packet(100).unwrap().header.dst_port).collect();
    assert!(order == [1, 2, 1, 2] || order == [2, 1, 2, 1], "{order:?}");
}

#[test]
fn the_table_is_bounded_and_gives_way_where_nobody_minds() {
    let mut device = listening();
    let guests = 1..=u32::try_from(MAX_CONNECTIONS).unwrap();
    let ids: Vec<_> = guests.map(|guest| connect(&mut device, guest)).collect();
    device.receive(&header(1000, op::REQUEST), &[]);
    assert_eq!(only(&mut device).op, op::RST);

    device.close(ids[3]);
    assert_eq!(only(&mut device).op, op::SHUTDOWN);
    device.receive(&header(1001, op::REQUEST), &[]);
    let ops: Vec<_> =
        packets(&mut device).iter().map(|p| (p.header.op, p.header.dst_port)).collect();
    assert_eq!(ops, [(op::RST, 4), (op::RESPONSE, 1001)]);
    assert_eq!(device.connections.len(), MAX_CONNECTIONS);
}

#[test]
fn a_flood_is_answered_as_far_as_there_is_room() {
    let mut device = listening();
    for guest in 0..10_000 {
        device.receive(&Header { dst_port: 1, ..header(guest, op::REQUEST) }, &[]);
    }
    assert_eq!(packets(&mut device).len(), MAX_RESETS);
}

#[test]
fn the_same_ports_can_be_used_again_while_the_host_still_reads() {
    let (mut device, first) = connected(1);
    device.receive(&data(1, 5), b"first");
    device.receive(&header(1, op::RST), &[]);
    let second = connect(&mut device, 1);
    device.receive(&data(1, 6), b"second");
    assert_eq!(read_all(&mut device, first), (b"first".to_vec(), Read::End));
    assert_eq!(read_all(&mut device, second), (b"second".to_vec(), Read::Empty));
}

proptest! {
    /// Whatever the two sides do in whatever order: nothing is lost, reordered or beyond the
    /// credit, and once both read, everything arrives.
    #[test]
    fn streams_arrive_whole(
        steps in prop::collection::vec((0u8..5, 1usize..60_000), 1..60),
        size in 500usize..70_000,
    ) {
        let (mut device, id, mut guest) = pair();
        let (mut wrote, mut got) = (Vec::<u8>::new(), Vec::<u8>::new());
        for (step, len) in steps {
            match step {
                0 => guest.send(&mut device, len.min(65536)),
                1 => guest.receive(&mut device, len % 40, size),
                2 => guest.read(&mut device, len),
                3 => { read(&mut device, id, &mut got, len); }
                _ => {
                    let bytes: Vec<u8> = pattern(wrote.len(), len).collect();
                    let count = device.write(id, &bytes).unwrap();
                    wrote.extend(&bytes[..count]);
                }
            }
            prop_assert!(!guest.reset);
        }
        for _ in 0..12 {
            guest.receive(&mut device, 2000, size);
            guest.read(&mut device, usize::MAX);
            while let Read::Bytes(_) = read(&mut device, id, &mut got, 65536) {}
        }
        prop_assert_eq!(got, guest.wrote);
        prop_assert_eq!(guest.read, wrote);
    }

    /// Whatever a guest sends, memory and answers stay bounded, and the device comes to rest.
    #[test]
    fn no_guest_makes_it_grow(
        packets in prop::collection::vec(
            (0u32..80, 0u16..10, 0usize..3000, 0u32..4, any::<u32>(), any::<u32>(), 0u8..40),
            1..300,
        ),
    ) {
        let mut device = listening();
        let mut ids = Vec::new();
        for (guest, operation, len, flags, buf_alloc, fwd_cnt, odd) in packets {
            let mut header = Header { flags, buf_alloc, fwd_cnt, op: operation, ..data(guest, len) };
            match odd {
                0 => header.src_cid ^= 1,
                1 => header.dst_cid ^= 1,
                2 => header.kind = 2,
                3 => header.len ^= 1,
                4 => header.dst_port ^= 1,
                5 => ids.extend(device.accept(PORT)),
                6 => if let Some(&id) = ids.first() { let _ = device.write(id, &[0; 5000]); },
                7 => if let Some(id) = ids.pop() { device.close(id) },
                _ => {}
            }
            device.receive(&header, &vec![0; len]);
            prop_assert!(device.connections.len() <= MAX_CONNECTIONS);
            prop_assert!(device.resets.len() <= MAX_RESETS);
            prop_assert!(device.connections.iter().all(|c| c.buffered() <= 2 * BUFFER));
        }
        // At rest after every buffer is sent in pieces, each connection asks, answers and closes.
        let bound = MAX_RESETS + MAX_CONNECTIONS * 4 + ids.len() * BUFFER / 1000;
        let mut count = 0;
        while device.next_packet(1000).is_some() {
            count += 1;
            prop_assert!(count <= bound);
        }
        prop_assert!(!device.has_packet());
    }
}

#[test]
fn a_driver_that_resets_the_device_leaves_only_what_the_host_may_read() {
    let (mut device, id) = connected(1);
    device.receive(&data(1, 3), b"end");
    let closed = connect(&mut device, 2);
    device.close(closed);
    device.receive(&header(3, op::REQUEST), &[]);
    device.receive(&header(4, op::RW), &[]);
    device.write(id, b"never sent").unwrap();
    assert!(device.take_changed());

    device.reset_by_driver();
    assert!(device.take_changed());
    assert!(packets(&mut device).is_empty(), "the guest knows of nothing");
    assert_eq!(device.accept(PORT), None);
    assert_eq!(device.connections.len(), 1, "nobody asks for the others again");
    assert_eq!(read_all(&mut device, id), (b"end".to_vec(), Read::End));
    assert_eq!(device.write(id, b"x"), Err(Closed));
    device.close(id);
    assert!(device.connections.is_empty());
    connect(&mut device, 1);

    let mut device = listening();
    device.reset_by_driver();
    assert!(!device.take_changed(), "every kernel resets the device first of all");
}
