//! The vsock device's queues, as the transport keeps them, for the device core.

use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::mmio::Transport;
use crate::vsock::device::Device;
use crate::vsock::link::{Link, Rings, Round};

/// The guest's queues. As long as the driver has not set them up, nothing moves.
pub struct Virtqueues {
    transport: Arc<Transport>,
    /// Wakes the thread that calls [`Link::pump`].
    poke: Arc<EventFd>,
}

impl Virtqueues {
    /// Connects the link's device with the queues of its transport, once and for all: the driver
    /// may reset the device and set it up again. The thread that waits for `poke`, and for the
    /// kicks of the queues, answers with [`Link::pump`].
    pub fn attach(link: &Link, transport: Arc<Transport>, poke: Arc<EventFd>) {
        link.attach(|| Box::new(Virtqueues { transport, poke }));
    }
}

impl Rings for Virtqueues {
    fn round(&self, index: usize, device: &mut Device, round: Round) -> bool {
        let more = self.transport.with_queue(index, |queue, memory| {
            let moved = round(device, queue, memory);
            if moved.interrupt {
                self.transport.interrupt();
            }
            moved.more
        });
        more.unwrap_or(false)
    }

    fn poke(&self) {
        // Only fails when the counter is full, and then it is readable anyway.
        let _ = self.poke.write(1);
    }
}

#[cfg(test)]
mod tests;
