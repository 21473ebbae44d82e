// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzzes the queues with any bytes as guest memory, and with queues at any addresses. Nothing may
//! panic or hang, and no step may process more chains than a queue can have.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sudbox_vmm::vsock::device::Device;
use sudbox_vmm::vsock::packet::{GUEST_CID, HOST_CID, Header, TYPE_STREAM, op};
use sudbox_vmm::vsock::queue::{receive_packets, send_packets};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Size of guest memory in bytes.
const MEMORY_SIZE: usize = 1 << 16;
const PORT: u32 = 1024;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    tx: QueueLayout,
    rx: QueueLayout,
    uses_event_idx: bool,
    /// Descriptors of both queues (address, length, flags, next), so that many chains are valid.
    descriptors: Vec<(u16, u16, u8, u8)>,
    /// Headers in guest memory: operation, length, address.
    packets: Vec<(u8, u16, u16)>,
    rounds: Vec<Round>,
    memory: &'a [u8],
}

/// Size and addresses of a queue.
#[derive(Arbitrary, Debug)]
struct QueueLayout {
    /// Binary logarithm of the size, modulo 9.
    size_log2: u8,
    descriptor_table: u16,
    available_ring: u16,
    used_ring: u16,
    /// Number (1 to 3) of the address that is moved to the end of the address space; else none.
    moved_address: u8,
}

/// A step of each queue.
#[derive(Arbitrary, Debug)]
struct Round {
    /// Available index of the transmit queue.
    tx_index: u16,
    /// Available index of the receive queue.
    rx_index: u16,
    /// Number of bytes that the host writes.
    write_len: u16,
}

impl QueueLayout {
    fn create_queue(&self, uses_event_idx: bool) -> Queue {
        let mut queue = Queue::new(256).expect("a power of two");
        queue.set_size(1 << (self.size_log2 % 9));
        let address = |number: u8, addr: u16, align: u64| {
            let addr = u64::from(addr) & !(align - 1);
            let is_moved = self.moved_address == number;
            GuestAddress(if is_moved { u64::MAX - 0xffff + addr } else { addr })
        };
        let _ = queue.try_set_desc_table_address(address(1, self.descriptor_table, 16));
        let _ = queue.try_set_avail_ring_address(address(2, self.available_ring, 2));
        let _ = queue.try_set_used_ring_address(address(3, self.used_ring, 4));
        queue.set_event_idx(uses_event_idx);
        queue.set_ready(true);
        queue
    }
}

fn header(op: u16, len: u32) -> Header {
    Header {
        src_cid: GUEST_CID,
        dst_cid: HOST_CID,
        src_port: 1,
        dst_port: PORT,
        len,
        kind: TYPE_STREAM,
        op,
        buf_alloc: 1 << 16,
        ..Header::default()
    }
}

fuzz_target!(|input: Input<'_>| {
    let memory =
        GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MEMORY_SIZE)]).expect("64 KiB");
    let _ = memory.write(input.memory, GuestAddress(0));
    for (i, (addr, len, flags, next)) in (0..).zip(&input.descriptors) {
        let mut descriptor = [0; 16];
        descriptor[..2].copy_from_slice(&addr.to_le_bytes());
        descriptor[8..10].copy_from_slice(&len.to_le_bytes());
        descriptor[12] = flags % 8;
        descriptor[14] = *next;
        for layout in [&input.tx, &input.rx] {
            let at = (u64::from(layout.descriptor_table) & !15) + 16 * i;
            let _ = memory.write(&descriptor, GuestAddress(at));
        }
    }
    for &(op, len, address) in &input.packets {
        let header = header(u16::from(op % 9), u32::from(len));
        let _ = memory.write(&header.encode(), GuestAddress(address.into()));
    }

    let mut device = Device::new();
    device.listen(PORT);
    device.receive(&header(op::REQUEST, 0), &[]);
    let id = device.accept(PORT).expect("the requested connection");
    let mut tx = input.tx.create_queue(input.uses_event_idx);
    let mut rx = input.rx.create_queue(input.uses_event_idx);
    for round in input.rounds.iter().take(16) {
        for (queue, layout, index) in
            [(&tx, &input.tx, round.tx_index), (&rx, &input.rx, round.rx_index)]
        {
            // 7 of 8 times at most 63 chains ahead of the device, else any index.
            let index =
                if index % 8 == 0 { index } else { queue.next_avail().wrapping_add(index % 64) };
            let at = u64::from(layout.available_ring & !1) + 2;
            let _ = memory.write(&index.to_le_bytes(), GuestAddress(at));
        }
        let first_avail = tx.next_avail();
        let result = receive_packets(&mut device, &mut tx, &memory);
        assert!(tx.next_avail().wrapping_sub(first_avail) <= tx.size());
        assert!(!result.has_more || tx.next_avail() != first_avail);

        let _ = device.write(id, &vec![7; usize::from(round.write_len)]);
        let first_avail = rx.next_avail();
        send_packets(&mut device, &mut rx, &memory);
        assert!(rx.next_avail().wrapping_sub(first_avail) <= rx.size());
        let _ = device.read(id, &mut [0; 4096]);
    }
});
