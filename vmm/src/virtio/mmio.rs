//! The virtio-mmio transport, version 2 (virtio 1.2, section 4.2.2), of the vsock device.
//!
//! The driver's registers may be written in any order with anything. What the specification
//! forbids has no effect, and a queue that cannot be right makes the device ask for a reset
//! (`DEVICE_NEEDS_RESET`, section 2.1.2). A queue exists only while it is ready, and then its size
//! is a power of two and its three parts are in guest memory.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use virtio_bindings::bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK,
    VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_VERSION_1,
};
use virtio_bindings::bindings::virtio_mmio::*;
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;
use virtio_queue::{Queue, QueueState, QueueT};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

use crate::vsock::link::Link;
use crate::vsock::packet::GUEST_CID;
use crate::vsock::queue::TX;

/// Queues of a vsock device: receive, transmit, event (section 5.10.2). The driver insists on the
/// event queue, which stays unused.
pub const QUEUES: usize = 3;

/// Most descriptors in a queue. The driver fills the receive queue with buffers of 4 KiB while the
/// guest boots, and twice our credit is enough.
pub const QUEUE_SIZE: u16 = 128;

/// What the device can do.
pub const FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// "virt".
const MAGIC: u32 = 0x7472_6976;

/// 2: not the legacy interface.
const VERSION: u32 = 2;

/// No vendor has it; drivers do not look.
const VENDOR: u32 = u32::from_le_bytes(*b"sudb");

/// A driver's steps, in their order (section 3.1.1).
const STEPS: [u32; 4] = [
    VIRTIO_CONFIG_S_ACKNOWLEDGE,
    VIRTIO_CONFIG_S_DRIVER,
    VIRTIO_CONFIG_S_FEATURES_OK,
    VIRTIO_CONFIG_S_DRIVER_OK,
];

/// Bits of the status that a driver may set.
const DRIVER_BITS: u32 = STEPS[0] | STEPS[1] | STEPS[2] | STEPS[3] | VIRTIO_CONFIG_S_FAILED;

/// The registers of the vsock device. Several vCPUs may access them at once.
pub struct Transport {
    memory: GuestMemoryMmap,
    /// Asserts the device's interrupt.
    interrupt: EventFd,
    /// What the driver is interrupted for: outside the lock, because the driver reads and clears
    /// it at each interrupt while queues are worked on.
    interrupt_status: AtomicU32,
    /// The driver's notifications of each queue.
    kicks: [EventFd; QUEUES],
    /// Weak, because the link has the queues of this transport.
    link: Weak<Link>,
    registers: Mutex<Registers>,
}

/// What the driver has written.
#[derive(Default)]
struct Registers {
    status: u32,
    device_features_select: u32,
    driver_features: u64,
    driver_features_select: u32,
    queue_select: u32,
    slots: [Slot; QUEUES],
}

/// The place of a queue.
struct Slot {
    size: u32,
    descriptors: u64,
    available: u64,
    used: u64,
    /// The queue, from these values, while it is ready.
    queue: Option<Queue>,
}

/// A queue in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedQueue {
    /// Its size in descriptors, as the driver wrote it.
    pub size: u32,
    /// Guest-physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest-physical address of the available ring.
    pub available: u64,
    /// Guest-physical address of the used ring.
    pub used: u64,
    /// Where the device goes on, if the queue is ready: next available and next used index.
    pub progress: Option<(u16, u16)>,
}

/// The transport in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportState {
    /// Device status.
    pub status: u32,
    /// Which half of the device's features is read.
    pub device_features_select: u32,
    /// Features that the driver has chosen.
    pub driver_features: u64,
    /// Which half of the driver's features is written.
    pub driver_features_select: u32,
    /// Which queue is set up.
    pub queue_select: u32,
    /// Interrupts that the driver has not acknowledged.
    pub interrupt_status: u32,
    /// The queues.
    pub queues: [SavedQueue; QUEUES],
}

