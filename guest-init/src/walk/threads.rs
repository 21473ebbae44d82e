// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Starts the threads that run side by side.

use super::operations::{MAX_LANES, Step, lane_steps};
use super::task::{LANE_IDS, RunSteps, STARTED};
use super::tasks::ThreadBody;
use crate::sys;
use std::sync::atomic::Ordering;

/// Executes each of these steps in a thread of its own, and waits for the ends of the threads.
pub(super) fn run_side_by_side(body: &[Step], run_steps: RunSteps) -> sys::Result<()> {
    let count = body.len().min(MAX_LANES);
    let lanes = u32::try_from(count).unwrap_or(0);
    STARTED.store(0, Ordering::SeqCst);
    let threads: [ThreadBody<'_>; MAX_LANES] = std::array::from_fn(|lane| {
        let steps = body.get(lane).map_or(&[][..], lane_steps);
        ThreadBody::new(steps, Some((lane, lanes)), run_steps)
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
