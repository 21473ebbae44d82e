// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest's driver and the host's end of the device, connected by registers and queues.

use super::super::driver::{Driver, event, packet};
use super::*;
use crate::vsock::device::{ConnectionId, Device, ReadResult};
use crate::vsock::packet::op;
use crate::vsock::queue::{RX, TX};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use vmm_sys_util::eventfd::EventFd;

const PORT: u32 = 7;

struct Vm {
    shared_device: Arc<SharedDevice>,
    driver: Driver,
    wake_evt: Arc<EventFd>,
}

fn vm() -> Vm {
    let shared_device = Arc::new(SharedDevice::new(Device::new()).unwrap());
    shared_device.with(|device| device.listen(PORT));
    let driver = Driver::new(Arc::downgrade(&shared_device));
    let wake_evt = Arc::new(event());
    TransportQueues::attach(&shared_device, driver.transport.clone(), wake_evt.clone());
    Vm { shared_device, driver, wake_evt }
}

/// A VM whose guest has connected.
fn connected() -> (Vm, ConnectionId) {
    let mut vm = vm();
    let id = vm.connect();
    (vm, id)
}

impl Vm {
    fn connect(&mut self) -> ConnectionId {
        self.driver.start();
        self.driver.offer_buffers(4);
        self.driver.send(&packet(op::REQUEST, PORT, 0), b"");
        self.shared_device.receive_all();
        assert_eq!(self.driver.received(0).0.op, op::RESPONSE);
        self.shared_device.with(|device| device.accept(PORT)).unwrap()
    }

    fn read(&self, id: ConnectionId) -> (Vec<u8>, ReadResult) {
        let mut bytes = vec![0; 1 << 20];
        let found = self.shared_device.with(|device| device.read(id, &mut bytes));
        bytes.truncate(if let ReadResult::Bytes(count) = found { count } else { 0 });
        (bytes, found)
    }
}

#[test]
fn bytes_pass_both_ways() {
    let (mut vm, id) = connected();
    assert_eq!(vm.driver.interrupt.read().unwrap(), 2, "sent, and answered");
    vm.driver.send(&packet(op::RW, PORT, 5), b"hello");
    assert!(vm.driver.queue_evts[TX].read().is_ok());
    vm.shared_device.receive_all();
    assert_eq!(vm.read(id), (b"hello".to_vec(), ReadResult::Bytes(5)));

    assert_eq!(vm.shared_device.with(|device| device.write(id, b"you")), Ok(3));
    let (header, payload) = vm.driver.received(1);
    assert_eq!((header.op, payload.as_slice()), (op::RW, b"you".as_slice()));
    assert_eq!(vm.driver.used(RX), 2);
    assert!(vm.driver.interrupt.read().is_err(), "the driver asked for the first of each only");
}

#[test]
fn nothing_moves_before_the_driver_is_ready() {
    let mut vm = vm();
    vm.shared_device.receive_all();
    vm.driver.start();
    vm.driver.offer_buffers(1);
    vm.driver.send(&packet(op::REQUEST, PORT, 0), b"");
    vm.driver.write(virtio_bindings::bindings::virtio_mmio::VIRTIO_MMIO_STATUS, 15 | 128);
    vm.shared_device.receive_all();
    assert_eq!(vm.driver.used(TX), 0, "the driver has given up");
}

#[test]
fn more_packets_than_a_round_takes_ask_for_another() {
    let (mut vm, id) = connected();
    // More than a ring of buffers of 1 KiB.
    vm.shared_device.with(|device| device.write(id, &[1; 40 << 10])).unwrap();
    assert!(vm.wake_evt.read().is_err(), "four buffers, three left");
    vm.driver.offer_buffers(12);
    vm.shared_device.receive_all();
    vm.driver.offer_buffers(4);
    vm.shared_device.receive_all();
    assert_eq!(vm.driver.used(RX), 20);
    // A whole ring at once.
    vm.driver.offer_buffers(16);
    vm.shared_device.receive_all();
    assert!(vm.wake_evt.read().is_ok());
}

#[test]
fn a_reset_ends_connections_behind_their_last_bytes() {
    let (mut vm, id) = connected();
    vm.shared_device.clear_changed();
    vm.driver.send(&packet(op::RW, PORT, 4), b"done");
    // A kernel that restarts resets its devices before anyone saw the kick.
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

    // The next driver meets a device that knows of nothing.
    let id = vm.connect();
    vm.driver.send(&packet(op::RW, PORT, 2), b"on");
    vm.shared_device.receive_all();
    assert_eq!(vm.read(id), (b"on".to_vec(), ReadResult::Bytes(2)));
}

#[test]
fn a_queue_taken_back_leaves_nothing_behind() {
    use virtio_bindings::bindings::virtio_mmio::{VIRTIO_MMIO_QUEUE_READY, VIRTIO_MMIO_QUEUE_SEL};
    let (mut vm, id) = connected();
    vm.driver.send(&packet(op::RW, PORT, 4), b"done");
    vm.driver.write(VIRTIO_MMIO_QUEUE_SEL, 1);
    vm.driver.write(VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(vm.read(id), (b"done".to_vec(), ReadResult::Bytes(4)));
}

#[test]
fn a_restored_device_is_attached_at_once() {
    let mut vm = vm();
    vm.driver.start();
    vm.driver.offer_buffers(4);
    let state = vm.driver.transport.save();

    let shared_device = Arc::new(SharedDevice::new(Device::new()).unwrap());
    shared_device.with(|device| device.listen(PORT));
    let mut driver = vm.driver.restored(Arc::downgrade(&shared_device), &state);
    TransportQueues::attach(&shared_device, driver.transport.clone(), vm.wake_evt);
    driver.send(&packet(op::REQUEST, PORT, 0), b"");
    shared_device.receive_all();
    assert!(shared_device.with(|device| device.accept(PORT)).is_some());
    assert_eq!(driver.received(0).0.op, op::RESPONSE);
}

#[test]
fn resets_and_rounds_do_not_lock_each_other_up() {
    let (mut vm, id) = connected();
    let (done, wait) = mpsc::channel();
    let (shared_device, transport) = (vm.shared_device.clone(), vm.driver.transport.clone());
    let work = thread::spawn(move || {
        for _ in 0..2000 {
            shared_device.with(|device| device.write(id, b"x")).ok();
            shared_device.receive_all();
        }
        done.send(()).unwrap();
    });
    let other = thread::spawn(move || {
        for _ in 0..2000 {
            transport.write(0x70, &[0; 4]);
            transport.read(0x70, &mut [0; 4]);
        }
    });
    for _ in 0..200 {
        vm.driver.write(0x70, 0);
        // The other thread may reset it in between; no step has to succeed.
        for status in [1, 3, 11, 15] {
            vm.driver.write(0x70, status);
        }
        vm.driver.send(&packet(op::REQUEST, PORT, 0), b"");
    }
    wait.recv_timeout(Duration::from_secs(60)).expect("nobody waits for a lock for ever");
    work.join().unwrap();
    other.join().unwrap();
}
