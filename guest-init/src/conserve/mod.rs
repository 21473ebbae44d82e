// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is done many times leaves every counter where it was, and who did nothing as they were.

mod counters;
mod deeds;

use crate::arch;
use crate::case::{Case, Check, Failure, Need, Run, case};
use crate::compare::{self, Record};
use crate::support::*;
use crate::{probe, ptrace, sys};
use counters::Counters;
use std::time::Duration;
use sudbox_protocol::Feature;

/// Something that is done many times.
struct Deed {
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    features: &'static [Feature],
    count: u32,
    run: fn(u32) -> Check,
}

const DISPATCH: &[Feature] = &[Feature::Dispatch];

const fn deed(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    count: u32,
    run: fn(u32) -> Check,
) -> Deed {
    Deed { id, promise, kernel_function, features: DISPATCH, count, run }
}

/// Every deed.
const DEEDS: &[Deed] = &[
    deed(
        "conserve/dispatches",
        "a thousand dispatches use up nothing",
        "force_sig_info_to_task()",
        1000,
        deeds::dispatches,
    ),
    deed(
        "conserve/nested-dispatches",
        "dispatches in handlers use up nothing",
        "force_sig_info_to_task()",
        100,
        deeds::nested,
    ),
    deed(
        "conserve/allowed",
        "allowed calls, by range and by selector, use up nothing",
        "syscall_user_dispatch()",
        500,
        deeds::allowed,
    ),
    deed(
        "conserve/arming",
        "arming, arming anew, disarming and being refused use up nothing",
        "task_set_syscall_user_dispatch()",
        200,
        deeds::arming,
    ),
    Deed {
        features: &[Feature::Dispatch, Feature::PtraceConfig],
        ..deed(
            "conserve/sets-by-tracer",
            "a tracer's reads and writes of the configuration use up nothing",
            "syscall_user_dispatch_set_config()",
            200,
            deeds::sets_by_tracer,
        )
    },
    deed(
        "conserve/traced-dispatches",
        "dispatches of which a tracer is told use up nothing",
        "ptrace_signal()",
        50,
        deeds::traced,
    ),
    deed(
        "conserve/suppressed-dispatches",
        "dispatches whose signal a tracer keeps use up nothing",
        "ptrace_signal()",
        50,
        deeds::suppressed,
    ),
    deed(
        "conserve/kills-by-value",
        "deaths by a selector that is neither ALLOW nor BLOCK use up nothing",
        "force_exit_sig()",
        48,
        deeds::kills_by_value,
    ),
    deed(
        "conserve/kills-by-memory",
        "deaths by a selector that cannot be read use up nothing",
        "force_exit_sig()",
        48,
        deeds::kills_by_memory,
    ),
    deed(
        "conserve/kills-by-signal",
        "deaths by a dispatch that is blocked, ignored or not handled use up nothing",
        "force_sig_info_to_task()",
        48,
        deeds::kills_by_signal,
    ),
    deed(
        "conserve/kills-of-threads",
        "deaths of processes with threads use up nothing",
        "zap_other_threads()",
        10,
        deeds::kills_of_threads,
    ),
    deed(
        "conserve/forks",
        "children of an armed process that arm and dispatch use up nothing",
        "dup_task_struct()",
        16,
        deeds::forks,
    ),
    deed(
        "conserve/threads",
        "threads of an armed process that arm and dispatch use up nothing",
        "dup_task_struct()",
        32,
        deeds::threads,
    ),
    deed(
        "conserve/execs",
        "armed processes that execute another program use up nothing",
        "begin_new_exec()",
        16,
        deeds::execs,
    ),
    deed(
        "conserve/failed-execs",
        "execs of an armed process that fail use up nothing",
        "bprm_execve()",
        100,
        deeds::failed_execs,
    ),
];

/// The cases, one for each deed.
pub(crate) const CASES: &[Case] = &{
    let mut cases = [case("", "", "", nothing); DEEDS.len()];
    let mut at = 0;
    while at < DEEDS.len() {
        let deed = &DEEDS[at];
        cases[at] = Case {
            id: deed.id,
            promise: deed.promise,
            kernel_function: deed.kernel_function,
            features: deed.features,
            needs: &[Need::Root, Need::Vm],
            core: false,
            run: Run::Conserve(at),
            ..cases[at]
        };
        at += 1;
    }
    cases
};

fn nothing() -> Check {
    Ok(())
}

/// Processes that do nothing meanwhile, stopped by their tracer.
struct Idle {
    pids: Vec<i32>,
}

impl Idle {
    /// One that is armed with a configuration of its own, and one that is not.
    fn start() -> Result<Idle, Failure> {
        let mut pids = Vec::new();
        for armed in [true, false] {
            let pid = start(|| {
                let _ = ptrace::trace_me();
                if armed
                    && sys::set_dispatch(EXCLUSIVE, 0x1234_5678, 0x9abc, address(&SELECTOR))
                        .is_err()
                {
                    return 1;
                }
                let _ = sys::kill(sys::getpid(), libc::SIGSTOP);
                0
            })?;
            let stopped = end_of(pid)?;
            equal("an idle process", stopped, sys::Change::Stopped(libc::SIGSTOP))?;
            ptrace::set_options(pid).map_err(broken("PTRACE_SETOPTIONS"))?;
            pids.push(pid);
        }
        Ok(Idle { pids })
    }

    fn look(&self, record: &Record) {
        for (pid, name) in self.pids.iter().zip(["armed", "not armed"]) {
            compare::look_at_idle(record, name, *pid);
        }
    }

    fn end(self) -> Check {
        for pid in self.pids {
            let _ = sys::kill(pid, libc::SIGKILL);
            end_of(pid)?;
        }
        Ok(())
    }
}

/// How often counters are read until those of what is freed later have settled.
const PATIENCE: usize = 40;

/// Does it a few times, then so often, and compares.
pub(crate) fn check(index: usize) -> Check {
    let deed = &DEEDS[index];
    if let Some(need) = probe::machine().lacks(arch::WATCH_NEEDS) {
        return Err(Failure::Unmet(need.to_string()));
    }
    // On one CPU what each keeps for itself is bounded.
    let cpu = [1u64; 1];
    // SAFETY: reads the mask.
    unsafe { sys::call(libc::SYS_sched_setaffinity, &[0, 8, cpu.as_ptr() as u64]) }
        .map_err(broken("sched_setaffinity"))?;
    let idle = Idle::start()?;
    let [before, after] = [Record::new()?, Record::new()?];
    (deed.run)(deed.count / 8 + 1)?;
    idle.look(&before);
    let start = Counters::read()?;
    (deed.run)(deed.count)?;
    let mut grown = Counters::read()?.grown(&start);
    for _ in 0..PATIENCE {
        if grown.is_empty() {
            break;
        }
        sys::sleep(Duration::from_millis(5));
        grown = Counters::read()?.grown(&start);
    }
    if let Some((name, from, to)) = grown.first() {
        return Err(mismatch(
            format!("{name} after it was done {} times: {from}", deed.count),
            format!("{name}: {to}; so grew {} counters", grown.len()),
        ));
    }
    idle.look(&after);
    compare::same(deed.id, &before, &after)?;
    idle.end()
}
