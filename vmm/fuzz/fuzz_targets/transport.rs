// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzzes the virtio-mmio transport: the driver mostly acts like Linux, so that connections exist, and
//! also writes anything to registers, rings and packets, while the host communicates, the device is reset
//! and snapshots are taken. Nothing may panic or hang, no queue may leave guest memory, and a restored
//! device must equal the saved one.

#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sudbox_vmm::virtio::mmio::{FEATURES, QUEUE_COUNT, Transport};
use sudbox_vmm::virtio::vsock::TransportQueues;
use sudbox_vmm::vsock::BUFFER_SIZE;
use sudbox_vmm::vsock::device::{ConnectionId, Device, ReadResult};
use sudbox_vmm::vsock::packet::{GUEST_CID, HOST_CID, Header, TYPE_STREAM};
use sudbox_vmm::vsock::shared_device::SharedDevice;
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const MEMORY: usize = 1 << 16;
const SIZE: u16 = 16;
const PORT: u32 = 1024;

/// Offsets of the registers that single steps write (virtio 1.2, section 4.2.2).
const FEATURES_SELECT: u64 = 0x24;
const QUEUE_SELECT: u64 = 0x30;
const NOTIFY: u64 = 0x50;
const STATUS: u64 = 0x70;
/// Offsets of all registers that a driver may write.
const WRITABLE: [u64; 18] = [
    0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xac,
    0xc0, 0x100,
];

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// Initialises the device like a driver, with queues at valid or at any addresses.
    Start {
        features: u8,
        elsewhere: Option<[Place; QUEUE_COUNT]>,
    },
    Reset,
    Register {
        which: u8,
        value: Value,
    },
    Load {
        offset: u16,
        len: u8,
    },
    /// Any bytes anywhere.
    Memory {
        addr: u16,
        data: &'a [u8],
    },
    Descriptor {
        queue: u8,
        index: u8,
        addr: u16,
        len: u32,
        flags: u8,
        next: u8,
    },
    /// Makes a descriptor chain available; the head may be beyond the end of the queue.
    Offer {
        queue: u8,
        head: u16,
        ahead: u16,
    },
    /// A buffer that the device may fill.
    Buffer {
        len: u16,
    },
    /// A packet in a buffer of its own.
    Send {
        guest: u8,
        op: u8,
        len: u16,
        payload: u8,
        flags: u8,
        buf_alloc: u32,
        fwd_cnt: u32,
    },
    Notify {
        queue: u32,
    },
    Pump,
    Accept,
    Read {
        limit: u16,
    },
    Write {
        len: u16,
    },
    Close,
    /// Continues with a device that is restored from a snapshot.
    Restore,
}

#[derive(Arbitrary, Debug)]
struct Place {
    size: u8,
    parts: [u16; 3],
    /// One of the parts is far away.
    far: u8,
}

#[derive(Arbitrary, Debug)]
enum Value {
    Small(u8),
    Address(u16),
    Any(u32),
}

struct Vm {
    memory: GuestMemoryMmap,
    shared_device: Arc<SharedDevice>,
    transport: Arc<Transport>,
    id: Option<ConnectionId>,
    /// Addresses of the driver's queues, and the number of chains made available in each.
    parts: [[u64; 3]; QUEUE_COUNT],
    offered: [u16; QUEUE_COUNT],
}

fn event() -> EventFd {
    EventFd::new(EFD_NONBLOCK).expect("a descriptor")
}

fn shared_device() -> Arc<SharedDevice> {
    let shared_device = SharedDevice::new(Device::new()).expect("a descriptor");
    shared_device.with(|device| device.listen(PORT));
    Arc::new(shared_device)
}

/// Valid addresses of a queue's descriptor table, available ring and used ring; buffers are above.
fn home(index: usize) -> [u64; 3] {
    let base = 0x1000 * (1 + index as u64);
    [base, base + 0x400, base + 0x800]
}

