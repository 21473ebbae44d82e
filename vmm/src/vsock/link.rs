// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The vsock device as the session's thread and the backend's thread share it.
//!
//! Both work on one [`Device`] under a lock, so that bytes are copied once in each direction and the
//! guest's credit is the only flow control. A packet for the guest is put into the receive queue by
//! the thread that caused it.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::device::Device;
use super::queue::{self, Processed, RX, TX};

/// The virtqueues of a guest, as a backend reaches them.
pub trait GuestQueues: Send + Sync {
    /// Runs `step` on the queue of this index, if the driver has set it up, and interrupts the guest
    /// if it wants that. Returns true if there is more to do.
    fn process(&self, index: usize, device: &mut Device, step: QueueStep) -> bool;

    /// Wakes the thread that calls [`Link::receive_all`].
    fn wake(&self);

    /// Moves packets from the transmit queue to the device. Returns true if there are more.
    fn receive(&self, device: &mut Device) -> bool {
        self.process(TX, device, queue::from_guest)
    }

    /// Moves packets from the device to the receive queue, as many as it has buffers for. The amount
    /// of work is limited; the other thread is woken to do the rest.
    fn deliver(&self, device: &mut Device) {
        if device.has_packet() && self.process(RX, device, queue::to_guest) {
            self.wake();
        }
    }

    /// Moves the packets of a transmit queue that is about to stop, or has stopped, to the device.
    /// One step takes as many chains as a queue holds, so there are never more.
    fn receive_last(&self, device: &mut Device) {
        self.receive(device);
    }
}

/// A limited amount of work on a queue: [`queue::from_guest`] or [`queue::to_guest`].
pub type QueueStep = fn(&mut Device, &mut Queue, &GuestMemoryMmap) -> Processed;

/// A device that several threads share.
pub struct Link {
    device: Mutex<Device>,
    queues: OnceLock<Box<dyn GuestQueues>>,
    changed_evt: EventFd,
}

impl Link {
    /// Shares a device. The guest's queues are to be attached later.
    ///
    /// # Errors
    /// If there is no descriptor left for the event.
    pub fn new(device: Device) -> io::Result<Link> {
        let changed_evt = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Link { device: Mutex::new(device), queues: OnceLock::new(), changed_evt })
    }

    /// Attaches the guest's queues. Only the first call has an effect.
    pub fn attach(&self, queues: impl FnOnce() -> Box<dyn GuestQueues>) {
        self.queues.get_or_init(queues);
    }

    /// Runs `work` on the device, then delivers the packets that it has for the guest.
    pub fn with<R>(&self, work: impl FnOnce(&mut Device) -> R) -> R {
        // The device is consistent between its methods, so a panic with the lock held does not
        // matter.
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut device);
        if let Some(queues) = self.queues.get() {
            queues.deliver(&mut device);
        }
        if device.take_changed() {
            // Fails only if the counter is full, and then the event is readable anyway.
            let _ = self.changed_evt.write(1);
        }
        result
    }

    /// Takes all packets that the guest has sent so far.
    pub fn receive_all(&self) {
        let Some(queues) = self.queues.get() else { return };
        // The lock is released after each step, so that a guest which sends without end does not
        // keep the session out.
        while self.with(|device| queues.receive(device)) {}
    }

    /// Takes the packets that were in the transmit queue when it stopped.
    pub fn receive_last(&self) {
        if let Some(queues) = self.queues.get() {
            self.with(|device| queues.receive_last(device));
        }
    }

    /// Makes [`Link::changed_evt`] unreadable until the device changes again.
    pub fn clear_changed(&self) {
        let _ = self.changed_evt.read();
    }

    /// Returns an event that is readable when the device has changed in a way for which the host may
    /// wait: see [`Device::take_changed`].
    pub fn changed_evt(&self) -> &EventFd {
        &self.changed_evt
    }
}
