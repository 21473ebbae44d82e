// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests with queues of guests that follow the specification, and of guests that violate it.

use super::super::device::{ConnectionId, ReadResult as Found};
use super::super::packet::{GUEST_CID, HOST_CID, TYPE_STREAM, op};
use super::*;
use proptest::prelude::*;
use virtio_bindings::bindings::virtio_ring::{
    VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
};
use vm_memory::{Bytes, GuestAddress};

const MEMORY: usize = 1 << 20;
const SIZE: u16 = 16;
const PORT: u32 = 1024;
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const BUFFERS: u64 = 0x10000;
const NEXT: u32 = VRING_DESC_F_NEXT;
const WRITE: u32 = VRING_DESC_F_WRITE;
const INDIRECT: u32 = VRING_DESC_F_INDIRECT;

/// Guest memory with one queue.
struct Ring {
    mem: GuestMemoryMmap,
    queue: Queue,
    available: u16,
    free: u16,
    buffer: u64,
}

impl Ring {
    fn new() -> Ring {
        let mem = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        let mut queue = Queue::new(SIZE).unwrap();
        queue.try_set_desc_table_address(GuestAddress(DESCRIPTORS)).unwrap();
        queue.try_set_avail_ring_address(GuestAddress(AVAILABLE)).unwrap();
        queue.try_set_used_ring_address(GuestAddress(USED)).unwrap();
        queue.set_event_idx(true);
        queue.set_ready(true);
        Ring { mem, queue, available: 0, free: 0, buffer: BUFFERS }
    }

    fn descriptor(&self, at: u64, addr: u64, len: usize, flags: u32, next: u16) {
        let len = u32::try_from(len).unwrap();
        let mut raw = [0; 16];
        raw[..8].copy_from_slice(&addr.to_le_bytes());
        raw[8..12].copy_from_slice(&len.to_le_bytes());
        raw[12..14].copy_from_slice(&u16::try_from(flags).unwrap().to_le_bytes());
        raw[14..].copy_from_slice(&next.to_le_bytes());
        self.mem.write_slice(&raw, GuestAddress(at)).unwrap();
    }

    fn offer(&mut self, head: u16) {
        let at = AVAILABLE + 4 + 2 * u64::from(self.available % SIZE);
        self.mem.write_obj(head.to_le(), GuestAddress(at)).unwrap();
        self.available = self.available.wrapping_add(1);
        self.mem.write_obj(self.available.to_le(), GuestAddress(AVAILABLE + 2)).unwrap();
    }

    /// Makes a chain of buffers with these contents available. Returns the address of the first buffer.
    fn chain(&mut self, pieces: &[&[u8]], flags: u32) -> u64 {
        let (head, start) = (self.free, self.buffer);
        for (i, piece) in pieces.iter().enumerate() {
            self.mem.write_slice(piece, GuestAddress(self.buffer)).unwrap();
            let last = i + 1 == pieces.len();
            let at = DESCRIPTORS + 16 * u64::from(self.free % SIZE);
            let flags = if last { flags } else { flags | NEXT };
            self.descriptor(at, self.buffer, piece.len(), flags, (self.free + 1) % SIZE);
            self.buffer += piece.len() as u64;
            self.free += 1;
        }
        self.offer(head % SIZE);
        start
    }

    /// Head and length of each entry of the used ring.
    fn used(&self) -> Vec<(u32, u32)> {
        let idx: u16 = self.mem.read_obj(GuestAddress(USED + 2)).unwrap();
        (0..idx)
            .map(|i| {
                let at = USED + 4 + 8 * u64::from(i % SIZE);
                let read = |at| self.mem.read_obj::<u32>(GuestAddress(at)).unwrap();
                (read(at), read(at + 4))
            })
            .collect()
    }

    fn send(&mut self, device: &mut Device) -> StepResult {
        receive_packets(device, &mut self.queue, &self.mem)
    }

