// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The memory in which all processes of a sequence record the observed events.

use super::event::{Event, EventKind};
use crate::sys::{self, WaitStatus};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

/// Maximum number of events that are recorded. Generated sequences have far fewer.
const MAX_EVENTS: usize = 1024;

/// The memory of an event.
#[repr(C)]
struct EventSlot {
    /// 1 when the event is written completely.
    complete: AtomicU32,
    event: UnsafeCell<Event>,
}

/// The memory that all processes of a sequence share, zeroed before each sequence.
#[repr(C)]
pub(super) struct EventLog {
    count: AtomicU32,
    /// 1 when the tracer has seized the task that waits for it.
    pub(super) is_seized: AtomicU32,
    /// The number of tasks that have begun to record their code.
    pub(super) recorded_tasks: AtomicU32,
    /// The error number of a task that could not begin; 0 for none.
    pub(super) recording_error: AtomicI32,
    /// The configuration that a traced task asks its tracer to set: mode, offset, length, selector.
    pub(super) requested_configuration: UnsafeCell<[u64; 4]>,
    slots: [EventSlot; MAX_EVENTS],
}

/// The address of the events, which [`map_event_log`] maps.
static EVENT_LOG: AtomicPtr<EventLog> = AtomicPtr::new(std::ptr::null_mut());

/// Maps the memory for the events.
pub(super) fn map_event_log() -> sys::Result<()> {
    if EVENT_LOG.load(Ordering::SeqCst).is_null() {
        EVENT_LOG.store(sys::map_shared(size_of::<EventLog>())?.cast(), Ordering::SeqCst);
    }
    Ok(())
}

/// The memory for the events.
pub(super) fn event_log() -> &'static EventLog {
    // SAFETY: `map_event_log` maps it before any sequence. Zeros are valid in all fields that are
    // read before they are written, and an event is read only when it is complete.
    unsafe { &*EVENT_LOG.load(Ordering::SeqCst) }
}

/// Removes all events. No sequence may be running.
pub(super) fn clear() {
    // SAFETY: no other process uses the memory now, and zeros are valid.
    unsafe { EVENT_LOG.load(Ordering::SeqCst).cast::<u8>().write_bytes(0, size_of::<EventLog>()) };
}

/// Records an event of a step.
pub(super) fn record(step: u16, kind: EventKind) {
    let slot = event_log().count.fetch_add(1, Ordering::SeqCst) as usize;
    if let Some(slot) = event_log().slots.get(slot) {
        // SAFETY: the counter gives each slot to one task only.
        unsafe { *slot.event.get() = Event { step, kind } };
        slot.complete.store(1, Ordering::SeqCst);
    }
}

/// Records the umask of a process at its end, and returns the process's exit code.
pub(super) fn record_final_umask(step: u16) -> i32 {
    // SAFETY: touches no memory.
    match unsafe { sys::call(libc::SYS_umask, &[0]) } {
        Ok(mask) => record(step, EventKind::FinalUmask(mask)),
        Err(error) => record(step, EventKind::OwnCallFailed(error.0)),
    }
    0
}

/// Records the end, or the stop, of a child that a step has started.
pub(super) fn record_end(step: u16, change: WaitStatus) {
    record(
        step,
        match change {
            WaitStatus::Exited(code) => EventKind::Exited(code),
            WaitStatus::Killed { signal, .. } => EventKind::Killed(signal),
            WaitStatus::Stopped(signal) => EventKind::Stopped(signal),
        },
    );
}

/// The recorded events in order, without those that a killed task did not write completely.
pub(super) fn events() -> Vec<Event> {
    let recorded = (event_log().count.load(Ordering::SeqCst) as usize).min(MAX_EVENTS);
    let complete = event_log().slots[..recorded]
        .iter()
        .filter(|slot| slot.complete.load(Ordering::SeqCst) == 1);
    // SAFETY: the events are complete, and all writers have ended.
    complete.map(|slot| unsafe { *slot.event.get() }).collect()
}
