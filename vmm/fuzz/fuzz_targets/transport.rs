// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzzes the virtio-mmio transport. The driver mostly acts like Linux, so that connections exist,
//! and also writes any values to registers, rings and packets, mixed with reads and writes of the
//! host, resets and snapshots. Nothing may panic or hang, a queue that runs must be in guest memory,
//! and a restored transport must equal the saved one.

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

/// Size of guest memory in bytes.
const MEMORY_SIZE: usize = 1 << 16;
/// Size of each queue in descriptors, unless a step chooses another size.
const QUEUE_SIZE: u16 = 16;
/// Port on which the host listens.
const PORT: u32 = 1024;

// Offsets of registers (virtio 1.2, section 4.2.2).
const DRIVER_FEATURES: u64 = 0x20;
const DRIVER_FEATURES_SELECT: u64 = 0x24;
const QUEUE_SELECT: u64 = 0x30;
const QUEUE_NUM: u64 = 0x38;
const QUEUE_READY: u64 = 0x44;
const QUEUE_NOTIFY: u64 = 0x50;
const STATUS: u64 = 0x70;
const QUEUE_DESC: u64 = 0x80;
const QUEUE_DRIVER: u64 = 0x90;
const QUEUE_DEVICE: u64 = 0xa0;
/// Offsets of all registers that a driver may write.
const WRITABLE_REGISTERS: [u64; 18] = [
    0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xac,
    0xc0, 0x100,
];

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// Initialises the device like a driver, with valid queues or with these queues.
    Start { features: u8, queues: Option<[QueueLayout; QUEUE_COUNT]> },
    /// Resets the device by its status.
    Reset,
    /// Writes a register of [`WRITABLE_REGISTERS`].
    WriteRegister { index: u8, value: Value },
    /// Reads a register.
    ReadRegister { offset: u16, len: u8 },
    /// Writes any bytes to guest memory.
    WriteMemory { addr: u16, data: &'a [u8] },
    /// Writes a descriptor.
    WriteDescriptor { queue: u8, index: u8, addr: u16, len: u32, flags: u8, next: u8 },
    /// Makes a descriptor chain available; the head may be beyond the end of the queue. Adds
    /// `increment` to the available index.
    MakeAvailable { queue: u8, head: u16, increment: u16 },
    /// Makes a buffer available for a packet to the guest.
    AddReceiveBuffer { len: u16 },
    /// Makes a packet available.
    Send { guest_port: u8, op: u8, len: u16, payload: u8, flags: u8, buf_alloc: u32, fwd_cnt: u32 },
    /// Notifies the device of a queue.
    Notify { queue: u32 },
    /// Does the work of the device thread.
    ReceiveAll,
    /// The host accepts a connection.
    Accept,
    /// The host reads from the connection.
    Read { limit: u16 },
    /// The host writes to the connection.
    Write { len: u16 },
    /// The host closes the connection.
    Close,
    /// Continues with a transport that is restored from a snapshot.
    Restore,
}

/// Size and addresses of a queue.
#[derive(Arbitrary, Debug)]
struct QueueLayout {
    /// Binary logarithm of the size, modulo 9.
    size_log2: u8,
    /// Addresses of descriptor table, available ring and used ring.
    addresses: [u16; 3],
    /// Number (1 to 3) of the address that is moved to the end of the address space; else none.
    moved_address: u8,
}

/// Value of a register.
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
    /// The last accepted connection.
    id: Option<ConnectionId>,
    /// Addresses of descriptor table, available ring and used ring of each queue.
    queue_addresses: [[u64; 3]; QUEUE_COUNT],
    /// The available index of each queue.
    available_index: [u16; QUEUE_COUNT],
}

fn event() -> EventFd {
    EventFd::new(EFD_NONBLOCK).expect("a descriptor")
}

fn shared_device() -> Arc<SharedDevice> {
    let shared_device = SharedDevice::new(Device::new()).expect("a descriptor");
    shared_device.with(|device| device.listen(PORT));
    Arc::new(shared_device)
}

/// Returns valid addresses of a queue's descriptor table, available ring and used ring.
fn valid_addresses(index: usize) -> [u64; 3] {
    let base = 0x1000 * (1 + index as u64);
    [base, base + 0x400, base + 0x800]
}

