// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A vsock driver for tests. The driver uses the device's registers and queues like Linux
//! (`drivers/virtio/virtio_mmio.c`, `net/vmw_vsock/virtio_transport.c`), with one descriptor for
//! each packet.

use std::sync::{Arc, Weak};

use virtio_bindings::bindings::virtio_mmio::*;
use virtio_bindings::bindings::virtio_ring::VRING_DESC_F_WRITE;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::mmio::{FEATURES, QUEUE_COUNT, Transport, TransportState};
use crate::vsock::packet::{GUEST_CID, HEADER_LEN, HOST_CID, Header, TYPE_STREAM};
use crate::vsock::queue::{RX, TX};
use crate::vsock::shared_device::SharedDevice;

/// Size of guest memory in bytes.
pub(crate) const MEMORY_SIZE: usize = 1 << 20;

/// Size of each queue in descriptors.
pub(crate) const DRIVER_QUEUE_SIZE: u16 = 16;

/// Size of each buffer in bytes.
const BUFFER_SIZE: u32 = 0x400;

/// A guest's driver with its device and memory.
pub(crate) struct Driver {
    pub(crate) transport: Arc<Transport>,
    pub(crate) memory: GuestMemoryMmap,
    pub(crate) interrupt: EventFd,
    pub(crate) queue_evts: [EventFd; QUEUE_COUNT],
    /// The available index of each queue: number of buffers made available since the device was set
    /// up.
    available_index: [u16; QUEUE_COUNT],
}

/// Creates an eventfd.
pub(crate) fn event() -> EventFd {
    EventFd::new(EFD_NONBLOCK).unwrap()
}

/// Returns the addresses of a queue's descriptor table, available ring and used ring.
pub(crate) fn queue_addresses(index: usize) -> [u64; 3] {
    let base = 0x1000 * (1 + 3 * index as u64);
    [base, base + 0x1000, base + 0x2000]
}

/// Returns the address of the buffer of descriptor `slot` in queue `index`.
fn buffer_address(index: usize, slot: u16) -> u64 {
    0x10000 * (index as u64 + 1) + u64::from(BUFFER_SIZE) * u64::from(slot)
}

/// Creates the header of a packet from the guest's port 5.
pub(crate) fn packet_header(op: u16, host_port: u32, len: usize) -> Header {
    Header {
        src_cid: GUEST_CID,
        dst_cid: HOST_CID,
        src_port: 5,
        dst_port: host_port,
        len: u32::try_from(len).unwrap(),
        kind: TYPE_STREAM,
        op,
        buf_alloc: 1 << 20,
        ..Header::default()
    }
}