    fn receive(&mut self, device: &mut Device) -> StepResult {
        send_packets(device, &mut self.queue, &self.mem)
    }

    fn packet(&self, at: u64, payload: usize) -> (Header, Vec<u8>) {
        let mut wire = [0; HEADER_LEN];
        self.mem.read_slice(&mut wire, GuestAddress(at)).unwrap();
        let mut bytes = vec![0; payload];
        self.mem.read_slice(&mut bytes, GuestAddress(at + HEADER_LEN as u64)).unwrap();
        (Header::decode(&wire), bytes)
    }
}

fn header(op: u16, len: usize) -> Header {
    Header {
        src_cid: GUEST_CID,
        dst_cid: HOST_CID,
        src_port: 5,
        dst_port: PORT,
        len: u32::try_from(len).unwrap(),
        kind: TYPE_STREAM,
        op,
        buf_alloc: 1 << 20,
        ..Header::default()
    }
}

fn connected() -> (Device, ConnectionId) {
    let mut device = Device::new();
    device.listen(PORT);
    device.receive(&header(op::REQUEST, 0), &[]);
    assert!(device.next_packet(0).is_some());
    let id = device.accept(PORT).unwrap();
    (device, id)
}

fn received(device: &mut Device, id: ConnectionId) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; BUFFER_SIZE]);
    while let Found::Bytes(count) = device.read(id, &mut buffer) {
        bytes.extend(&buffer[..count]);
    }
    bytes
}

#[test]
fn a_packet_may_be_split_into_any_descriptors() {
    let wire = header(op::RW, 6).encode();
    let cuts: [&[&[u8]]; 4] = [
        &[&[&wire[..], b"abcdef"].concat()],
        &[&wire, b"abcdef"],
        &[&wire[..1], &wire[1..40], &wire[40..], b"abc", b"", b"def"],
        &[&wire, b"abcdef and what no header counts"],
    ];
    for pieces in cuts {
        let (mut device, id) = connected();
        let mut ring = Ring::new();
        ring.chain(pieces, 0);
        assert!(!ring.send(&mut device).has_more);
        assert_eq!(received(&mut device, id), b"abcdef", "{} pieces", pieces.len());
        assert_eq!(ring.used(), [(0, 0)]);
    }
}

#[test]
fn an_indirect_table_is_followed_but_not_a_nested_one() {
    for nested in [false, true] {
        let (mut device, id) = connected();
        let mut ring = Ring::new();
        let wire = header(op::RW, 2).encode();
        ring.mem.write_slice(&wire, GuestAddress(BUFFERS)).unwrap();
        ring.mem.write_slice(b"hi", GuestAddress(BUFFERS + 100)).unwrap();
        let table = BUFFERS + 0x1000;
        ring.descriptor(DESCRIPTORS, table, 32, INDIRECT, 0);
        ring.descriptor(table, BUFFERS, HEADER_LEN, NEXT, 1);
        let flags = if nested { INDIRECT } else { 0 };
        ring.descriptor(
            table + 16,
            if nested { table } else { BUFFERS + 100 },
            if nested { 32 } else { 2 },
            flags,
            0,
        );
        ring.offer(0);
        ring.send(&mut device);
        assert_eq!(received(&mut device, id), if nested { &b""[..] } else { b"hi" });
        assert_eq!(ring.used(), [(0, 0)]);
    }
}

#[test]
fn a_length_beyond_the_buffer_resets_the_connection() {
    for len in [7, 1000, u32::MAX as usize] {
        let (mut device, id) = connected();
        let mut ring = Ring::new();
        ring.chain(&[&header(op::RW, len).encode(), b"abcdef"], 0);
        ring.send(&mut device);
        assert_eq!(received(&mut device, id), b"");
        assert_eq!(device.next_packet(0).unwrap().header.op, op::RST);
    }
}

