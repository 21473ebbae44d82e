// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests in which a guest's driver and the host exchange packets by registers and queues.

use super::super::driver::{Driver, event, packet_header};
use super::*;
use crate::vsock::device::{ConnectionId, Device, ReadResult};
use crate::vsock::packet::op;
use crate::vsock::queue::{RX, TX};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use vmm_sys_util::eventfd::EventFd;

const PORT: u32 = 7;

/// A driver and the shared device, connected by a transport.
struct Vm {
    shared_device: Arc<SharedDevice>,
    driver: Driver,
    wake_evt: Arc<EventFd>,
}

/// Creates a VM whose driver has not accessed the device. The host listens on [`PORT`].
fn new_vm() -> Vm {
    let shared_device = Arc::new(SharedDevice::new(Device::new()).unwrap());
    shared_device.with(|device| device.listen(PORT));
    let driver = Driver::new(Arc::downgrade(&shared_device));
    let wake_evt = Arc::new(event());
    TransportQueues::attach(&shared_device, driver.transport.clone(), wake_evt.clone());
    Vm { shared_device, driver, wake_evt }
}

/// Creates a VM whose guest has connected.
fn connected_vm() -> (Vm, ConnectionId) {
    let mut vm = new_vm();
    let id = vm.connect();
    (vm, id)
}

impl Vm {
    fn connect(&mut self) -> ConnectionId {
        self.driver.start();
        self.driver.add_receive_buffers(4);
        self.driver.send(&packet_header(op::REQUEST, PORT, 0), b"");
        self.shared_device.receive_all();
        assert_eq!(self.driver.received_packet(0).0.op, op::RESPONSE);
        self.shared_device.with(|device| device.accept(PORT)).unwrap()
    }

    fn read(&self, id: ConnectionId) -> (Vec<u8>, ReadResult) {
        let mut bytes = vec![0; 1 << 20];
        let result = self.shared_device.with(|device| device.read(id, &mut bytes));
        bytes.truncate(if let ReadResult::Bytes(count) = result { count } else { 0 });
        (bytes, result)
    }
}

#[test]
fn bytes_pass_in_both_directions() {
    let (mut vm, id) = connected_vm();
    assert_eq!(vm.driver.interrupt.read().unwrap(), 2, "the request was taken, and answered");
    vm.driver.send(&packet_header(op::RW, PORT, 5), b"hello");
    assert!(vm.driver.queue_evts[TX].read().is_ok());
    vm.shared_device.receive_all();
    assert_eq!(vm.read(id), (b"hello".to_vec(), ReadResult::Bytes(5)));

    assert_eq!(vm.shared_device.with(|device| device.write(id, b"you")), Ok(3));
    let (header, payload) = vm.driver.received_packet(1);
    assert_eq!((header.op, payload.as_slice()), (op::RW, b"you".as_slice()));
    assert_eq!(vm.driver.used_index(RX), 2);
    assert!(
        vm.driver.interrupt.read().is_err(),
        "by its used_event, the driver wants an interrupt only for the first buffer of each queue"
    );
}

#[test]
fn packets_stay_in_the_queues_of_a_driver_that_has_failed() {
    let mut vm = new_vm();
    vm.shared_device.receive_all();
    vm.driver.start();
    vm.driver.add_receive_buffers(1);
    vm.driver.send(&packet_header(op::REQUEST, PORT, 0), b"");
    vm.driver.write(virtio_bindings::bindings::virtio_mmio::VIRTIO_MMIO_STATUS, 15 | 128);
    vm.shared_device.receive_all();
    assert_eq!(vm.driver.used_index(TX), 0, "the driver has set FAILED");
}

#[test]
fn after_a_step_of_a_whole_ring_the_backends_thread_is_woken() {
    let (mut vm, id) = connected_vm();
    // More bytes than sixteen buffers of 1 KiB hold.
    vm.shared_device.with(|device| device.write(id, &[1; 40 << 10])).unwrap();
    assert!(vm.wake_evt.read().is_err(), "three buffers were available");
    vm.driver.add_receive_buffers(12);
    vm.shared_device.receive_all();
    vm.driver.add_receive_buffers(4);
    vm.shared_device.receive_all();
    assert_eq!(vm.driver.used_index(RX), 20);
    // A whole ring of buffers.
    vm.driver.add_receive_buffers(16);
    vm.shared_device.receive_all();
    assert!(vm.wake_evt.read().is_ok());
}

