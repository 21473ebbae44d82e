// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtio-mmio transport, version 2 (virtio 1.2, section 4.2.2), of the vsock device.
//!
//! The driver may write any value to any register at any time. A write that the specification
//! forbids has no effect, and an invalid queue makes the device ask for a reset
//! (`DEVICE_NEEDS_RESET`, section 2.1.2). A [`Queue`] exists only while the driver has set
//! `QueueReady`. The size of a queue is a power of two, and its three parts are in guest memory.

mod registers;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use virtio_bindings::bindings::virtio_config::{VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_VERSION_1};
use virtio_bindings::bindings::virtio_mmio::*;
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

use registers::{Registers, select_half};

use crate::vsock::packet::GUEST_CID;
use crate::vsock::queue::TX;
use crate::vsock::shared_device::SharedDevice;

/// Number of queues of a vsock device: receive, transmit, event (section 5.10.2). The event queue
/// is never used, but the driver requires it.
pub const QUEUE_COUNT: usize = 3;

/// Maximum size of a queue in descriptors. Linux fills the receive queue with buffers of 4 KiB at
/// boot: 512 KiB in total, twice [`crate::vsock::BUFFER_SIZE`].
pub const QUEUE_SIZE: u16 = 128;

/// Feature bits that the device offers.
pub const FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// `MagicValue`: "virt".
const MAGIC: u32 = 0x7472_6976;

/// `Version`: 2 is the non-legacy interface.
const VERSION: u32 = 2;

/// `VendorID`. No vendor has this id, and Linux does not check the id.
const VENDOR: u32 = u32::from_le_bytes(*b"sudb");

/// The virtio-mmio registers of the vsock device. vCPUs may access the registers concurrently.
pub struct Transport {
    memory: GuestMemoryMmap,
    /// Asserts the interrupt line.
    interrupt_evt: EventFd,
    /// `InterruptStatus`. This register is outside the lock, so that the driver can read and
    /// acknowledge interrupts while packets are moved under the lock.
    interrupt_status: AtomicU32,
    /// The event of each queue, which is written when the driver notifies the queue.
    queue_evts: [EventFd; QUEUE_COUNT],
    /// The shared device. The reference is weak, because the device owns this transport by its
    /// queues.
    shared_device: Weak<SharedDevice>,
    registers: Mutex<Registers>,
}

/// State of a queue in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedQueue {
    /// `QueueNum`: size in descriptors, as the driver wrote it.
    pub size: u32,
    /// Guest-physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest-physical address of the available ring.
    pub available: u64,
    /// Guest-physical address of the used ring.
    pub used: u64,
    /// The device's next available and next used index, if the queue is ready.
    pub indices: Option<(u16, u16)>,
}

/// State of the transport in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportState {
    /// Device status.
    pub status: u32,
    /// `DeviceFeaturesSel`: which half of the device's features is read.
    pub device_features_select: u32,
    /// Features that the driver has accepted.
    pub driver_features: u64,
    /// `DriverFeaturesSel`: which half of the driver's features is written.
    pub driver_features_select: u32,
    /// `QueueSel`: the queue to which the queue registers belong.
    pub queue_select: u32,
    /// Interrupts that the driver has not acknowledged.
    pub interrupt_status: u32,
    /// The queues.
    pub queues: [SavedQueue; QUEUE_COUNT],
}

/// Error: a queue of a snapshot is not valid in guest memory.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot's virtqueue {index} is not in the guest's memory")]
pub struct RestoreError {
    /// Index of the queue.
    pub index: usize,
}

impl Transport {
    /// Creates a transport in its reset state. The transport writes `interrupt_evt` to assert its
    /// interrupt line, and the queue's event of `queue_evts` when the driver notifies a queue. All
    /// these events must be non-blocking. The transport reports resets to `shared_device`.
    #[must_use]
    pub fn new(
        memory: GuestMemoryMmap,
        interrupt_evt: EventFd,
        queue_evts: [EventFd; QUEUE_COUNT],
        shared_device: Weak<SharedDevice>,
    ) -> Transport {
        Transport {
            memory,
            interrupt_evt,
            interrupt_status: AtomicU32::new(0),
            queue_evts,
            shared_device,
            registers: Mutex::default(),
        }
    }