#[test]
fn invalid_chains_are_returned_unused() {
    let (mut device, id) = connected();
    let mut ring = Ring::new();
    let wire = header(op::RW, 1).encode();
    // Too short; device-writable; outside memory; across the end of memory.
    ring.chain(&[&wire[..43]], 0);
    ring.chain(&[&wire, b"x"], WRITE);
    for (addr, len) in [(1 << 40, 45), (MEMORY as u64 - 10, 45), (u64::MAX - 3, 45)] {
        let head = ring.free;
        ring.descriptor(DESCRIPTORS + 16 * u64::from(head), addr, len, 0, 0);
        ring.free += 1;
        ring.offer(head);
    }
    // A circular chain.
    let head = ring.free;
    ring.descriptor(DESCRIPTORS + 16 * u64::from(head), BUFFERS, 1, NEXT, head);
    ring.free += 1;
    ring.offer(head);
    // An invalid descriptor index.
    ring.offer(SIZE);
    ring.offer(u16::MAX);
    // A valid chain.
    ring.chain(&[&wire, b"!"], 0);
    assert!(!ring.send(&mut device).has_more);
    assert_eq!(received(&mut device, id), b"!");
    assert!(!device.has_packet());
    let heads: Vec<u32> = ring.used().iter().map(|u| u.0).collect();
    assert_eq!(heads, [0, 1, 3, 4, 5, 6, 7]);
}

#[test]
fn an_available_index_out_of_range_is_ignored() {
    for runaway in [SIZE + 1, 0x8000, u16::MAX] {
        let (mut device, id) = connected();
        device.write(id, b"x").unwrap();
        let mut ring = Ring::new();
        ring.mem.write_obj(runaway.to_le(), GuestAddress(AVAILABLE + 2)).unwrap();
        assert_eq!(ring.send(&mut device), StepResult::default());
        assert_eq!(ring.receive(&mut device), StepResult::default());
        assert!(device.has_packet());
    }
}

#[test]
fn a_queue_that_is_not_ready_or_not_in_memory_is_ignored() {
    let (mut device, _) = connected();
    let mut ring = Ring::new();
    ring.chain(&[&header(op::RST, 0).encode()], 0);
    ring.queue.set_ready(false);
    assert_eq!(ring.send(&mut device), StepResult::default());
    ring.queue.set_ready(true);
    ring.queue.try_set_avail_ring_address(GuestAddress(MEMORY as u64 * 2)).unwrap();
    assert_eq!(ring.send(&mut device), StepResult::default());
    ring.queue.try_set_avail_ring_address(GuestAddress(u64::MAX - 1)).unwrap();
    assert_eq!(ring.send(&mut device), StepResult::default());
}

#[test]
fn a_step_processes_no_more_chains_than_the_queue_has() {
    let (mut device, id) = connected();
    let mut ring = Ring::new();
    for _ in 0..SIZE {
        ring.chain(&[&[&header(op::RW, 1).encode()[..], b"x"].concat()], 0);
    }
    assert!(ring.send(&mut device).has_more);
    assert!(!ring.send(&mut device).has_more);
    assert_eq!(received(&mut device, id).len(), usize::from(SIZE));
}

#[test]
fn packets_fill_the_available_buffers() {
    let (mut device, id) = connected();
    let mut ring = Ring::new();
    device.write(id, b"0123456789").unwrap();
    let first = ring.chain(&[&[0; 20], &[0; 28]], WRITE);
    let second = ring.chain(&[&[0; 46]], WRITE);
    ring.receive(&mut device);
    assert_eq!(ring.used(), [(0, 48), (2, 46)]);
    assert_eq!(ring.packet(first, 4).1, b"0123");
    let (header, payload) = ring.packet(second, 2);
    assert_eq!((header.op, header.len, &payload[..]), (op::RW, 2, &b"45"[..]));
    assert!(device.has_packet(), "the rest waits");
    let third = ring.chain(&[&[0; 4096]], WRITE);
    ring.receive(&mut device);
    assert_eq!(ring.packet(third, 4).1, b"6789");
    assert_eq!(ring.used()[2], (3, 48));
}

