// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state that the task, its tracer and its parent share. The task runs points; the state holds the
//! observations, and words by which the three synchronise.

use super::memory::{Memory, Platform};
use super::observation::Observation;
use crate::case::Failure;
use crate::support::{PAGE_SIZE, broken};
use crate::sys;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// Maximum number of recorded observations of a point.
const MAX_OBSERVATIONS: usize = 48;

/// Maximum number of points that one task runs.
pub(super) const MAX_POINTS: usize = 64;

/// The observations of one point.
#[repr(C)]
pub(super) struct Record {
    pub(super) count: AtomicU32,
    /// 1 if the task has completed the point and is still alive.
    pub(super) is_complete: AtomicU32,
    observations: [UnsafeCell<Observation>; MAX_OBSERVATIONS],
}

/// Memory that a task, its tracer and its parent share.
#[repr(C)]
pub(super) struct SharedState {
    /// The words to which getresuid(2) writes the user ids.
    pub(super) written_ids: [AtomicU32; 4],
    /// The index of the current point.
    pub(super) current_point: AtomicU32,
    /// 1 while the tracer is to record observations.
    pub(super) is_recording: AtomicU32,
    /// The id of the thread that waits for its tracer; 0 until that thread exists.
    pub(super) traced_thread_id: AtomicU32,
    /// 1 when the tracer is attached.
    pub(super) is_tracer_attached: AtomicU32,
    /// 1 when the tracer has reaped the thread. Until then the first thread must not exit the process,
    /// since the exit code of the process would replace that of the thread.
    pub(super) is_thread_reaped: AtomicU32,
    /// 0 when the thread has ended.
    pub(super) is_thread_alive: AtomicU32,
    pub(super) records: [Record; MAX_POINTS],
    /// The observations of the control calls: one call in the task before its first point, and one in the
    /// task's parent after the last point.
    pub(super) control: Record,
}

static SHARED: AtomicPtr<SharedState> = AtomicPtr::new(std::ptr::null_mut());
static MEMORY: AtomicPtr<Memory> = AtomicPtr::new(std::ptr::null_mut());
/// Whether observations now belong to a control call.
pub(super) static IN_CONTROL_CALL: AtomicBool = AtomicBool::new(false);

/// The shared state.
pub(super) fn shared_state() -> &'static SharedState {
    // SAFETY: `prepare` mapped the memory. Zero bytes are valid for the atomics, and an observation is read
    // only after it was written.
    unsafe { &*SHARED.load(Ordering::SeqCst) }
}

/// The selectors, stacks and code that the points use.
pub(super) fn memory() -> &'static Memory {
    // SAFETY: `prepare` made the memory, which is never freed.
    unsafe { &*MEMORY.load(Ordering::SeqCst) }
}

/// Maps the shared state and the memory for points. `handlers` are the addresses of the two handlers
/// of SIGSYS.
pub(super) fn prepare(platform: Platform, handlers: [u64; 2]) -> Result<(), Failure> {
    let length = size_of::<SharedState>().next_multiple_of(PAGE_SIZE);
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let shared = sys::map_at(0x2000_0000, length, flags, -1).map_err(broken("mmap"))?;
    if shared as u64 >> 32 != 0 {
        return Err(Failure::Broken("no memory below 4 GiB".into()));
    }
    SHARED.store(shared.cast(), Ordering::SeqCst);
    let memory = Memory::new(platform, shared as u64, handlers)?;
    MEMORY.store(Box::into_raw(Box::new(memory)), Ordering::SeqCst);
    Ok(())
}

impl SharedState {
    /// Clears the records of `points` points, the control record, and the words but for the thread's life
    /// and the user ids, which each point sets itself.
    pub(super) fn clear(&self, points: usize) {
        for record in self.records[..points].iter().chain([&self.control]) {
            record.count.store(0, Ordering::SeqCst);
            record.is_complete.store(0, Ordering::SeqCst);
        }
        let words = [
            &self.current_point,
            &self.is_recording,
            &self.traced_thread_id,
            &self.is_tracer_attached,
            &self.is_thread_reaped,
        ];
        for word in words {
            word.store(0, Ordering::SeqCst);
        }
    }

    /// The index of the current point.
    pub(super) fn current_index(&self) -> usize {
        self.current_point.load(Ordering::SeqCst) as usize % MAX_POINTS
    }

    /// The record of the current control call or point.
    fn current_record(&self) -> &Record {
        if IN_CONTROL_CALL.load(Ordering::SeqCst) {
            return &self.control;
        }
        &self.records[self.current_index()]
    }
}

/// Records an observation. Observations of a point beyond [`MAX_OBSERVATIONS`] are dropped.
pub(super) fn observe(observation: Observation) {
    let record = shared_state().current_record();
    let index = record.count.fetch_add(1, Ordering::SeqCst) as usize;
    if let Some(slot) = record.observations.get(index) {
        // SAFETY: the counter returns each index once.
        unsafe { *slot.get() = observation };
    }
}

impl Record {
    /// The recorded observations. All tasks that write them must have stopped or ended.
    pub(super) fn observations(&self) -> Vec<Observation> {
        let count = (self.count.load(Ordering::SeqCst) as usize).min(MAX_OBSERVATIONS);
        // SAFETY: nothing writes them any more.
        self.observations[..count].iter().map(|slot| unsafe { *slot.get() }).collect()
    }
}

/// Sleeps while a word has this value. May return early.
pub(super) fn wait_while(word: &AtomicU32, value: u32) {
    let address = word.as_ptr() as u64;
    // SAFETY: reads the word, which is live.
    let _ = unsafe {
        sys::call(
            libc::SYS_futex,
            &[address, libc::FUTEX_WAIT.cast_unsigned().into(), value.into(), 0],
        )
    };
}

/// Sets a word and wakes a task that waits for it.
pub(super) fn store_and_wake(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::SeqCst);
    let address = word.as_ptr() as u64;
    // SAFETY: wakes sleepers only.
    let _ = unsafe {
        sys::call(libc::SYS_futex, &[address, libc::FUTEX_WAKE.cast_unsigned().into(), 1, 0])
    };
}
