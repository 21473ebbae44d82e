// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Conservation: a workload that runs many times must leave the counters of the process and the kernel
//! as they were, and must not change processes that take no part in the workload.

mod counters;
mod workloads;

use crate::arch;
use crate::case::{Case, Check, Failure, Need, Run, case};
use crate::compare::{self, Record};
use crate::support::*;
use crate::{probe, ptrace, sys};
use counters::Counters;
use std::time::Duration;
use sudbox_protocol::Feature;

/// An operation that must use up no resources of the process and the kernel when it runs many times.
struct Workload {
    /// The id of the workload's case.
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    features: &'static [Feature],
    /// The number of repetitions in a round.
    repetitions: u32,
    /// Runs the operation this number of times.
    repeat: fn(u32) -> Check,
}

const NEEDS_DISPATCH: &[Feature] = &[Feature::Dispatch];

const fn workload(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    repetitions: u32,
    repeat: fn(u32) -> Check,
) -> Workload {
    let features = NEEDS_DISPATCH;
    Workload { id, promise, kernel_function, features, repetitions, repeat }
}

/// All workloads.
const WORKLOADS: &[Workload] = &[
    workload(
        "conserve/dispatches",
        "a thousand dispatches use up no resources",
        "force_sig_info_to_task()",
        1000,
        workloads::handled_dispatches,
    ),
    workload(
        "conserve/nested-dispatches",
        "dispatches in handlers use up no resources",
        "force_sig_info_to_task()",
        100,
        workloads::nested_dispatches,
    ),
    workload(
        "conserve/allowed",
        "calls that the range or the selector allows use up no resources",
        "syscall_user_dispatch()",
        500,
        workloads::allowed_calls,
    ),
    workload(
        "conserve/arming",
        "arming, arming again, disarming and refused configurations use up no resources",
        "task_set_syscall_user_dispatch()",
        200,
        workloads::arming,
    ),
    workload(
        "conserve/disarming-again",
        "disarming a task that is not armed uses up no resources",
        "task_set_syscall_user_dispatch()",
        6000,
        workloads::disarming_again,
    ),
    Workload {
        features: &[Feature::Dispatch, Feature::PtraceConfig],
        ..workload(
            "conserve/sets-by-tracer",
            "a tracer's requests to read and set the configuration use up no resources",
            "syscall_user_dispatch_set_config()",
            200,
            workloads::tracer_configurations,
        )
    },
    workload(
        "conserve/traced-dispatches",
        "dispatches whose signal a tracer delivers use up no resources",
        "ptrace_signal()",
        50,
        workloads::delivered_dispatches,
    ),
    workload(
        "conserve/suppressed-dispatches",
        "dispatches whose signal a tracer suppresses use up no resources",
        "ptrace_signal()",
        50,
        workloads::suppressed_dispatches,
    ),
    workload(
        "conserve/kills-by-value",
        "processes that die by a selector that is neither ALLOW nor BLOCK use up no resources",
        "force_exit_sig()",
        48,
        workloads::deaths_by_selector_value,
    ),
    workload(
        "conserve/kills-by-memory",
        "processes that die by a selector that cannot be read use up no resources",
        "force_exit_sig()",
        48,
        workloads::deaths_by_unreadable_selector,
    ),
    workload(
        "conserve/kills-by-signal",
        "processes that die by a dispatch whose SIGSYS is blocked, ignored or not handled use up no resources",
        "force_sig_info_to_task()",
        48,
        workloads::deaths_by_unhandled_sigsys,
    ),
    workload(
        "conserve/kills-of-threads",
        "processes with threads that die by their selector use up no resources",
        "zap_other_threads()",
        10,
        workloads::deaths_of_threads,
    ),
    workload(
        "conserve/forks",
        "children of an armed process that arm and whose calls are dispatched use up no resources",
        "dup_task_struct()",
        16,
        workloads::forks,
    ),
    workload(
        "conserve/threads",
        "threads of an armed process that arm and whose calls are dispatched use up no resources",
        "dup_task_struct()",
        32,
        workloads::threads,
    ),
    Workload {
        features: &[Feature::Dispatch, Feature::SeccompFilter],
        ..workload(
            "conserve/synchronized-filters",
            "filters for all threads of an armed process, each in place of an earlier one, use up no resources",
            "seccomp_sync_threads()",
            100,
            workloads::synchronized_filters,
        )
    },
    workload(
        "conserve/execs",
        "armed processes that execute another program use up no resources",
        "begin_new_exec()",
        16,
        workloads::execs,
    ),
    workload(
        "conserve/failed-execs",
        "failing execs of an armed process use up no resources",
        "bprm_execve()",
        100,
        workloads::failed_execs,
    ),
];

/// The cases, one for each workload.
pub(crate) const CASES: &[Case] = &{
    let mut cases = [case("", "", "", placeholder_check); WORKLOADS.len()];
    let mut index = 0;
    while index < WORKLOADS.len() {
        let workload = &WORKLOADS[index];
        cases[index] = Case {
            id: workload.id,
            promise: workload.promise,
            kernel_function: workload.kernel_function,
            features: workload.features,
            needs: &[Need::Root, Need::Vm],
            is_in_core: false,
            run: Run::Conserve(index),
            ..cases[index]
        };
        index += 1;
    }
    cases
};