/// A snapshot has a queue that no driver could have set up in this memory.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot's virtqueue {index} is not in the guest's memory")]
pub struct RestoreError {
    /// Which one.
    pub index: usize,
}

impl Transport {
    /// A device after its reset. `interrupt` asserts its interrupt line, `kicks` are written when
    /// the driver notifies a queue; all are non-blocking. `link` hears of resets.
    #[must_use]
    pub fn new(
        memory: GuestMemoryMmap,
        interrupt: EventFd,
        kicks: [EventFd; QUEUES],
        link: Weak<Link>,
    ) -> Transport {
        Transport {
            memory,
            interrupt,
            interrupt_status: AtomicU32::new(0),
            kicks,
            link,
            registers: Mutex::default(),
        }
    }

    /// A device as it was saved. Interrupts and notifications that were under way then are
    /// repeated: none is lost, and one too many does no harm.
    ///
    /// # Errors
    /// [`RestoreError`] if a queue that was ready is not in `memory`.
    pub fn restore(
        memory: GuestMemoryMmap,
        interrupt: EventFd,
        kicks: [EventFd; QUEUES],
        link: Weak<Link>,
        state: &TransportState,
    ) -> Result<Transport, RestoreError> {
        let mut registers = Registers {
            status: state.status,
            device_features_select: state.device_features_select,
            driver_features: state.driver_features,
            driver_features_select: state.driver_features_select,
            queue_select: state.queue_select,
            slots: Default::default(),
        };
        let event_idx = registers.event_idx();
        for (index, (slot, saved)) in registers.slots.iter_mut().zip(&state.queues).enumerate() {
            (slot.size, slot.descriptors) = (saved.size, saved.descriptors);
            (slot.available, slot.used) = (saved.available, saved.used);
            if let Some(progress) = saved.progress {
                let queue = slot.make(&memory, event_idx, progress);
                slot.queue = Some(queue.ok_or(RestoreError { index })?);
            }
        }
        let mut transport = Transport::new(memory, interrupt, kicks, link);
        transport.registers = Mutex::new(registers);
        for kick in &transport.kicks {
            let _ = kick.write(1);
        }
        if state.interrupt_status != 0 {
            transport.raise(state.interrupt_status);
        }
        Ok(transport)
    }