/// Returns the address of the buffer of descriptor `slot`, above all valid queues.
fn buffer_address(queue: usize, slot: u16) -> u64 {
    0x8000 + 0x4000 * queue as u64 + 0x400 * u64::from(slot)
}

impl Vm {
    fn new() -> Vm {
        let memory =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_SIZE)]).expect("64 KiB");
        let (shared_device, queue_evts) = (shared_device(), [(); QUEUE_COUNT].map(|()| event()));
        let weak_device = Arc::downgrade(&shared_device);
        let transport = Arc::new(Transport::new(memory.clone(), event(), queue_evts, weak_device));
        TransportQueues::attach(&shared_device, transport.clone(), Arc::new(event()));
        let queue_addresses = [0, 1, 2].map(valid_addresses);
        let available_index = [0; QUEUE_COUNT];
        Vm { memory, shared_device, transport, id: None, queue_addresses, available_index }
    }

    /// Replaces the transport by a transport restored from its state, with a new device.
    fn restore(self) -> Vm {
        let state = self.transport.save();
        let (shared_device, queue_evts) = (shared_device(), [(); QUEUE_COUNT].map(|()| event()));
        let weak_device = Arc::downgrade(&shared_device);
        let transport =
            Transport::restore(self.memory.clone(), event(), queue_evts, weak_device, &state);
        let transport = Arc::new(transport.expect("a saved state"));
        assert_eq!(transport.save(), state);
        TransportQueues::attach(&shared_device, transport.clone(), Arc::new(event()));
        Vm { shared_device, transport, id: None, ..self }
    }

    fn write_register(&self, register: u64, value: u32) {
        self.transport.write(register, &value.to_le_bytes());
    }

    /// Initialises the device like a driver.
    fn start(&mut self, features: u8, queues: Option<[QueueLayout; QUEUE_COUNT]>) {
        // Clear up to two of the device's features, and perhaps set an unknown feature, bit 0.
        let accepted = FEATURES & !(u64::from(features & 3) << 28) | u64::from(features >> 7);
        for status in [1, 3] {
            self.write_register(STATUS, status);
        }
        for select in 0..2 {
            self.write_register(DRIVER_FEATURES_SELECT, select);
            self.write_register(DRIVER_FEATURES, (accepted >> (32 * select)) as u32);
        }
        self.write_register(STATUS, 11);
        for index in 0..QUEUE_COUNT {
            let layout = queues.as_ref().map(|layouts| &layouts[index]);
            self.queue_addresses[index] = layout.map_or(valid_addresses(index), |layout| {
                let address = |part: u8, align: u64| {
                    let addr = u64::from(layout.addresses[usize::from(part)]) & !(align - 1);
                    if layout.moved_address == part + 1 { u64::MAX - 0xffff + addr } else { addr }
                };
                [address(0, 16), address(1, 2), address(2, 4)]
            });
            self.write_register(QUEUE_SELECT, index as u32);
            let size = layout.map_or(u32::from(QUEUE_SIZE), |layout| 1 << (layout.size_log2 % 9));
            self.write_register(QUEUE_NUM, size);
            let registers = [QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE];
            for (register, address) in registers.into_iter().zip(self.queue_addresses[index]) {
                self.write_register(register, address as u32);
                self.write_register(register + 4, (address >> 32) as u32);
            }
            self.write_register(QUEUE_READY, 1);
        }
        self.write_register(STATUS, 15);
        self.available_index = [0; QUEUE_COUNT];
    }

    /// Writes bytes to guest memory; bytes outside memory are dropped.
    fn write_memory(&self, bytes: &[u8], addr: u64) {
        let _ = self.memory.write(bytes, GuestAddress(addr));
    }

    fn write_descriptor(&self, queue: usize, index: u16, addr: u64, len: u32, flags: u8, next: u8) {
        let mut descriptor = [0; 16];
        descriptor[..8].copy_from_slice(&addr.to_le_bytes());
        descriptor[8..12].copy_from_slice(&len.to_le_bytes());
        descriptor[12] = flags;
        descriptor[14] = next;
        let table = self.queue_addresses[queue][0];
        self.write_memory(&descriptor, table.wrapping_add(16 * u64::from(index)));
    }

    fn make_available(&mut self, queue: usize, head: u16, increment: u16) {
        let available_ring = self.queue_addresses[queue][1];
        let slot = u64::from(self.available_index[queue] % QUEUE_SIZE);
        self.write_memory(&head.to_le_bytes(), available_ring.wrapping_add(4 + 2 * slot));
        self.available_index[queue] = self.available_index[queue].wrapping_add(increment);
        let index = self.available_index[queue].to_le_bytes();
        self.write_memory(&index, available_ring.wrapping_add(2));
    }

    /// Checks that the status bits are a prefix of the required order, and that queues that run are
    /// valid.
    fn check(&self) {
        let state = self.transport.save();
        let are_set = [1, 2, 8, 4].map(|bit| state.status & bit != 0);
        assert!(are_set.is_sorted_by(|a, b| a >= b), "{:x}", state.status);
        for (index, queue) in state.queues.iter().enumerate() {
            let is_valid = self.transport.with_queue(index, |queue, memory| queue.is_valid(memory));
            assert!(is_valid.unwrap_or(true));
            assert!(is_valid.is_none() || queue.indices.is_some());
        }
    }
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut vm = Vm::new();
    vm.start(0, None);
    for step in steps {
        match step {
            Step::Start { features, queues } => vm.start(features, queues),
            Step::Reset => {
                vm.write_register(STATUS, 0);
                let mut bytes = vec![0; BUFFER_SIZE];
                if let Some(id) = vm.id {
                    let read = |device: &mut Device| device.read(id, &mut bytes);
                    let result = vm.shared_device.with(read);
                    assert_ne!(result, ReadResult::Empty, "a reset ends the connection");
                }
            }
            Step::WriteRegister { index, value } => {
                let value = match value {
                    Value::Small(value) => value.into(),
                    Value::Address(value) => value.into(),
                    Value::Any(value) => value,
                };
                let register = WRITABLE_REGISTERS[usize::from(index) % WRITABLE_REGISTERS.len()];
                vm.write_register(register, value);
            }
            Step::ReadRegister { offset, len } => {
                let mut data = [0xaa; 8];
                vm.transport.read(offset.into(), &mut data[..usize::from(len % 9)]);
            }
            Step::WriteMemory { addr, data } => vm.write_memory(data, addr.into()),
            Step::WriteDescriptor { queue, index, addr, len, flags, next } => {
                let queue = usize::from(queue) % QUEUE_COUNT;
                vm.write_descriptor(queue, index.into(), addr.into(), len, flags % 8, next);
            }
            Step::MakeAvailable { queue, head, increment } => {
                // 7 of 8 times 1, as the specification requires, else any number.
                let increment = if increment % 8 == 0 { increment } else { 1 };
                vm.make_available(usize::from(queue) % QUEUE_COUNT, head, increment);
            }
            Step::AddReceiveBuffer { len } => {
                let slot = vm.available_index[0] % QUEUE_SIZE;
                let (address, len) = (buffer_address(0, slot), u32::from(len % 0x800));
                // Flag 2: the device may write the buffer.
                vm.write_descriptor(0, slot, address, len, 2, 0);
                vm.make_available(0, slot, 1);
            }
            Step::Send { guest_port, op, len, payload, flags, buf_alloc, fwd_cnt } => {
                let slot = vm.available_index[1] % QUEUE_SIZE;
                let header = Header {
                    src_cid: GUEST_CID,
                    dst_cid: HOST_CID,
                    src_port: u32::from(guest_port % 4),
                    dst_port: PORT,
                    // 7 of 8 times the length of the payload, else any length.
                    len: if len % 8 == 0 { len.into() } else { payload.into() },
                    kind: TYPE_STREAM,
                    op: u16::from(op % 9),
                    flags: u32::from(flags % 4),
                    buf_alloc,
                    fwd_cnt,
                };
                let address = buffer_address(1, slot);
                vm.write_memory(&header.encode(), address);
                vm.write_descriptor(1, slot, address, 44 + u32::from(payload), 0, 0);
                vm.make_available(1, slot, 1);
            }
            Step::Notify { queue } => vm.write_register(QUEUE_NOTIFY, queue),
            Step::ReceiveAll => vm.shared_device.receive_all(),
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
            Step::Restore => vm = vm.restore(),
        }
        vm.check();
    }
    vm.shared_device.receive_all();
    vm.check();
});