/// The check of the placeholders that the loop of [`CASES`] replaces.
fn placeholder_check() -> Check {
    Ok(())
}

/// Tracees that stay stopped while the workload runs.
struct IdleTracees {
    pids: Vec<i32>,
}

impl IdleTracees {
    /// Starts two tracees. The first is armed, with a configuration that no workload uses; the second is not
    /// armed.
    fn start() -> Result<IdleTracees, Failure> {
        let mut pids = Vec::new();
        for must_arm in [true, false] {
            let pid = spawn_child(|| {
                let _ = ptrace::trace_me();
                const OFFSET: u64 = 0x1234_5678;
                const LENGTH: u64 = 0x9abc;
                let selector = selector_address(&SELECTOR);
                if must_arm && sys::set_dispatch(MODE_EXCLUSIVE, OFFSET, LENGTH, selector).is_err()
                {
                    return SETUP_FAILED;
                }
                let _ = sys::kill(sys::getpid(), libc::SIGSTOP);
                set_selector(BLOCK);
                let _ = sys::getpid();
                0
            })?;
            let status = wait_for_change(pid)?;
            expect_equal("an idle process", status, sys::WaitStatus::Stopped(libc::SIGSTOP))?;
            ptrace::set_options(pid).map_err(refused_request("PTRACE_SETOPTIONS"))?;
            pids.push(pid);
        }
        Ok(IdleTracees { pids })
    }

    /// Records all state of the tracees that the tracer can read.
    fn record(&self, record: &Record) {
        for (pid, name) in self.pids.iter().zip(["armed", "not armed"]) {
            compare::record_stopped(record, name, *pid);
        }
    }

    /// Resumes each tracee for one call, which must be dispatched in the armed tracee and executed in the
    /// other. Kills and reaps both.
    fn check_call_and_kill(self) -> Check {
        let dispatched = sys::WaitStatus::Stopped(libc::SIGSYS);
        for (pid, expected) in self.pids.into_iter().zip([dispatched, sys::WaitStatus::Exited(0)]) {
            ptrace::request(pid, libc::PTRACE_CONT, 0, 0)
                .map_err(refused_request("PTRACE_CONT"))?;
            let status = wait_for_change(pid)?;
            if matches!(status, sys::WaitStatus::Stopped(_)) {
                let _ = sys::kill(pid, libc::SIGKILL);
                wait_for_change(pid)?;
            }
            expect_equal("a call of an idle process", status, expected)?;
        }
        Ok(())
    }
}

/// Maximum number of further reads of counters that grew, since the kernel frees some memory later.
const COUNTER_READS: usize = 40;
/// The time between two such reads.
const COUNTER_READ_INTERVAL: Duration = Duration::from_millis(5);

/// Number of rounds in which a counter must grow to be reported. A leak makes the counter grow in each
/// round; the kernel's caches, per CPU and per slab, grow only until they are full.
const ROUNDS: usize = 5;

/// Runs the workload with this index: first a few repetitions, which fill caches, then up to [`ROUNDS`]
/// rounds. Reads the counters before and after each round. Fails if a counter grew in every round.
pub(crate) fn check(index: usize) -> Check {
    let workload = &WORKLOADS[index];
    if let Some(need) = probe::environment().first_unmet(arch::WATCH_NEEDS) {
        return Err(Failure::Unmet(need.to_string()));
    }
    // The case runs on CPU 0, so that only the caches of one CPU affect the counters.
    let cpu_mask = [1u64; 1];
    // SAFETY: reads the mask.
    unsafe { sys::call(libc::SYS_sched_setaffinity, &[0, 8, cpu_mask.as_ptr() as u64]) }
        .map_err(broken("sched_setaffinity"))?;
    let idle = IdleTracees::start()?;
    let [before, after] = [Record::new()?, Record::new()?];
    (workload.repeat)(workload.repetitions / 8 + 1)?;
    idle.record(&before);
    // The counters that grew in every round so far.
    let mut growing = grown_in_round(workload)?;
    for _ in 1..ROUNDS {
        if growing.is_empty() {
            break;
        }
        let grown_again = grown_in_round(workload)?;
        growing.retain(|(name, ..)| grown_again.iter().any(|(grown, ..)| grown == name));
    }
    before.export(workload.id, "")?;
    if let Some((name, earlier, value)) = growing.first() {
        return Err(mismatch(
            format!("{name} after {} repetitions: {earlier}", workload.repetitions),
            format!("{name}: {value}, and more in each round; {} counters grew", growing.len()),
        ));
    }
    idle.record(&after);
    compare::expect_same(workload.id, &before, &after)?;
    idle.check_call_and_kill()
}

/// Runs one round of a workload. Returns the counters that grew by more than is allowed and did not shrink
/// again: name, earlier value, value.
fn grown_in_round(workload: &Workload) -> Result<Vec<(String, i64, i64)>, Failure> {
    let start = Counters::read()?;
    (workload.repeat)(workload.repetitions)?;
    let mut grown = Counters::read()?.grown_since(&start);
    for _ in 0..COUNTER_READS {
        if grown.is_empty() {
            break;
        }
        sys::sleep(COUNTER_READ_INTERVAL);
        grown = Counters::read()?.grown_since(&start);
    }
    Ok(grown)
}
