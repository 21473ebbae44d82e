// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Threads beside a thread that arms, disarms or installs filters: each thread has its own dispatch.

use super::seccomp::{filter_umask, filter_umask_with};
use crate::arch;
use crate::case::{Case, Check, case_not_in_core};
use crate::support::*;
use crate::sys;
use std::sync::atomic::{AtomicU8, Ordering};
use sudbox_protocol::Feature;

pub(super) const CASES: &[Case] = &[case_not_in_core(
    "inheritance/siblings-kept",
    "whatever dispatch configuration or filters one thread sets, an armed sibling keeps its configuration, \
     and a sibling that is not armed stays so",
    "seccomp_sync_threads()",
    siblings_kept,
)
.features(&[Feature::Dispatch, Feature::SeccompFilter])];

/// An operation of the first thread: its name, and a function that returns whether the operation had the
/// expected result.
type Operation = (&'static str, fn() -> bool);

const OPERATIONS: [Operation; 8] = [
    ("nothing", || true),
    ("arming", || arm().is_ok()),
    ("arming again", || arm().is_ok()),
    ("a refused setting", || expect_refused(MODE_EXCLUSIVE + 7, 0, 0, 0, libc::EINVAL).is_ok()),
    ("a filter", || filter_umask(libc::SECCOMP_RET_ALLOW).is_ok()),
    ("a filter for all threads while armed", install_filter_in_all_threads),
    ("disarming", || disarm().is_ok()),
    ("a filter for all threads while not armed", install_filter_in_all_threads),
];

/// Installs a filter in all threads, and returns whether the kernel accepted it.
fn install_filter_in_all_threads() -> bool {
    filter_umask_with(libc::SECCOMP_RET_ALLOW, libc::SECCOMP_FILTER_FLAG_TSYNC) == Ok(0)
}

/// The selector of the armed sibling.
static SIBLING_SELECTOR: AtomicU8 = AtomicU8::new(ALLOW);

/// The index of the shared word with the sibling that must issue a call: twice the round, from 1 on, plus the
/// index of the sibling.
const TURN: usize = 0;
/// The indices of the shared words with the results of the siblings' calls: of the sibling that is not armed,
/// then of the armed sibling. A result is the round, with the bits [`EXECUTED`] and [`DISPATCHED`].
const SIBLING_RESULTS: [usize; 2] = [1, 2];
/// The bit of a result that is set if the call was executed.
const EXECUTED: u64 = 1 << 32;
/// The bit of a result that is set if the call was dispatched.
const DISPATCHED: u64 = 1 << 33;

/// A sibling that issues a call in each round. `index` is the index of its result in [`SIBLING_RESULTS`].
extern "C" fn run_sibling(index: u64) -> u64 {
    let result_word = SIBLING_RESULTS[usize::from(index == 1)];
    if index == 1 && arm_with_selector(selector_address(&SIBLING_SELECTOR)).is_err() {
        return 0;
    }
    let mut round = 1;
    loop {
        // The siblings take turns, because the umask and the count of SIGSYS are those of the process.
        await_shared_word(TURN, 2 * round + index);
        let before = dispatch_count();
        let call = fresh_umask_call();
        let _ = arch::gate().issue(&call);
        let executed = if take_umask_effect() { EXECUTED } else { 0 };
        let dispatched = if dispatch_count() == before { 0 } else { DISPATCHED };
        set_shared_word(result_word, round | executed | dispatched);
        round += 1;
    }
}

fn siblings_kept() -> Check {
    handle_dispatches(do_nothing)?;
    for index in [0, 1] {
        spawn_thread(run_sibling, index)?;
    }
    for (round, (name, operation)) in (1..).zip(OPERATIONS) {
        set_selector(ALLOW);
        ensure(operation(), &format!("{name} succeeds"), || "it failed".into())?;
        // Calls of a sibling that uses this thread's configuration would be dispatched.
        set_selector(BLOCK);
        SIBLING_SELECTOR.store(BLOCK, Ordering::SeqCst);
        for (index, (state, expected)) in
            [("not armed", EXECUTED), ("armed", DISPATCHED)].into_iter().enumerate()
        {
            set_shared_word(TURN, 2 * round + index as u64);
            while shared_word(SIBLING_RESULTS[index]) & (EXECUTED - 1) != round {
                sys::sched_yield();
            }
            let outcome = shared_word(SIBLING_RESULTS[index]) & !(EXECUTED - 1);
            let describe = |outcome: u64| match outcome {
                EXECUTED => "executed",
                DISPATCHED => "dispatched",
                0 => "neither executed nor dispatched",
                _ => "executed and dispatched",
            };
            let description = describe(expected);
            ensure(
                outcome == expected,
                &format!("after {name}, a call of the sibling that is {state}: {description}"),
                || describe(outcome).to_owned(),
            )?;
        }
    }
    set_selector(ALLOW);
    Ok(())
}
