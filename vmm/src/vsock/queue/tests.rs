// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests with queues of guests that follow the specification, and of guests that violate the
//! specification.

use super::super::device::{ConnectionId, ReadResult};
use super::super::packet::{GUEST_CID, HOST_CID, TYPE_STREAM, op};
use super::*;
use proptest::prelude::*;
use virtio_bindings::bindings::virtio_ring::{
    VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE,
};
use vm_memory::{Bytes, GuestAddress};

const MEMORY_SIZE: usize = 1 << 20;
const QUEUE_SIZE: u16 = 16;
const PORT: u32 = 1024;
// Addresses of the descriptor table, the available ring, the used ring and the first buffer.
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const BUFFERS: u64 = 0x10000;
// Flags of a descriptor.
const NEXT: u32 = VRING_DESC_F_NEXT;
const WRITE: u32 = VRING_DESC_F_WRITE;
const INDIRECT: u32 = VRING_DESC_F_INDIRECT;

/// A queue in guest memory.
struct GuestQueue {
    memory: GuestMemoryMmap,
    /// The queue as the device sees it.
    device_view: Queue,
    available_index: u16,
    /// Index of the next free descriptor.
    free_descriptor: u16,
    /// Address of the next free buffer.
    free_buffer: u64,
}

impl GuestQueue {
    fn new() -> GuestQueue {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_SIZE)]).unwrap();
        let mut device_view = Queue::new(QUEUE_SIZE).unwrap();
        device_view.try_set_desc_table_address(GuestAddress(DESCRIPTORS)).unwrap();
        device_view.try_set_avail_ring_address(GuestAddress(AVAILABLE)).unwrap();
        device_view.try_set_used_ring_address(GuestAddress(USED)).unwrap();
        device_view.set_event_idx(true);
        device_view.set_ready(true);
        GuestQueue {
            memory,
            device_view,
            available_index: 0,
            free_descriptor: 0,
            free_buffer: BUFFERS,
        }
    }

    /// Writes the descriptor at address `at`.
    fn write_descriptor(&self, at: u64, addr: u64, len: usize, flags: u32, next: u16) {
        let len = u32::try_from(len).unwrap();
        let mut descriptor = [0; 16];
        descriptor[..8].copy_from_slice(&addr.to_le_bytes());
        descriptor[8..12].copy_from_slice(&len.to_le_bytes());
        descriptor[12..14].copy_from_slice(&u16::try_from(flags).unwrap().to_le_bytes());
        descriptor[14..].copy_from_slice(&next.to_le_bytes());
        self.memory.write_slice(&descriptor, GuestAddress(at)).unwrap();
    }

    /// Makes the chain that begins with descriptor `head` available.
    fn make_available(&mut self, head: u16) {
        let at = AVAILABLE + 4 + 2 * u64::from(self.available_index % QUEUE_SIZE);
        self.memory.write_obj(head.to_le(), GuestAddress(at)).unwrap();
        self.available_index = self.available_index.wrapping_add(1);
        self.memory.write_obj(self.available_index.to_le(), GuestAddress(AVAILABLE + 2)).unwrap();
    }

    /// Makes a chain of buffers with these contents available. Returns the address of the first
    /// buffer.
    fn add_chain(&mut self, buffers: &[&[u8]], flags: u32) -> u64 {
        let (head, start) = (self.free_descriptor, self.free_buffer);
        for (i, buffer) in buffers.iter().enumerate() {
            self.memory.write_slice(buffer, GuestAddress(self.free_buffer)).unwrap();
            let is_last = i + 1 == buffers.len();
            let at = DESCRIPTORS + 16 * u64::from(self.free_descriptor % QUEUE_SIZE);
            let flags = if is_last { flags } else { flags | NEXT };
            let next = (self.free_descriptor + 1) % QUEUE_SIZE;
            self.write_descriptor(at, self.free_buffer, buffer.len(), flags, next);
            self.free_buffer += buffer.len() as u64;
            self.free_descriptor += 1;
        }
        self.make_available(head % QUEUE_SIZE);
        start
    }

    /// Returns the head and the number of written bytes of each entry of the used ring.
    fn used_entries(&self) -> Vec<(u32, u32)> {
        let used_index: u16 = self.memory.read_obj(GuestAddress(USED + 2)).unwrap();
        (0..used_index)
            .map(|i| {
                let at = USED + 4 + 8 * u64::from(i % QUEUE_SIZE);
                let read = |at| self.memory.read_obj::<u32>(GuestAddress(at)).unwrap();
                (read(at), read(at + 4))
            })
            .collect()
    }

    /// Processes the queue as the transmit queue.
    fn transmit(&mut self, device: &mut Device) -> StepResult {
        receive_packets(device, &mut self.device_view, &self.memory)
    }

    /// Processes the queue as the receive queue.
    fn receive(&mut self, device: &mut Device) -> StepResult {
        send_packets(device, &mut self.device_view, &self.memory)
    }

    /// Reads the packet at an address, with `payload_len` bytes of payload.
    fn read_packet(&self, at: u64, payload_len: usize) -> (Header, Vec<u8>) {
        let mut header_bytes = [0; HEADER_LEN];
        self.memory.read_slice(&mut header_bytes, GuestAddress(at)).unwrap();
        let mut payload = vec![0; payload_len];
        self.memory.read_slice(&mut payload, GuestAddress(at + HEADER_LEN as u64)).unwrap();
        (Header::decode(&header_bytes), payload)
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

/// Creates a device with one accepted connection, whose response was sent.
fn connected_device() -> (Device, ConnectionId) {
    let mut device = Device::new();
    device.listen(PORT);
    device.receive(&header(op::REQUEST, 0), &[]);
    assert!(device.next_packet(0).is_some());
    let id = device.accept(PORT).unwrap();
    (device, id)
}

/// Reads all bytes that the host has received.
fn read_all(device: &mut Device, id: ConnectionId) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; BUFFER_SIZE]);
    while let ReadResult::Bytes(count) = device.read(id, &mut buffer) {
        bytes.extend(&buffer[..count]);
    }
    bytes
}