fn buffer(queue: usize, slot: u16) -> u64 {
    0x8000 + 0x4000 * queue as u64 + 0x400 * u64::from(slot)
}

impl Vm {
    fn new() -> Vm {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("64 KiB");
        let (shared_device, kicks) = (shared_device(), [(); QUEUE_COUNT].map(|()| event()));
        let transport =
            Transport::new(memory.clone(), event(), kicks, Arc::downgrade(&shared_device));
        let transport = Arc::new(transport);
        TransportQueues::attach(&shared_device, transport.clone(), Arc::new(event()));
        let parts = [0, 1, 2].map(home);
        Vm { memory, shared_device, transport, id: None, parts, offered: [0; QUEUE_COUNT] }
    }

    fn restored(self) -> Vm {
        let state = self.transport.save();
        let (shared_device, kicks) = (shared_device(), [(); QUEUE_COUNT].map(|()| event()));
        let theirs = Arc::downgrade(&shared_device);
        let transport = Transport::restore(self.memory.clone(), event(), kicks, theirs, &state);
        let transport = Arc::new(transport.expect("what was saved"));
        assert_eq!(transport.save(), state);
        TransportQueues::attach(&shared_device, transport.clone(), Arc::new(event()));
        Vm { shared_device, transport, id: None, ..self }
    }

    fn write(&self, register: u64, value: u32) {
        self.transport.write(register, &value.to_le_bytes());
    }

    fn start(&mut self, features: u8, elsewhere: Option<[Place; QUEUE_COUNT]>) {
        // Bits that the device knows, and one that it does not.
        let chosen = FEATURES & !(u64::from(features & 3) << 28) | u64::from(features >> 7);
        for status in [1, 3] {
            self.write(STATUS, status);
        }
        for select in 0..2 {
            self.write(FEATURES_SELECT, select);
            self.write(0x20, (chosen >> (32 * select)) as u32);
        }
        self.write(STATUS, 11);
        for index in 0..QUEUE_COUNT {
            let place = elsewhere.as_ref().map(|places| &places[index]);
            self.parts[index] = place.map_or(home(index), |place| {
                let part = |at: u8, align: u64| {
                    let addr = u64::from(place.parts[usize::from(at)]) & !(align - 1);
                    if place.far == at + 1 { u64::MAX - 0xffff + addr } else { addr }
                };
                [part(0, 16), part(1, 2), part(2, 4)]
            });
            self.write(QUEUE_SELECT, index as u32);
            self.write(0x38, place.map_or(u32::from(SIZE), |place| 1 << (place.size % 9)));
            for (register, part) in [0x80, 0x90, 0xa0].into_iter().zip(self.parts[index]) {
                self.write(register, part as u32);
                self.write(register + 4, (part >> 32) as u32);
            }
            self.write(0x44, 1);
        }
        self.write(STATUS, 15);
        self.offered = [0; QUEUE_COUNT];
    }

    fn put(&self, bytes: &[u8], addr: u64) {
        let _ = self.memory.write(bytes, GuestAddress(addr));
    }

    fn describe(&self, queue: usize, index: u16, addr: u64, len: u32, flags: u8, next: u8) {
        let mut raw = [0; 16];
        raw[..8].copy_from_slice(&addr.to_le_bytes());
        raw[8..12].copy_from_slice(&len.to_le_bytes());
        raw[12] = flags;
        raw[14] = next;
        self.put(&raw, self.parts[queue][0].wrapping_add(16 * u64::from(index)));
    }

    fn offer(&mut self, queue: usize, head: u16, ahead: u16) {
        let available = self.parts[queue][1];
        let slot = u64::from(self.offered[queue] % SIZE);
        self.put(&head.to_le_bytes(), available.wrapping_add(4 + 2 * slot));
        self.offered[queue] = self.offered[queue].wrapping_add(ahead);
        self.put(&self.offered[queue].to_le_bytes(), available.wrapping_add(2));
    }