    /// Everything of the device that the guest can tell. The vCPUs and the threads that move
    /// packets must be at rest.
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
            queues: registers.slots.each_ref().map(|slot| SavedQueue {
                size: slot.size,
                descriptors: slot.descriptors,
                available: slot.available,
                used: slot.used,
                progress: slot.queue.as_ref().map(|q| (q.next_avail(), q.next_used())),
            }),
        }
    }

    /// Runs work on a queue, if the driver is ready and the queue is. The work may interrupt, but
    /// not access registers.
    ///
    /// A driver that then has made more available than the queue holds is broken, and the device
    /// does nothing more until it is reset.
    pub fn with_queue<R>(
        &self,
        index: usize,
        work: impl FnOnce(&mut Queue, &GuestMemoryMmap) -> R,
    ) -> Option<R> {
        let mut registers = self.lock();
        if !registers.runs() {
            return None;
        }
        let queue = registers.slots.get_mut(index)?.queue.as_mut()?;
        let result = work(queue, &self.memory);
        if runs_away(queue, &self.memory) {
            registers.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
            self.raise(VIRTIO_MMIO_INT_CONFIG);
        }
        Some(result)
    }

    /// Tells the driver that buffers were used (section 4.2.2.5).
    pub fn interrupt(&self) {
        self.raise(VIRTIO_MMIO_INT_VRING);
    }

    /// A read at this offset. Registers are 32 bits wide, the configuration can be read in any
    /// width; all else reads as 0.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(from) = offset.checked_sub(u64::from(VIRTIO_MMIO_CONFIG)) {
            // struct virtio_vsock_config: the guest's CID (section 5.10.4).
            let config = GUEST_CID.to_le_bytes();
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            let config = config.get(from..).unwrap_or(&[]);
            data.iter_mut().zip(config).for_each(|(byte, &value)| *byte = value);
        } else if let (Some(register), 4) = (register(offset), data.len()) {
            data.copy_from_slice(&self.read_register(register).to_le_bytes());
        }
    }

    /// A write at this offset. Only whole registers can be written.
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
            VIRTIO_MMIO_DEVICE_FEATURES => half(FEATURES, registers.device_features_select),
            VIRTIO_MMIO_QUEUE_NUM_MAX => registers.slot().map_or(0, |_| QUEUE_SIZE.into()),
            VIRTIO_MMIO_QUEUE_READY => registers.slot().map_or(0, |s| s.queue.is_some().into()),
            VIRTIO_MMIO_STATUS => registers.status,
            // There is no shared memory region (section 4.2.2).
            VIRTIO_MMIO_SHM_LEN_LOW
            | VIRTIO_MMIO_SHM_LEN_HIGH
            | VIRTIO_MMIO_SHM_BASE_LOW
            | VIRTIO_MMIO_SHM_BASE_HIGH => u32::MAX,
            // The configuration never changes, so its generation, too, is 0.
            _ => 0,
        }
    }

    fn write_register(&self, register: u32, value: u32) {
        match register {
            VIRTIO_MMIO_QUEUE_NOTIFY => {
                // Mostly KVM does this by itself, as an ioeventfd.
                let kick = usize::try_from(value).ok().and_then(|index| self.kicks.get(index));
                if let Some(kick) = kick {
                    // Only fails when the counter is full, and then it is readable anyway.
                    let _ = kick.write(1);
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

    /// The driver resets the device (section 2.4). What it had sent before counts: a kernel that
    /// restarts resets its devices right after the last message, which the device's thread may not
    /// have seen yet.
    fn reset(&self) {
        let link = self.link.upgrade();
        if let Some(link) = &link {
            link.receive_last();
        }
        let mut registers = self.lock();
        *registers = Registers::default();
        self.interrupt_status.store(0, Ordering::SeqCst);
        // The link's lock comes before this one.
        drop(registers);
        if let Some(link) = &link {
            link.with(|device| device.reset_by_driver());
        }
    }

    /// The driver takes the chosen queue back (section 4.2.2.2).
    fn stop_queue(&self) {
        let is_tx = usize::try_from(self.lock().queue_select).is_ok_and(|index| index == TX);
        if is_tx && let Some(link) = self.link.upgrade() {
            link.receive_last();
        }
        if let Some(slot) = self.lock().slot() {
            slot.queue = None;
        }
    }

    /// Interrupts the driver for these reasons.
    fn raise(&self, reasons: u32) {
        self.interrupt_status.fetch_or(reasons, Ordering::SeqCst);
        // Only fails when the counter is full, and then the interrupt is pending anyway.
        let _ = self.interrupt.write(1);
    }

    fn lock(&self) -> MutexGuard<'_, Registers> {
        // A thread that panicked with the lock held left registers that are still well-formed.
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registers {
    /// A write of a register that needs nothing but the other registers.
    fn write(&mut self, register: u32, value: u32, memory: &GuestMemoryMmap) {
        let negotiates = self.has(VIRTIO_CONFIG_S_DRIVER) && !self.has(VIRTIO_CONFIG_S_FEATURES_OK);
        match register {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES if negotiates => {
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
                if let Some(slot) = self.slot_to_set_up() {
                    slot.write(register, value);
                }
            }
        }
    }

    /// The driver's progress (sections 2.1.1 and 3.1.1). Bits are never cleared but by a reset,
    /// and a step counts only after the one before it.
    fn write_status(&mut self, value: u32) {
        let new = value & DRIVER_BITS;
        if self.status & DRIVER_BITS & !new != 0 {
            return;
        }
        for step in STEPS {
            if new & step == 0 || step == VIRTIO_CONFIG_S_FEATURES_OK && !self.can_do() {
                break;
            }
            self.status |= step;
        }
        self.status |= new & VIRTIO_CONFIG_S_FAILED;
    }

    /// True if the driver has chosen features that the device can work with.
    fn can_do(&self) -> bool {
        self.driver_features & !FEATURES == 0 && self.driver_features & 1 << VIRTIO_F_VERSION_1 != 0
    }

    /// True while packets may move.
    fn runs(&self) -> bool {
        self.status
            & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED)
            == VIRTIO_CONFIG_S_DRIVER_OK
    }

    fn has(&self, bit: u32) -> bool {
        self.status & bit != 0
    }

    fn event_idx(&self) -> bool {
        self.driver_features & 1 << VIRTIO_RING_F_EVENT_IDX != 0
    }

    /// The queue that the driver has chosen.
    fn slot(&mut self) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(self.queue_select).ok()?)
    }

    /// The same, if it may be set up: after the features are settled, before the device runs
    /// (section 3.1.1), and not while it is ready (section 4.2.2.2).
    fn slot_to_set_up(&mut self) -> Option<&mut Slot> {
        let may = self.has(VIRTIO_CONFIG_S_FEATURES_OK) && !self.has(VIRTIO_CONFIG_S_DRIVER_OK);
        self.slot().filter(|slot| may && slot.queue.is_none())
    }

    /// Makes the chosen queue ready, if it may be set up now.
    fn start_queue(&mut self, memory: &GuestMemoryMmap) -> Result<(), Impossible> {
        let event_idx = self.event_idx();
        if let Some(slot) = self.slot_to_set_up() {
            slot.queue = Some(slot.make(memory, event_idx, (0, 0)).ok_or(Impossible)?);
        }
        Ok(())
    }
}

/// A queue that is not in the guest's memory, or of a size that there is not.
struct Impossible;

impl Default for Slot {
    fn default() -> Slot {
        Slot { size: QUEUE_SIZE.into(), descriptors: 0, available: 0, used: 0, queue: None }
    }
}

impl Slot {
    fn write(&mut self, register: u32, value: u32) {
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

    /// The queue that these values describe, if it can be: of a size that there is, aligned
    /// (section 2.7) and in the guest's memory.
    fn make(
        &self,
        memory: &GuestMemoryMmap,
        event_idx: bool,
        (next_avail, next_used): (u16, u16),
    ) -> Option<Queue> {
        let state = QueueState {
            max_size: QUEUE_SIZE,
            next_avail,
            next_used,
            event_idx_enabled: event_idx,
            size: u16::try_from(self.size).ok()?,
            ready: true,
            desc_table: self.descriptors,
            avail_ring: self.available,
            used_ring: self.used,
        };
        Queue::try_from(state).ok().filter(|queue| queue.is_valid(memory))
    }
}

/// True if the driver's available index is further ahead than the queue is long.
fn runs_away(queue: &Queue, memory: &GuestMemoryMmap) -> bool {
    let ahead = queue.avail_idx(memory, Ordering::Relaxed).map(|index| index.0);
    ahead.map_or(true, |index| index.wrapping_sub(queue.next_avail()) > queue.size())
}

/// The register at an offset, if one begins there.
fn register(offset: u64) -> Option<u32> {
    u32::try_from(offset).ok().filter(|offset| offset % 4 == 0)
}

/// The half of a value that a selector chooses; there are only two.
fn half(value: u64, select: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    match select {
        0 => u32::from_le_bytes([a, b, c, d]),
        1 => u32::from_le_bytes([e, f, g, h]),
        _ => 0,
    }
}

/// Replaces a half of a value.
fn set_half(value: &mut u64, select: u32, new: u32) {
    let (low, high) = (half(*value, 0), half(*value, 1));
    match select {
        0 => *value = u64::from(high) << 32 | u64::from(new),
        1 => *value = u64::from(new) << 32 | u64::from(low),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