#[test]
fn a_reset_ends_connections_after_their_last_bytes() {
    let (mut vm, id) = connected_vm();
    vm.shared_device.clear_changed();
    vm.driver.send(&packet_header(op::RW, PORT, 4), b"done");
    // The reset precedes the call of `receive_all`.
    vm.driver.reset();
    assert!(
        crate::poll::wait_readable(
            &[crate::poll::borrow_eventfd(vm.shared_device.changed_evt())],
            std::time::Instant::now()
        )
        .unwrap()[0]
    );
    assert_eq!(vm.read(id), (b"done".to_vec(), ReadResult::Bytes(4)));
    assert_eq!(vm.read(id), (vec![], ReadResult::End));
    assert!(vm.shared_device.with(|device| device.write(id, b"x")).is_err());

    // The driver of the restarted kernel can connect.
    let id = vm.connect();
    vm.driver.send(&packet_header(op::RW, PORT, 2), b"on");
    vm.shared_device.receive_all();
    assert_eq!(vm.read(id), (b"on".to_vec(), ReadResult::Bytes(2)));
}

#[test]
fn packets_are_taken_before_the_transmit_queue_stops() {
    use virtio_bindings::bindings::virtio_mmio::{VIRTIO_MMIO_QUEUE_READY, VIRTIO_MMIO_QUEUE_SEL};
    let (mut vm, id) = connected_vm();
    vm.driver.send(&packet_header(op::RW, PORT, 4), b"done");
    vm.driver.write(VIRTIO_MMIO_QUEUE_SEL, 1);
    vm.driver.write(VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(vm.read(id), (b"done".to_vec(), ReadResult::Bytes(4)));
}

#[test]
fn a_restored_transport_moves_packets_of_a_new_device() {
    let mut vm = new_vm();
    vm.driver.start();
    vm.driver.add_receive_buffers(4);
    let state = vm.driver.transport.save();

    let shared_device = Arc::new(SharedDevice::new(Device::new()).unwrap());
    shared_device.with(|device| device.listen(PORT));
    let mut driver = vm.driver.restore_transport(Arc::downgrade(&shared_device), &state);
    TransportQueues::attach(&shared_device, driver.transport.clone(), vm.wake_evt);
    driver.send(&packet_header(op::REQUEST, PORT, 0), b"");
    shared_device.receive_all();
    assert!(shared_device.with(|device| device.accept(PORT)).is_some());
    assert_eq!(driver.received_packet(0).0.op, op::RESPONSE);
}

#[test]
fn resets_and_moves_of_packets_do_not_deadlock() {
    let (mut vm, id) = connected_vm();
    let (done_sender, done_receiver) = mpsc::channel();
    let (shared_device, transport) = (vm.shared_device.clone(), vm.driver.transport.clone());
    let host_thread = thread::spawn(move || {
        for _ in 0..2000 {
            shared_device.with(|device| device.write(id, b"x")).ok();
            shared_device.receive_all();
        }
        done_sender.send(()).unwrap();
    });
    let reset_thread = thread::spawn(move || {
        for _ in 0..2000 {
            transport.write(0x70, &[0; 4]);
            transport.read(0x70, &mut [0; 4]);
        }
    });
    for _ in 0..200 {
        vm.driver.write(0x70, 0);
        // `reset_thread` may reset the device between the writes, so none has to succeed.
        for status in [1, 3, 11, 15] {
            vm.driver.write(0x70, status);
        }
        vm.driver.send(&packet_header(op::REQUEST, PORT, 0), b"");
    }
    done_receiver.recv_timeout(Duration::from_secs(60)).expect("no deadlock");
    host_thread.join().unwrap();
    reset_thread.join().unwrap();
}