#[test]
fn a_packet_may_be_split_over_descriptors_in_any_way() {
    let wire = header(op::RW, 6).encode();
    let chains: [&[&[u8]]; 4] = [
        &[&[&wire[..], b"abcdef"].concat()],
        &[&wire, b"abcdef"],
        &[&wire[..1], &wire[1..40], &wire[40..], b"abc", b"", b"def"],
        &[&wire, b"abcdef and bytes beyond the header's len"],
    ];
    for buffers in chains {
        let (mut device, id) = connected_device();
        let mut queue = GuestQueue::new();
        queue.add_chain(buffers, 0);
        assert!(!queue.transmit(&mut device).has_more);
        assert_eq!(read_all(&mut device, id), b"abcdef", "{} buffers", buffers.len());
        assert_eq!(queue.used_entries(), [(0, 0)]);
    }
}

#[test]
fn an_indirect_table_is_followed_unless_nested() {
    for is_nested in [false, true] {
        let (mut device, id) = connected_device();
        let mut queue = GuestQueue::new();
        let wire = header(op::RW, 2).encode();
        queue.memory.write_slice(&wire, GuestAddress(BUFFERS)).unwrap();
        queue.memory.write_slice(b"hi", GuestAddress(BUFFERS + 100)).unwrap();
        let table = BUFFERS + 0x1000;
        queue.write_descriptor(DESCRIPTORS, table, 32, INDIRECT, 0);
        queue.write_descriptor(table, BUFFERS, HEADER_LEN, NEXT, 1);
        let (addr, len, flags) =
            if is_nested { (table, 32, INDIRECT) } else { (BUFFERS + 100, 2, 0) };
        queue.write_descriptor(table + 16, addr, len, flags, 0);
        queue.make_available(0);
        queue.transmit(&mut device);
        assert_eq!(read_all(&mut device, id), if is_nested { &b""[..] } else { b"hi" });
        assert_eq!(queue.used_entries(), [(0, 0)]);
    }
}

#[test]
fn a_length_beyond_the_buffer_resets_the_connection() {
    for len in [7, 1000, u32::MAX as usize] {
        let (mut device, id) = connected_device();
        let mut queue = GuestQueue::new();
        queue.add_chain(&[&header(op::RW, len).encode(), b"abcdef"], 0);
        queue.transmit(&mut device);
        assert_eq!(read_all(&mut device, id), b"");
        assert_eq!(device.next_packet(0).unwrap().header.op, op::RST);
    }
}