    /// Checks the invariants.
    fn check(&self) {
        let state = self.transport.save();
        let steps = [1, 2, 8, 4].map(|step| state.status & step != 0);
        assert!(steps.is_sorted_by(|a, b| a >= b), "{:x}", state.status);
        for (index, queue) in state.queues.iter().enumerate() {
            let valid = self.transport.with_queue(index, |queue, memory| queue.is_valid(memory));
            assert!(valid.unwrap_or(true));
            assert!(valid.is_none() || queue.indices.is_some());
        }
    }
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut vm = Vm::new();
    vm.start(0, None);
    for step in steps {
        match step {
            Step::Start { features, elsewhere } => vm.start(features, elsewhere),
            Step::Reset => {
                vm.write(STATUS, 0);
                let mut bytes = vec![0; BUFFER_SIZE];
                if let Some(id) = vm.id {
                    let read = |device: &mut Device| device.read(id, &mut bytes);
                    assert_ne!(vm.shared_device.with(read), ReadResult::Empty, "nothing more will come");
                }
            }
            Step::Register { which, value } => {
                let value = match value {
                    Value::Small(value) => value.into(),
                    Value::Address(value) => value.into(),
                    Value::Any(value) => value,
                };
                vm.write(WRITABLE[usize::from(which) % WRITABLE.len()], value);
            }
            Step::Load { offset, len } => {
                let mut data = [0xaa; 8];
                vm.transport.read(offset.into(), &mut data[..usize::from(len % 9)]);
            }
            Step::Memory { addr, data } => vm.put(data, addr.into()),
            Step::Descriptor { queue, index, addr, len, flags, next } => {
                let queue = usize::from(queue) % QUEUE_COUNT;
                vm.describe(queue, index.into(), addr.into(), len, flags % 8, next);
            }
            Step::Offer { queue, head, ahead } => {
                // Mostly one, sometimes any number.
                let ahead = if ahead % 8 == 0 { ahead } else { 1 };
                vm.offer(usize::from(queue) % QUEUE_COUNT, head, ahead);
            }
            Step::Buffer { len } => {
                let slot = vm.offered[0] % SIZE;
                vm.describe(0, slot, buffer(0, slot), u32::from(len % 0x800), 2, 0);
                vm.offer(0, slot, 1);
            }
            Step::Send { guest, op, len, payload, flags, buf_alloc, fwd_cnt } => {
                let slot = vm.offered[1] % SIZE;
                let header = Header {
                    src_cid: GUEST_CID,
                    dst_cid: HOST_CID,
                    src_port: u32::from(guest % 4),
                    dst_port: PORT,
                    // Mostly what there is, sometimes not.
                    len: if len % 8 == 0 { len.into() } else { payload.into() },
                    kind: TYPE_STREAM,
                    op: u16::from(op % 9),
                    flags: u32::from(flags % 4),
                    buf_alloc,
                    fwd_cnt,
                };
                vm.put(&header.encode(), buffer(1, slot));
                vm.describe(1, slot, buffer(1, slot), 44 + u32::from(payload), 0, 0);
                vm.offer(1, slot, 1);
            }
            Step::Notify { queue } => vm.write(NOTIFY, queue),
            Step::Pump => vm.shared_device.receive_all(),
            Step::Accept => {
                let id = vm.shared_device.with(|device| device.accept(PORT));
                vm.id = id.or(vm.id);
            }
            Step::Read { limit } => {
                if let Some(id) = vm.id {
                    let mut bytes = vec![0; limit.into()];
                    vm.shared_device.with(|device| device.read(id, &mut bytes));
                }
            }
            Step::Write { len } => {
                if let Some(id) = vm.id {
                    let _ = vm.shared_device.with(|device| device.write(id, &vec![7; len.into()]));
                }
            }
            Step::Close => {
                if let Some(id) = vm.id.take() {
                    vm.shared_device.with(|device| device.close(id));
                }
            }
            Step::Restore => vm = vm.restored(),
        }
        vm.check();
    }
    vm.shared_device.receive_all();
    vm.check();
});
