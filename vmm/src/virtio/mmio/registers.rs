// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The registers that the driver writes, and the effect of a write on the device's status and
//! queues.

use virtio_bindings::bindings::virtio_config::*;
use virtio_bindings::bindings::virtio_mmio::*;
use virtio_bindings::bindings::virtio_ring::*;
use virtio_queue::{Queue, QueueState, QueueT};
use vm_memory::GuestMemoryMmap;

use super::{FEATURES, QUEUE_COUNT, QUEUE_SIZE};

/// Status bits in the order in which a driver sets them (section 3.1.1).
pub(super) const STATUS_ORDER: [u32; 4] = [
    VIRTIO_CONFIG_S_ACKNOWLEDGE,
    VIRTIO_CONFIG_S_DRIVER,
    VIRTIO_CONFIG_S_FEATURES_OK,
    VIRTIO_CONFIG_S_DRIVER_OK,
];

/// Status bits that a driver may set.
const DRIVER_BITS: u32 =
    STATUS_ORDER[0] | STATUS_ORDER[1] | STATUS_ORDER[2] | STATUS_ORDER[3] | VIRTIO_CONFIG_S_FAILED;

/// Registers that the driver writes.
#[derive(Default)]
pub(super) struct Registers {
    pub(super) status: u32,
    pub(super) device_features_select: u32,
    pub(super) driver_features: u64,
    pub(super) driver_features_select: u32,
    pub(super) queue_select: u32,
    pub(super) queues: [QueueRegisters; QUEUE_COUNT],
}

/// Registers of one queue.
pub(super) struct QueueRegisters {
    pub(super) size: u32,
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
    /// The queue at these addresses, while `QueueReady` is 1.
    pub(super) queue: Option<Queue>,
}

impl Registers {
    /// Handles a write that affects only the registers and their queues.
    pub(super) fn write(&mut self, register: u32, value: u32, memory: &GuestMemoryMmap) {
        let is_negotiating = self.has_status(VIRTIO_CONFIG_S_DRIVER)
            && !self.has_status(VIRTIO_CONFIG_S_FEATURES_OK);
        match register {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES if is_negotiating => {
                set_half(&mut self.driver_features, self.driver_features_select, value);
            }
            VIRTIO_MMIO_QUEUE_SEL => self.queue_select = value,
            VIRTIO_MMIO_STATUS => self.write_status(value),
            VIRTIO_MMIO_QUEUE_READY => {
                if value == 1 && self.start_queue(memory).is_err() {
                    self.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
                }
            }
            _ => {
                if let Some(queue_registers) = self.configurable_queue() {
                    queue_registers.write(register, value);
                }
            }
        }
    }

    /// Handles a write to `Status` (sections 2.1.1 and 3.1.1). Only a reset clears bits, and a bit
    /// is set only after the previous bit in [`STATUS_ORDER`].
    pub(super) fn write_status(&mut self, value: u32) {
        let new_bits = value & DRIVER_BITS;
        let cleared_bits = self.status & DRIVER_BITS & !new_bits;
        if cleared_bits != 0 {
            return;
        }
        for bit in STATUS_ORDER {
            if new_bits & bit == 0
                || bit == VIRTIO_CONFIG_S_FEATURES_OK && !self.features_are_supported()
            {
                break;
            }
            self.status |= bit;
        }
        self.status |= new_bits & VIRTIO_CONFIG_S_FAILED;
    }

    /// Returns true if the device supports the features that the driver has accepted.
    pub(super) fn features_are_supported(&self) -> bool {
        self.driver_features & !FEATURES == 0 && self.driver_features & 1 << VIRTIO_F_VERSION_1 != 0
    }