#[test]
fn invalid_chains_are_put_on_the_used_ring_and_have_no_other_effect() {
    let (mut device, id) = connected_device();
    let mut queue = GuestQueue::new();
    let wire = header(op::RW, 1).encode();
    // Too short for a header; device-writable; outside memory, or across its end.
    queue.add_chain(&[&wire[..43]], 0);
    queue.add_chain(&[&wire, b"x"], WRITE);
    for (addr, len) in [(1 << 40, 45), (MEMORY_SIZE as u64 - 10, 45), (u64::MAX - 3, 45)] {
        let head = queue.free_descriptor;
        queue.write_descriptor(DESCRIPTORS + 16 * u64::from(head), addr, len, 0, 0);
        queue.free_descriptor += 1;
        queue.make_available(head);
    }
    // A circular chain.
    let head = queue.free_descriptor;
    queue.write_descriptor(DESCRIPTORS + 16 * u64::from(head), BUFFERS, 1, NEXT, head);
    queue.free_descriptor += 1;
    queue.make_available(head);
    // An invalid descriptor index.
    queue.make_available(QUEUE_SIZE);
    queue.make_available(u16::MAX);
    // A valid chain.
    queue.add_chain(&[&wire, b"!"], 0);
    assert!(!queue.transmit(&mut device).has_more);
    assert_eq!(read_all(&mut device, id), b"!");
    assert!(!device.has_packet());
    let heads: Vec<u32> = queue.used_entries().iter().map(|u| u.0).collect();
    assert_eq!(heads, [0, 1, 3, 4, 5, 6, 7]);
}

#[test]
fn an_available_index_out_of_range_is_ignored() {
    for invalid_index in [QUEUE_SIZE + 1, 0x8000, u16::MAX] {
        let (mut device, id) = connected_device();
        device.write(id, b"x").unwrap();
        let mut queue = GuestQueue::new();
        queue.memory.write_obj(invalid_index.to_le(), GuestAddress(AVAILABLE + 2)).unwrap();
        assert_eq!(queue.transmit(&mut device), StepResult::default());
        assert_eq!(queue.receive(&mut device), StepResult::default());
        assert!(device.has_packet());
    }
}

#[test]
fn a_queue_that_is_not_ready_or_not_in_memory_is_ignored() {
    let (mut device, _) = connected_device();
    let mut queue = GuestQueue::new();
    queue.add_chain(&[&header(op::RST, 0).encode()], 0);
    queue.device_view.set_ready(false);
    assert_eq!(queue.transmit(&mut device), StepResult::default());
    queue.device_view.set_ready(true);
    queue.device_view.try_set_avail_ring_address(GuestAddress(MEMORY_SIZE as u64 * 2)).unwrap();
    assert_eq!(queue.transmit(&mut device), StepResult::default());
    queue.device_view.try_set_avail_ring_address(GuestAddress(u64::MAX - 1)).unwrap();
    assert_eq!(queue.transmit(&mut device), StepResult::default());
}

#[test]
fn a_step_processes_no_more_chains_than_the_queue_has() {
    let (mut device, id) = connected_device();
    let mut queue = GuestQueue::new();
    for _ in 0..QUEUE_SIZE {
        queue.add_chain(&[&[&header(op::RW, 1).encode()[..], b"x"].concat()], 0);
    }
    assert!(queue.transmit(&mut device).has_more);
    assert!(!queue.transmit(&mut device).has_more);
    assert_eq!(read_all(&mut device, id).len(), usize::from(QUEUE_SIZE));
}

#[test]
fn packets_fill_the_available_buffers() {
    let (mut device, id) = connected_device();
    let mut queue = GuestQueue::new();
    device.write(id, b"0123456789").unwrap();
    let first = queue.add_chain(&[&[0; 20], &[0; 28]], WRITE);
    let second = queue.add_chain(&[&[0; 46]], WRITE);
    queue.receive(&mut device);
    assert_eq!(queue.used_entries(), [(0, 48), (2, 46)]);
    assert_eq!(queue.read_packet(first, 4).1, b"0123");
    let (header, payload) = queue.read_packet(second, 2);
    assert_eq!((header.op, header.len, &payload[..]), (op::RW, 2, &b"45"[..]));
    assert!(device.has_packet(), "four bytes remain");
    let third = queue.add_chain(&[&[0; 4096]], WRITE);
    queue.receive(&mut device);
    assert_eq!(queue.read_packet(third, 4).1, b"6789");
    assert_eq!(queue.used_entries()[2], (3, 48));
}