#[test]
fn too_small_buffers_are_returned_empty_and_the_packet_waits() {
    let (mut device, id) = connected();
    let mut ring = Ring::new();
    device.write(id, b"x").unwrap();
    ring.chain(&[&[0; 43]], WRITE);
    ring.chain(&[&[0; 44]], WRITE);
    ring.chain(&[&[0; 45]], 0);
    assert!(!ring.receive(&mut device).has_more);
    assert_eq!(ring.used(), [(0, 0), (1, 0), (2, 0)]);
    let at = ring.chain(&[&[0; 45]], WRITE);
    ring.receive(&mut device);
    assert_eq!((ring.used()[3], ring.packet(at, 1).1), ((3, 45), b"x".to_vec()));
}

#[test]
fn interrupts_and_notifications_follow_the_event_index() {
    let (mut device, _) = connected();
    let mut ring = Ring::new();
    let used_event = GuestAddress(AVAILABLE + 4 + 2 * u64::from(SIZE));
    let available_event = GuestAddress(USED + 4 + 8 * u64::from(SIZE));
    // used_event: the guest wants an interrupt when entry 1 is used.
    ring.mem.write_obj(1u16.to_le(), used_event).unwrap();
    assert!(!ring.send(&mut device).wants_interrupt, "nothing was used");
    ring.chain(&[&header(op::CREDIT_UPDATE, 0).encode()], 0);
    assert!(!ring.send(&mut device).wants_interrupt);
    ring.chain(&[&header(op::CREDIT_UPDATE, 0).encode()], 0);
    assert!(ring.send(&mut device).wants_interrupt);
    // avail_event: the device wants a notification for entry 2.
    assert_eq!(ring.mem.read_obj::<u16>(available_event).unwrap(), 2);
}

proptest! {
    /// GuestQueues and descriptors of any content: nothing panics, nothing hangs, no round takes more
    /// than a queue's worth.
    #[test]
    fn any_memory_contents_are_handled(
        descriptors in prop::collection::vec(
            (0u64..0x11000, 0usize..0x3000, 0u32..8, 0u16..20), usize::from(SIZE),
        ),
        heads in prop::collection::vec(0u16..20, usize::from(SIZE)),
        noise in prop::collection::vec(any::<u8>(), 0x800),
        wild in any::<u16>(),
        available in 0u16..20,
    ) {
        let (mut device, id) = connected();
        device.write(id, &[1; 20_000]).unwrap();
        let mut ring = Ring::new();
        for (i, byte) in noise.chunks(64).enumerate() {
            let at = BUFFERS + 512 * i as u64;
            ring.mem.write_slice(byte, GuestAddress(at)).unwrap();
            // Some contents are valid packets.
            if i % 2 == 0 {
                let wire = header(u16::from(byte[0] % 9), usize::from(byte[1])).encode();
                ring.mem.write_slice(&wire, GuestAddress(at)).unwrap();
            }
        }
        for (at, (addr, len, flags, next)) in (0..).map(|i| DESCRIPTORS + 16 * i).zip(descriptors) {
            ring.descriptor(at, if addr % 7 == 0 { u64::MAX - addr } else { addr }, len, flags, next);
        }
        for head in heads {
            ring.offer(head);
        }
        for index in [available, wild] {
            ring.mem.write_obj(index.to_le(), GuestAddress(AVAILABLE + 2)).unwrap();
            let before = ring.queue.next_avail();
            ring.send(&mut device);
            prop_assert!(ring.queue.next_avail().wrapping_sub(before) <= SIZE);
            let before = ring.queue.next_avail();
            ring.receive(&mut device);
            prop_assert!(ring.queue.next_avail().wrapping_sub(before) <= SIZE);
        }
    }
}
