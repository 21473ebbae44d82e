// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A task of a random walk, and the step that each thread has in progress, for the signal handlers.
//!
//! Threads that run side by side ([`Operation::SideBySide`](super::operations::Operation::SideBySide)) are called
//! lanes.

use super::operations::{MAX_LANES, Step};
use crate::rseq::RseqArea;
use crate::sys;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

/// The function that executes steps in a task. Steps start tasks, which execute steps.
pub(super) type RunSteps = fn(&[Step], Task<'_>);

/// The task that executes steps.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    /// Whether the task is traced.
    pub(super) is_tracee: bool,
    /// See [`Call::permitted`](super::operations::Call::permitted).
    pub(super) may_exec: bool,
    /// The task's registered rseq(2) area.
    pub(super) rseq: &'a RseqArea,
    pub(super) run_steps: RunSteps,
}

/// A step in progress, for the signal handlers.
pub(super) struct StepInProgress<'a> {
    pub(super) step: &'a Step,
    pub(super) task: Task<'a>,
    /// The number of SIGSYS that the step's call has caused.
    pub(super) signals: AtomicU32,
    /// The number of context switches at the start of the call's critical section; `None` without one.
    pub(super) switches_before: Option<i64>,
}

/// The holder of a step in progress, for the signal handlers.
pub(super) type StepHolder = AtomicPtr<StepInProgress<'static>>;

/// The step whose call is in progress while no threads run side by side, for the handler of SIGSYS.
static STEP_OF_CALL: StepHolder = AtomicPtr::new(std::ptr::null_mut());
/// The step that raises SIGUSR1, for the handler of SIGUSR1.
pub(super) static STEP_OF_SIGUSR1: StepHolder = AtomicPtr::new(std::ptr::null_mut());

/// The ids of threads that run side by side; 0 for none.
pub(super) static LANE_IDS: [AtomicI32; MAX_LANES] = [const { AtomicI32::new(0) }; MAX_LANES];
/// The steps whose calls are in progress in these threads.
static LANE_STEPS: [StepHolder; MAX_LANES] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; MAX_LANES];
/// The number of threads that have reached [`await_start`].
pub(super) static STARTED: AtomicU32 = AtomicU32::new(0);

/// The holder of the step whose call is in progress in this thread.
pub(super) fn step_of_call() -> &'static StepHolder {
    if LANE_IDS.iter().all(|id| id.load(Ordering::SeqCst) == 0) {
        return &STEP_OF_CALL;
    }
    let own = sys::gettid();
    let lane = LANE_IDS.iter().position(|id| id.load(Ordering::SeqCst) == own);
    lane.map_or(&STEP_OF_CALL, |lane| &LANE_STEPS[lane])
}

/// Waits in a thread until all threads side by side have started. `lanes` is their number.
pub(super) fn await_start(lane: usize, lanes: u32) {
    LANE_IDS[lane].store(sys::gettid(), Ordering::SeqCst);
    STARTED.fetch_add(1, Ordering::SeqCst);
    while STARTED.load(Ordering::SeqCst) < lanes {
        sys::sched_yield();
    }
}
