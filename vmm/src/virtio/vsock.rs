// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connects the queues of a virtio-mmio transport with the vsock device.

use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::mmio::Transport;
use crate::vsock::device::Device;
use crate::vsock::shared_device::{GuestQueues, QueueStep, SharedDevice};

/// The queues of a transport, which work after the driver has set them up.
pub struct TransportQueues {
    transport: Arc<Transport>,
    wake_evt: Arc<EventFd>,
}

impl TransportQueues {
    /// Connects the device with the queues of `transport`. The connection survives a reset by the
    /// driver. The thread that waits for the queues' notifications and for `wake_evt` must call
    /// [`SharedDevice::receive_all`].
    pub fn attach(shared_device: &SharedDevice, transport: Arc<Transport>, wake_evt: Arc<EventFd>) {
        shared_device.attach(|| Box::new(TransportQueues { transport, wake_evt }));
    }
}

impl GuestQueues for TransportQueues {
    fn process(&self, index: usize, device: &mut Device, step: QueueStep) -> bool {
        let has_more = self.transport.with_queue(index, |queue, memory| {
            let step_result = step(device, queue, memory);
            if step_result.wants_interrupt {
                self.transport.interrupt();
            }
            step_result.has_more
        });
        has_more.unwrap_or(false)
    }

    fn wake(&self) {
        // The write fails only if the counter is full, in which case the event is readable.
        let _ = self.wake_evt.write(1);
    }
}

#[cfg(test)]
mod tests;