impl Driver {
    /// Creates a driver that has not accessed its device.
    pub(crate) fn new(shared_device: Weak<SharedDevice>) -> Driver {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_SIZE)]).unwrap();
        let (interrupt, queue_evts) = (event(), [(); QUEUE_COUNT].map(|()| event()));
        let clones = queue_evts.each_ref().map(|event| event.try_clone().unwrap());
        let transport =
            Transport::new(memory.clone(), interrupt.try_clone().unwrap(), clones, shared_device);
        Driver {
            transport: Arc::new(transport),
            memory,
            interrupt,
            queue_evts,
            available_index: [0; QUEUE_COUNT],
        }
    }

    /// Replaces the transport by a transport in a saved state.
    pub(crate) fn restore_transport(
        self,
        shared_device: Weak<SharedDevice>,
        state: &TransportState,
    ) -> Driver {
        let clones = self.queue_evts.each_ref().map(|event| event.try_clone().unwrap());
        let interrupt = self.interrupt.try_clone().unwrap();
        let transport =
            Transport::restore(self.memory.clone(), interrupt, clones, shared_device, state)
                .unwrap();
        Driver { transport: Arc::new(transport), ..self }
    }

    /// Reads a register.
    pub(crate) fn read(&self, register: u32) -> u32 {
        let mut data = [0xaa; 4];
        self.transport.read(register.into(), &mut data);
        u32::from_le_bytes(data)
    }

    /// Writes a register.
    pub(crate) fn write(&self, register: u32, value: u32) {
        self.transport.write(register.into(), &value.to_le_bytes());
    }

    /// Writes `DriverFeatures`.
    pub(crate) fn accept_features(&self, features: u64) {
        for (select, shift) in [(1, 32), (0, 0)] {
            self.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, select);
            let half = u32::try_from(features >> shift & u64::from(u32::MAX)).unwrap();
            self.write(VIRTIO_MMIO_DRIVER_FEATURES, half);
        }
    }

    /// Sets the device up as far as FEATURES_OK.
    pub(crate) fn negotiate(&self) {
        self.write(VIRTIO_MMIO_STATUS, 1);
        self.write(VIRTIO_MMIO_STATUS, 3);
        self.accept_features(FEATURES);
        self.write(VIRTIO_MMIO_STATUS, 11);
        assert_eq!(self.read(VIRTIO_MMIO_STATUS), 11);
    }

    /// Writes all registers of a queue but `QueueReady`. `addresses` are those of descriptor table,
    /// available ring and used ring.
    pub(crate) fn configure_queue(&self, index: u32, size: u32, addresses: [u64; 3]) {
        self.write(VIRTIO_MMIO_QUEUE_SEL, index);
        self.write(VIRTIO_MMIO_QUEUE_NUM, size);
        let registers = [
            [VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_DESC_HIGH],
            [VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_AVAIL_HIGH],
            [VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_QUEUE_USED_HIGH],
        ];
        for ([low, high], address) in registers.into_iter().zip(addresses) {
            self.write(low, u32::try_from(address & u64::from(u32::MAX)).unwrap());
            self.write(high, u32::try_from(address >> 32).unwrap());
        }
    }

    /// Sets the device up as far as DRIVER_OK.
    pub(crate) fn start(&mut self) {
        self.negotiate();
        for index in 0..QUEUE_COUNT {
            let zeros = [0; 0x3000];
            self.memory.write_slice(&zeros, GuestAddress(queue_addresses(index)[0])).unwrap();
            let queue = u32::try_from(index).unwrap();
            self.configure_queue(queue, DRIVER_QUEUE_SIZE.into(), queue_addresses(index));
            self.write(VIRTIO_MMIO_QUEUE_READY, 1);
            assert_eq!(self.read(VIRTIO_MMIO_QUEUE_READY), 1);
        }
        self.available_index = [0; QUEUE_COUNT];
        self.write(VIRTIO_MMIO_STATUS, 15);
        assert_eq!(self.read(VIRTIO_MMIO_STATUS), 15);
    }

    /// Resets the device.
    pub(crate) fn reset(&self) {
        self.write(VIRTIO_MMIO_STATUS, 0);
        assert_eq!(self.read(VIRTIO_MMIO_STATUS), 0);
    }

    /// Makes the first `len` bytes of the next buffer of queue `index` available.
    fn make_available(&mut self, index: usize, len: u32, flags: u32) {
        let [descriptors, available, _] = queue_addresses(index);
        let slot = self.available_index[index] % DRIVER_QUEUE_SIZE;
        let mut descriptor = [0; 16];
        descriptor[..8].copy_from_slice(&buffer_address(index, slot).to_le_bytes());
        descriptor[8..12].copy_from_slice(&len.to_le_bytes());
        descriptor[12..14].copy_from_slice(&u16::try_from(flags).unwrap().to_le_bytes());
        let write =
            |bytes: &[u8], address| self.memory.write_slice(bytes, GuestAddress(address)).unwrap();
        write(&descriptor, descriptors + 16 * u64::from(slot));
        write(&slot.to_le_bytes(), available + 4 + 2 * u64::from(slot));
        self.available_index[index] += 1;
        self.write_available_index(index, self.available_index[index]);
    }

    /// Writes a queue's available index.
    pub(crate) fn write_available_index(&self, index: usize, value: u16) {
        let [_, available, _] = queue_addresses(index);
        self.memory.write_obj(value.to_le(), GuestAddress(available + 2)).unwrap();
    }

    /// Makes `count` buffers available for packets to the guest.
    pub(crate) fn add_receive_buffers(&mut self, count: u16) {
        for _ in 0..count {
            self.make_available(RX, BUFFER_SIZE, VRING_DESC_F_WRITE);
        }
    }

    /// Makes a packet available and notifies the device.
    pub(crate) fn send(&mut self, header: &Header, payload: &[u8]) {
        let address = buffer_address(TX, self.available_index[TX] % DRIVER_QUEUE_SIZE);
        let bytes = [header.encode().as_slice(), payload].concat();
        self.memory.write_slice(&bytes, GuestAddress(address)).unwrap();
        self.make_available(TX, u32::try_from(bytes.len()).unwrap(), 0);
        self.write(VIRTIO_MMIO_QUEUE_NOTIFY, u32::try_from(TX).unwrap());
    }

    /// Returns a queue's used index.
    pub(crate) fn used_index(&self, index: usize) -> u16 {
        self.memory.read_obj(GuestAddress(queue_addresses(index)[2] + 2)).unwrap()
    }

    /// Returns the packet in buffer `number` of the receive queue, counted from the first buffer
    /// that was made available.
    pub(crate) fn received_packet(&self, number: u16) -> (Header, Vec<u8>) {
        let address = buffer_address(RX, number % DRIVER_QUEUE_SIZE);
        let mut header_bytes = [0; HEADER_LEN];
        self.memory.read_slice(&mut header_bytes, GuestAddress(address)).unwrap();
        let header = Header::decode(&header_bytes);
        let mut payload = vec![0; header.len as usize];
        let payload_address = GuestAddress(address + HEADER_LEN as u64);
        self.memory.read_slice(&mut payload, payload_address).unwrap();
        (header, payload)
    }
}
