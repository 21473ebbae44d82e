// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The queues of the virtio-mmio transport, as the vsock device uses them.

use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::mmio::Transport;
use crate::vsock::device::Device;
use crate::vsock::link::{GuestQueues, Link, QueueStep};

/// The queues that the driver has set up at a transport. Nothing moves until it has.
pub struct TransportQueues {
    transport: Arc<Transport>,
    wake_evt: Arc<EventFd>,
}

impl TransportQueues {
    /// Connects the device of `link` with the queues of `transport`. The connection is for good: the
    /// driver may reset the device and set the queues up again. The thread that waits for the queues'
    /// notifications and for `wake_evt` must call [`Link::receive_all`].
    pub fn attach(link: &Link, transport: Arc<Transport>, wake_evt: Arc<EventFd>) {
        link.attach(|| Box::new(TransportQueues { transport, wake_evt }));
    }
}

impl GuestQueues for TransportQueues {
    fn process(&self, index: usize, device: &mut Device, step: QueueStep) -> bool {
        let more = self.transport.with_queue(index, |queue, memory| {
            let processed = step(device, queue, memory);
            if processed.interrupt {
                self.transport.interrupt();
            }
            processed.more
        });
        more.unwrap_or(false)
    }

    fn wake(&self) {
        // Fails only if the counter is full, and then the event is readable anyway.
        let _ = self.wake_evt.write(1);
    }
}

#[cfg(test)]
mod tests;