    /// Creates a transport in a saved state. Notifies all queues and repeats unacknowledged
    /// interrupts: a snapshot does not tell which were delivered, and redundant ones do no harm.
    ///
    /// # Errors
    /// [`RestoreError`] if a queue that was ready is not in `memory`.
    pub fn restore(
        memory: GuestMemoryMmap,
        interrupt_evt: EventFd,
        queue_evts: [EventFd; QUEUE_COUNT],
        shared_device: Weak<SharedDevice>,
        state: &TransportState,
    ) -> Result<Transport, RestoreError> {
        let mut registers = Registers {
            status: state.status,
            device_features_select: state.device_features_select,
            driver_features: state.driver_features,
            driver_features_select: state.driver_features_select,
            queue_select: state.queue_select,
            queues: Default::default(),
        };
        let uses_event_idx = registers.has_event_idx();
        for (index, (queue_registers, saved)) in
            registers.queues.iter_mut().zip(&state.queues).enumerate()
        {
            (queue_registers.size, queue_registers.descriptors) = (saved.size, saved.descriptors);
            (queue_registers.available, queue_registers.used) = (saved.available, saved.used);
            if let Some(indices) = saved.indices {
                let queue = queue_registers.create_queue(&memory, uses_event_idx, indices);
                queue_registers.queue = Some(queue.ok_or(RestoreError { index })?);
            }
        }
        let mut transport = Transport::new(memory, interrupt_evt, queue_evts, shared_device);
        transport.registers = Mutex::new(registers);
        for event in &transport.queue_evts {
            let _ = event.write(1);
        }
        if state.interrupt_status != 0 {
            transport.raise_interrupt(state.interrupt_status);
        }
        Ok(transport)
    }

    /// Returns the transport's state. During the call, no vCPU may run and no thread may move
    /// packets.
    #[must_use]
    pub fn save(&self) -> TransportState {
        let registers = self.lock();
        TransportState {
            status: registers.status,
            device_features_select: registers.device_features_select,
            driver_features: registers.driver_features,
            driver_features_select: registers.driver_features_select,
            queue_select: registers.queue_select,
            interrupt_status: self.interrupt_status.load(Ordering::SeqCst),
            queues: registers.queues.each_ref().map(|queue_registers| SavedQueue {
                size: queue_registers.size,
                descriptors: queue_registers.descriptors,
                available: queue_registers.available,
                used: queue_registers.used,
                indices: queue_registers
                    .queue
                    .as_ref()
                    .map(|queue| (queue.next_avail(), queue.next_used())),
            }),
        }
    }

    /// Runs `action` on a queue, if the driver has set `DRIVER_OK` and the queue is ready. `action`
    /// may call [`Transport::interrupt`], but must not access registers, because they are locked.
    ///
    /// If the driver has made more buffers available than the queue has descriptors, the device
    /// asks for a reset.
    pub fn with_queue<R>(
        &self,
        index: usize,
        action: impl FnOnce(&mut Queue, &GuestMemoryMmap) -> R,
    ) -> Option<R> {
        let mut registers = self.lock();
        if !registers.is_running() {
            return None;
        }
        let queue = registers.queues.get_mut(index)?.queue.as_mut()?;
        let result = action(queue, &self.memory);
        if is_overrun(queue, &self.memory) {
            registers.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
            self.raise_interrupt(VIRTIO_MMIO_INT_CONFIG);
        }
        Some(result)
    }

    /// Tells the driver by an interrupt that buffers were used (section 4.2.2.5).
    pub fn interrupt(&self) {
        self.raise_interrupt(VIRTIO_MMIO_INT_VRING);
    }