#[test]
fn a_packet_waits_for_a_buffer_that_is_large_enough() {
    let (mut device, id) = connected_device();
    let mut queue = GuestQueue::new();
    device.write(id, b"x").unwrap();
    queue.add_chain(&[&[0; 43]], WRITE);
    queue.add_chain(&[&[0; 44]], WRITE);
    queue.add_chain(&[&[0; 45]], 0);
    assert!(!queue.receive(&mut device).has_more);
    assert_eq!(queue.used_entries(), [(0, 0), (1, 0), (2, 0)]);
    let at = queue.add_chain(&[&[0; 45]], WRITE);
    queue.receive(&mut device);
    assert_eq!((queue.used_entries()[3], queue.read_packet(at, 1).1), ((3, 45), b"x".to_vec()));
}

#[test]
fn interrupts_and_notifications_follow_the_event_index() {
    let (mut device, _) = connected_device();
    let mut queue = GuestQueue::new();
    let used_event = GuestAddress(AVAILABLE + 4 + 2 * u64::from(QUEUE_SIZE));
    let available_event = GuestAddress(USED + 4 + 8 * u64::from(QUEUE_SIZE));
    // used_event: the guest wants an interrupt when entry 1 is used.
    queue.memory.write_obj(1u16.to_le(), used_event).unwrap();
    assert!(!queue.transmit(&mut device).wants_interrupt, "no buffer was used");
    queue.add_chain(&[&header(op::CREDIT_UPDATE, 0).encode()], 0);
    assert!(!queue.transmit(&mut device).wants_interrupt);
    queue.add_chain(&[&header(op::CREDIT_UPDATE, 0).encode()], 0);
    assert!(queue.transmit(&mut device).wants_interrupt);
    // avail_event: the device wants a notification for entry 2.
    assert_eq!(queue.memory.read_obj::<u16>(available_event).unwrap(), 2);
}

proptest! {
    /// With any rings and descriptors, a step neither panics nor hangs, and takes at most as many
    /// chains as the queue has descriptors.
    #[test]
    fn steps_are_bounded_for_any_memory_contents(
        descriptors in prop::collection::vec(
            (0u64..0x11000, 0usize..0x3000, 0u32..8, 0u16..20), usize::from(QUEUE_SIZE),
        ),
        heads in prop::collection::vec(0u16..20, usize::from(QUEUE_SIZE)),
        random_bytes in prop::collection::vec(any::<u8>(), 0x800),
        any_index in any::<u16>(),
        small_index in 0u16..20,
    ) {
        let (mut device, id) = connected_device();
        device.write(id, &[1; 20_000]).unwrap();
        let mut queue = GuestQueue::new();
        for (i, chunk) in random_bytes.chunks(64).enumerate() {
            let at = BUFFERS + 512 * i as u64;
            queue.memory.write_slice(chunk, GuestAddress(at)).unwrap();
            // Every other buffer begins with a plausible header.
            if i % 2 == 0 {
                let wire = header(u16::from(chunk[0] % 9), usize::from(chunk[1])).encode();
                queue.memory.write_slice(&wire, GuestAddress(at)).unwrap();
            }
        }
        for (at, (addr, len, flags, next)) in (0..).map(|i| DESCRIPTORS + 16 * i).zip(descriptors) {
            queue.write_descriptor(at, if addr % 7 == 0 { u64::MAX - addr } else { addr }, len, flags, next);
        }
        for head in heads {
            queue.make_available(head);
        }
        for index in [small_index, any_index] {
            queue.memory.write_obj(index.to_le(), GuestAddress(AVAILABLE + 2)).unwrap();
            let before = queue.device_view.next_avail();
            queue.transmit(&mut device);
            prop_assert!(queue.device_view.next_avail().wrapping_sub(before) <= QUEUE_SIZE);
            let before = queue.device_view.next_avail();
            queue.receive(&mut device);
            prop_assert!(queue.device_view.next_avail().wrapping_sub(before) <= QUEUE_SIZE);
        }
    }
}