    /// Returns true while the device may move packets.
    pub(super) fn is_running(&self) -> bool {
        self.status
            & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED)
            == VIRTIO_CONFIG_S_DRIVER_OK
    }

    /// Returns true if the status has this bit.
    pub(super) fn has_status(&self, bit: u32) -> bool {
        self.status & bit != 0
    }

    /// Returns true if the driver has accepted `VIRTIO_F_EVENT_IDX`.
    pub(super) fn has_event_idx(&self) -> bool {
        self.driver_features & 1 << VIRTIO_RING_F_EVENT_IDX != 0
    }

    /// Returns the queue that `QueueSel` selects, if it exists.
    pub(super) fn selected_queue(&mut self) -> Option<&mut QueueRegisters> {
        self.queues.get_mut(usize::try_from(self.queue_select).ok()?)
    }

    /// Returns the selected queue if the driver may configure the queue: between `FEATURES_OK` and
    /// `DRIVER_OK` (section 3.1.1), and not while the queue is ready (section 4.2.2.2).
    pub(super) fn configurable_queue(&mut self) -> Option<&mut QueueRegisters> {
        let is_configurable = self.has_status(VIRTIO_CONFIG_S_FEATURES_OK)
            && !self.has_status(VIRTIO_CONFIG_S_DRIVER_OK);
        self.selected_queue()
            .filter(|queue_registers| is_configurable && queue_registers.queue.is_none())
    }

    /// Handles a write of 1 to `QueueReady`.
    pub(super) fn start_queue(&mut self, memory: &GuestMemoryMmap) -> Result<(), InvalidQueue> {
        let uses_event_idx = self.has_event_idx();
        if let Some(queue_registers) = self.configurable_queue() {
            queue_registers.queue = Some(
                queue_registers.create_queue(memory, uses_event_idx, (0, 0)).ok_or(InvalidQueue)?,
            );
        }
        Ok(())
    }
}

/// Error: the queue is not in guest memory, or has an invalid size.
pub(super) struct InvalidQueue;

impl Default for QueueRegisters {
    fn default() -> QueueRegisters {
        QueueRegisters {
            size: QUEUE_SIZE.into(),
            descriptors: 0,
            available: 0,
            used: 0,
            queue: None,
        }
    }
}

impl QueueRegisters {
    /// Handles a write to a register of the selected queue except `QueueReady`.
    pub(super) fn write(&mut self, register: u32, value: u32) {
        match register {
            VIRTIO_MMIO_QUEUE_NUM => self.size = value,
            VIRTIO_MMIO_QUEUE_DESC_LOW => set_half(&mut self.descriptors, 0, value),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => set_half(&mut self.descriptors, 1, value),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => set_half(&mut self.available, 0, value),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => set_half(&mut self.available, 1, value),
            VIRTIO_MMIO_QUEUE_USED_LOW => set_half(&mut self.used, 0, value),
            VIRTIO_MMIO_QUEUE_USED_HIGH => set_half(&mut self.used, 1, value),
            _ => {}
        }
    }

    /// Creates the queue that these registers describe, with the device's next available and next
    /// used index. Returns `None` if the size or alignment of the queue is invalid (section 2.7), or
    /// the queue is not in guest memory.
    pub(super) fn create_queue(
        &self,
        memory: &GuestMemoryMmap,
        uses_event_idx: bool,
        (next_avail, next_used): (u16, u16),
    ) -> Option<Queue> {
        let state = QueueState {
            max_size: QUEUE_SIZE,
            next_avail,
            next_used,
            event_idx_enabled: uses_event_idx,
            size: u16::try_from(self.size).ok()?,
            ready: true,
            desc_table: self.descriptors,
            avail_ring: self.available,
            used_ring: self.used,
        };
        Queue::try_from(state).ok().filter(|queue| queue.is_valid(memory))
    }
}

/// Returns the 32 bits of a value that a selector register selects: the lower for 0, the upper for
/// 1, else 0.
pub(super) fn select_half(value: u64, select: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    match select {
        0 => u32::from_le_bytes([a, b, c, d]),
        1 => u32::from_le_bytes([e, f, g, h]),
        _ => 0,
    }
}

/// Replaces the 32 bits of a value that a selector register selects.
pub(super) fn set_half(value: &mut u64, select: u32, new_half: u32) {
    let (low, high) = (select_half(*value, 0), select_half(*value, 1));
    match select {
        0 => *value = u64::from(high) << 32 | u64::from(new_half),
        1 => *value = u64::from(new_half) << 32 | u64::from(low),
        _ => {}
    }
}
