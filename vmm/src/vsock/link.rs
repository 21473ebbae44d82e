//! The host's end of the device, shared between the session's thread and the backend's.
//!
//! Both work on the one [`Device`] under a lock, so bytes are copied once in each direction and the
//! guest's credit is all the flow control there is. A packet for the guest goes into its queue in
//! the thread that caused it.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::device::Device;
use super::queue::{self, Moved, RX, TX};

/// The guest's queues, as a backend knows them.
pub trait Rings: Send + Sync {
    /// Runs one round on a queue, if it is there, and interrupts the guest if it wants that. True
    /// if there is more.
    fn round(&self, index: usize, device: &mut Device, round: Round) -> bool;

    /// Wakes the thread that calls [`Link::pump`].
    fn poke(&self);

    /// Moves what the guest has sent to the device. True if there is more.
    fn receive(&self, device: &mut Device) -> bool {
        self.round(TX, device, queue::from_guest)
    }

    /// Moves what the device has for the guest into the guest's buffers, as far as there are any.
    /// Does a bounded amount of work and has somebody else called for the rest.
    fn deliver(&self, device: &mut Device) {
        if device.has_packet() && self.round(RX, device, queue::to_guest) {
            self.poke();
        }
    }

    /// Moves what the guest has sent to the device, as its transmit queue is about to stop or has
    /// stopped. One round takes as many chains as the queue holds.
    fn last_words(&self, device: &mut Device) {
        self.receive(device);
    }
}

/// One round on a queue: [`queue::from_guest`] or [`queue::to_guest`].
pub type Round = fn(&mut Device, &mut Queue, &GuestMemoryMmap) -> Moved;

/// A device that several threads share.
pub struct Link {
    device: Mutex<Device>,
    rings: OnceLock<Box<dyn Rings>>,
    news: EventFd,
}

impl Link {
    /// A link to a device whose queues are not known yet.
    ///
    /// # Errors
    /// If there is no descriptor left for the event.
    pub fn new(device: Device) -> io::Result<Link> {
        let news = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        Ok(Link { device: Mutex::new(device), rings: OnceLock::new(), news })
    }

    /// Tells where the guest's queues are. Only the first call has an effect.
    pub fn attach(&self, rings: impl FnOnce() -> Box<dyn Rings>) {
        self.rings.get_or_init(rings);
    }

    /// Works on the device, then carries to the guest what came of it.
    pub fn with<R>(&self, work: impl FnOnce(&mut Device) -> R) -> R {
        // A thread that panicked with the lock held left a device that is still well-formed.
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut device);
        if let Some(rings) = self.rings.get() {
            rings.deliver(&mut device);
        }
        if device.take_news() {
            // Only fails when the counter is full, and then it is readable anyway.
            let _ = self.news.write(1);
        }
        result
    }

    /// Takes all that the guest has sent so far.
    pub fn pump(&self) {
        let Some(rings) = self.rings.get() else { return };
        // The lock is let go after each round, so that a guest which sends without end does not
        // keep the session out.
        while self.with(|device| rings.receive(device)) {}
    }

    /// Takes what the guest had sent when its transmit queue was stopped.
    pub fn last_words(&self) {
        if let Some(rings) = self.rings.get() {
            self.with(|device| rings.last_words(device));
        }
    }

    /// Makes the descriptor unreadable until there is news again.
    pub fn clear_news(&self) {
        let _ = self.news.read();
    }

    /// Becomes readable when the device has something that the host may have waited for.
    pub fn news(&self) -> &EventFd {
        &self.news
    }
}
