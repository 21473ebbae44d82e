// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzzes the queues: any bytes as guest memory, with queues at any addresses. Nothing may panic or hang,
//! and no step may process more chains than a queue can have.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sudbox_vmm::vsock::device::Device;
use sudbox_vmm::vsock::packet::{GUEST_CID, HOST_CID, Header, TYPE_STREAM, op};
use sudbox_vmm::vsock::queue::{receive_packets, send_packets};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const MEMORY: usize = 1 << 16;
const PORT: u32 = 1024;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    tx: GuestQueues,
    rx: GuestQueues,
    event_idx: bool,
    /// Chains made of these, so that there are often some that lead somewhere.
    descriptors: Vec<(u16, u16, u8, u8)>,
    /// Packets written to where descriptors point: operation, length, place.
    packets: Vec<(u8, u16, u16)>,
    rounds: Vec<Round>,
    memory: &'a [u8],
}

#[derive(Arbitrary, Debug)]
struct GuestQueues {
    size: u8,
    table: u16,
    available: u16,
    used: u16,
    /// One of these is far away.
    far: u8,
}

#[derive(Arbitrary, Debug)]
struct Round {
    tx_index: u16,
    rx_index: u16,
    write: u16,
}

impl GuestQueues {
    fn queue(&self, event_idx: bool) -> Queue {
        let mut queue = Queue::new(256).expect("a power of two");
        queue.set_size(1 << (self.size % 9));
        let far = |bit: u8, addr: u16, align: u64| {
            let addr = u64::from(addr) & !(align - 1);
            GuestAddress(if self.far == bit { u64::MAX - 0xffff + addr } else { addr })
        };
        let _ = queue.try_set_desc_table_address(far(1, self.table, 16));
        let _ = queue.try_set_avail_ring_address(far(2, self.available, 2));
        let _ = queue.try_set_used_ring_address(far(3, self.used, 4));
        queue.set_event_idx(event_idx);
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
    let mem = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("64 KiB");
    let _ = mem.write(input.memory, GuestAddress(0));
    for (i, (addr, len, flags, next)) in (0..).zip(&input.descriptors) {
        let mut raw = [0; 16];
        raw[..2].copy_from_slice(&addr.to_le_bytes());
        raw[8..10].copy_from_slice(&len.to_le_bytes());
        raw[12] = flags % 8;
        raw[14] = *next;
        for rings in [&input.tx, &input.rx] {
            let at = (u64::from(rings.table) & !15) + 16 * i;
            let _ = mem.write(&raw, GuestAddress(at));
        }
    }
    for &(op, len, place) in &input.packets {
        let _ = mem
            .write(&header(u16::from(op % 9), u32::from(len)).encode(), GuestAddress(place.into()));
    }

    let mut device = Device::new();
    device.listen(PORT);
    device.receive(&header(op::REQUEST, 0), &[]);
    let id = device.accept(PORT).expect("the connection just made");
    let (mut tx, mut rx) = (input.tx.queue(input.event_idx), input.rx.queue(input.event_idx));
    for round in input.rounds.iter().take(16) {
        for (queue, rings, index) in
            [(&tx, &input.tx, round.tx_index), (&rx, &input.rx, round.rx_index)]
        {
            // Mostly near what was taken, sometimes anywhere.
            let index =
                if index % 8 == 0 { index } else { queue.next_avail().wrapping_add(index % 64) };
            let at = u64::from(rings.available & !1) + 2;
            let _ = mem.write(&index.to_le_bytes(), GuestAddress(at));
        }
        let before = tx.next_avail();
        let moved = receive_packets(&mut device, &mut tx, &mem);
        assert!(tx.next_avail().wrapping_sub(before) <= tx.size());
        assert!(!moved.has_more || tx.next_avail() != before);

        let _ = device.write(id, &vec![7; usize::from(round.write)]);
        let before = rx.next_avail();
        send_packets(&mut device, &mut rx, &mem);
        assert!(rx.next_avail().wrapping_sub(before) <= rx.size());
        let _ = device.read(id, &mut [0; 4096]);
    }
});
