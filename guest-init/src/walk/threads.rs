// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The threads that run side by side ([`Operation::SideBySide`](super::operations::Operation::SideBySide)), called
//! lanes, and the step that each of them has in progress.

use super::execute::StepInProgress;
use super::operations::Step;
use super::side_by_side::lane_steps;
use super::tasks::ThreadBody;
use crate::sys;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

/// Maximum number of threads side by side.
pub(super) const MAX_LANES: usize = 3;

/// The holder of a step in progress, for the signal handlers.
pub(super) type StepHolder = AtomicPtr<StepInProgress<'static>>;

/// The step whose call is in progress while no threads run side by side, for the handler of SIGSYS.
static STEP_OF_CALL: StepHolder = AtomicPtr::new(std::ptr::null_mut());
/// The step that raises SIGUSR1, for the handler of SIGUSR1.
pub(super) static STEP_OF_SIGUSR1: StepHolder = AtomicPtr::new(std::ptr::null_mut());

/// The ids of threads that run side by side; 0 for none.
static LANE_IDS: [AtomicI32; MAX_LANES] = [const { AtomicI32::new(0) }; MAX_LANES];
/// The steps whose calls are in progress in these threads.
static LANE_STEPS: [StepHolder; MAX_LANES] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; MAX_LANES];
/// The number of threads that have reached [`await_start`].
static STARTED: AtomicU32 = AtomicU32::new(0);

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

/// Executes each of these steps in a thread of its own, and waits for the ends of the threads.
pub(super) fn run_side_by_side(body: &[Step]) -> sys::Result<()> {
    let count = body.len().min(MAX_LANES);
    let lanes = u32::try_from(count).unwrap_or(0);
    STARTED.store(0, Ordering::SeqCst);
    let threads: [ThreadBody<'_>; MAX_LANES] = std::array::from_fn(|lane| {
        let steps = body.get(lane).map_or(&[][..], lane_steps);
        ThreadBody::new(steps, Some((lane, lanes)))
    });
    let mut result = Ok(());
    for (lane, thread) in threads[..count].iter().enumerate() {
        if let Err(error) = thread.start() {
            // The started threads must not wait for those that were not started.
            STARTED.fetch_add(lanes - u32::try_from(lane).unwrap_or(0), Ordering::SeqCst);
            result = Err(error);
            break;
        }
    }
    for thread in &threads[..count] {
        thread.join();
    }
    for id in &LANE_IDS {
        id.store(0, Ordering::SeqCst);
    }
    result
}
