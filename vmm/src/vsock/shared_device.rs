// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The vsock device, shared by the session's thread and the backend's thread.
//!
//! Both threads work on one [`Device`] under a lock, without a channel between the threads: credit
//! is the only flow control. The thread that caused a packet for the guest puts the packet into the
//! receive queue.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::device::Device;
use super::queue::{self, RX, StepResult, TX};

/// The virtqueues of a guest. Each backend implements this trait.
pub trait GuestQueues: Send + Sync {
    /// Runs `step` on the queue with this index, if the driver has set the queue up. Interrupts the
    /// guest if the guest wants an interrupt. Returns true if `step` must be repeated.
    fn process(&self, index: usize, device: &mut Device, step: QueueStep) -> bool;

    /// Wakes the thread that calls [`SharedDevice::receive_all`].
    fn wake(&self);

    /// Moves packets from the transmit queue to the device. Returns true if packets are left.
    fn receive(&self, device: &mut Device) -> bool {
        self.process(TX, device, queue::receive_packets)
    }

    /// Moves packets from the device to the receive queue while the queue has buffers. After a
    /// limited amount of work, wakes the backend's thread, which moves the remaining packets.
    fn deliver(&self, device: &mut Device) {
        if device.has_packet() && self.process(RX, device, queue::send_packets) {
            self.wake();
        }
    }

    /// Moves the remaining packets of the transmit queue to the device before the driver stops the
    /// queue. One step takes as many chains as a queue can have, so one step is enough.
    fn receive_last(&self, device: &mut Device) {
        self.receive(device);
    }
}

/// A limited amount of work on a queue: [`queue::receive_packets`] or [`queue::send_packets`].
pub type QueueStep = fn(&mut Device, &mut Queue, &GuestMemoryMmap) -> StepResult;

/// A device that several threads share.
pub struct SharedDevice {
    device: Mutex<Device>,
    queues: OnceLock<Box<dyn GuestQueues>>,
    changed_evt: EventFd,
}

impl SharedDevice {
    /// Wraps a device. The guest's queues are attached later.
    ///
    /// # Errors
    /// If there is no descriptor left for the event.
    pub fn new(device: Device) -> io::Result<SharedDevice> {
        let changed_evt = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(SharedDevice { device: Mutex::new(device), queues: OnceLock::new(), changed_evt })
    }

    /// Attaches the guest's queues. Only the first call has an effect.
    pub fn attach(&self, queues: impl FnOnce() -> Box<dyn GuestQueues>) {
        self.queues.get_or_init(queues);
    }

    /// Runs `action` on the device, then delivers the device's packets for the guest.
    pub fn with<R>(&self, action: impl FnOnce(&mut Device) -> R) -> R {
        // The device is consistent between its methods, even after a panic with the lock held.
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        let result = action(&mut device);
        if let Some(queues) = self.queues.get() {
            queues.deliver(&mut device);
        }
        if device.take_changed() {
            // The write fails only if the counter is full, in which case the event is readable.
            let _ = self.changed_evt.write(1);
        }
        result
    }

    /// Takes all packets that the guest has sent so far.
    pub fn receive_all(&self) {
        let Some(queues) = self.queues.get() else { return };
        // The lock is released after each step, so that a guest that sends without end does not
        // block the session.
        while self.with(|device| queues.receive(device)) {}
    }

    /// Takes the remaining packets of the transmit queue before the driver stops the queue.
    pub fn receive_last(&self) {
        if let Some(queues) = self.queues.get() {
            self.with(|device| queues.receive_last(device));
        }
    }

    /// Makes [`SharedDevice::changed_evt`] unreadable until the next change.
    pub fn clear_changed(&self) {
        let _ = self.changed_evt.read();
    }

    /// Returns an eventfd that is readable after a change for which the host may wait; see
    /// [`Device::take_changed`].
    pub fn changed_evt(&self) -> &EventFd {
        &self.changed_evt
    }
}