    /// Handles a read at `offset`. Registers are 32 bits wide, and the configuration space can be
    /// read in any width. Any other access reads as 0.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(config_offset) = offset.checked_sub(u64::from(VIRTIO_MMIO_CONFIG)) {
            // struct virtio_vsock_config: the guest's CID (section 5.10.4).
            let config = GUEST_CID.to_le_bytes();
            let start = usize::try_from(config_offset).unwrap_or(usize::MAX);
            let config = config.get(start..).unwrap_or(&[]);
            data.iter_mut().zip(config).for_each(|(byte, &value)| *byte = value);
        } else if let (Some(register), 4) = (register(offset), data.len()) {
            data.copy_from_slice(&self.read_register(register).to_le_bytes());
        }
    }

    /// Handles a write at `offset`. A write of less than a whole register has no effect.
    pub fn write(&self, offset: u64, data: &[u8]) {
        if let (Some(register), Ok(data)) = (register(offset), data.try_into()) {
            self.write_register(register, u32::from_le_bytes(data));
        }
    }

    fn read_register(&self, register: u32) -> u32 {
        if register == VIRTIO_MMIO_INTERRUPT_STATUS {
            return self.interrupt_status.load(Ordering::SeqCst);
        }
        let mut registers = self.lock();
        match register {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => VIRTIO_ID_VSOCK,
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => select_half(FEATURES, registers.device_features_select),
            VIRTIO_MMIO_QUEUE_NUM_MAX => {
                registers.selected_queue().map_or(0, |_| QUEUE_SIZE.into())
            }
            VIRTIO_MMIO_QUEUE_READY => registers
                .selected_queue()
                .map_or(0, |queue_registers| queue_registers.queue.is_some().into()),
            VIRTIO_MMIO_STATUS => registers.status,
            // There is no shared memory region (section 4.2.2).
            VIRTIO_MMIO_SHM_LEN_LOW
            | VIRTIO_MMIO_SHM_LEN_HIGH
            | VIRTIO_MMIO_SHM_BASE_LOW
            | VIRTIO_MMIO_SHM_BASE_HIGH => u32::MAX,
            // Registers that do not exist or cannot be read, and ConfigGeneration: the
            // configuration never changes.
            _ => 0,
        }
    }

    fn write_register(&self, register: u32, value: u32) {
        match register {
            VIRTIO_MMIO_QUEUE_NOTIFY => {
                // KVM handles most notifications itself (ioeventfd).
                let event =
                    usize::try_from(value).ok().and_then(|index| self.queue_evts.get(index));
                if let Some(event) = event {
                    // The write fails only if the counter is full, in which case the event is
                    // readable.
                    let _ = event.write(1);
                }
            }
            VIRTIO_MMIO_INTERRUPT_ACK => {
                self.interrupt_status.fetch_and(!value, Ordering::SeqCst);
            }
            VIRTIO_MMIO_STATUS if value == 0 => self.reset(),
            VIRTIO_MMIO_QUEUE_READY if value == 0 => self.stop_queue(),
            _ => self.lock().write(register, value, &self.memory),
        }
    }

    /// Handles a reset by the driver (section 2.4). First takes the packets in the transmit queue:
    /// a restarting kernel resets its devices right after the guest's last message, perhaps before
    /// the device thread has taken that message.
    fn reset(&self) {
        let shared_device = self.shared_device.upgrade();
        if let Some(shared_device) = &shared_device {
            shared_device.receive_last();
        }
        let mut registers = self.lock();
        *registers = Registers::default();
        self.interrupt_status.store(0, Ordering::SeqCst);
        // Release the lock before the call of the shared device, by the lock order.
        drop(registers);
        if let Some(shared_device) = &shared_device {
            shared_device.with(|device| device.reset_by_driver());
        }
    }

    /// Handles a write of 0 to `QueueReady` (section 4.2.2.2). First takes the packets in the
    /// transmit queue, as [`Transport::reset`].
    fn stop_queue(&self) {
        let is_tx = usize::try_from(self.lock().queue_select).is_ok_and(|index| index == TX);
        if is_tx && let Some(shared_device) = self.shared_device.upgrade() {
            shared_device.receive_last();
        }
        if let Some(queue_registers) = self.lock().selected_queue() {
            queue_registers.queue = None;
        }
    }

    /// Sets bits of `InterruptStatus` and asserts the interrupt line.
    fn raise_interrupt(&self, bits: u32) {
        self.interrupt_status.fetch_or(bits, Ordering::SeqCst);
        // The write fails only if the counter is full, in which case the interrupt is pending.
        let _ = self.interrupt_evt.write(1);
    }

    fn lock(&self) -> MutexGuard<'_, Registers> {
        // All values of the registers are valid, even after a panic with the lock held.
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns true if the driver's available index is further ahead than the size of the queue.
fn is_overrun(queue: &Queue, memory: &GuestMemoryMmap) -> bool {
    let available_index = queue.avail_idx(memory, Ordering::Relaxed).map(|index| index.0);
    available_index.map_or(true, |index| index.wrapping_sub(queue.next_avail()) > queue.size())
}

/// Returns the register at an offset, if a register begins at this offset.
fn register(offset: u64) -> Option<u32> {
    u32::try_from(offset).ok().filter(|offset| offset % 4 == 0)
}

#[cfg(test)]
mod tests;
