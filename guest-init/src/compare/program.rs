// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program as its own observer: starts the process of a scenario, which runs the variants and records its
//! own state.

use super::process::{in_thread, start_process};
use super::record::Record;
use super::scenario::{Arming, Monitor, Parent, Scenario, Task};
use super::tracer;
use super::variants;
use crate::arch;
use crate::case::{Check, Failure};
use crate::cases::audit::Audit;
use crate::cases::tracefs::Tracefs;
use crate::ptrace::CALL_STOP;
use crate::support::*;
use crate::sys::{self, WaitStatus};
use crate::tracee::{Tracee, pause_for_tracer};

/// Runs `observe` while the scenario's system-wide monitor is enabled and, if the scenario has
/// [`Parent::Armed`], while this process is armed.
pub(super) fn in_environment(scenario: &Scenario, observe: impl FnOnce() -> Check) -> Check {
    let trace = match scenario.monitor {
        Monitor::Tracepoints => Some(Tracefs::start_without_recording(&[
            "raw_syscalls/sys_enter",
            "raw_syscalls/sys_exit",
        ])?),
        _ => None,
    };
    let audit = match scenario.monitor {
        Monitor::Audit => Some(Audit::start(libc::SYS_umask)?),
        _ => None,
    };
    if scenario.parent == Parent::Armed {
        handle_dispatches(do_nothing)?;
        arm()?;
        expect_dispatched(&arch::gate())?;
    }
    let result = observe();
    if scenario.parent == Parent::Armed {
        expect_dispatched(&arch::gate())?;
        disarm()?;
        // SAFETY: the default action.
        unsafe { sys::sigaction(libc::SIGSYS, &sys::SigAction::default()) }
            .map_err(broken("rt_sigaction"))?;
    }
    drop(trace);
    audit.map_or(Ok(()), Audit::stop)?;
    result
}

/// Runs the variants of a scenario in a program that records its own state. Checks that the program runs to
/// its end.
pub(super) fn observe(record: &Record, scenario: &Scenario) -> Check {
    match run_in_process(record, scenario)? {
        WaitStatus::Exited(variants::NOT_FILTERED) => {
            Err(Failure::Broken("the filter is refused".into()))
        }
        WaitStatus::Exited(variants::NOT_PREPARED) => {
            Err(Failure::Broken("a handler is refused".into()))
        }
        WaitStatus::Exited(variants::NOT_ARMED) => {
            Err(mismatch("arming is accepted", "it is refused"))
        }
        WaitStatus::Exited(variants::COMPLETED) => Ok(()),
        end => Err(mismatch("the program runs to its end", format!("it {end}"))),
    }
}

/// Runs the variants in a new process and returns how the process ended.
fn run_in_process(record: &Record, scenario: &Scenario) -> Result<WaitStatus, Failure> {
    let is_traced = matches!(scenario.monitor, Monitor::Tracer | Monitor::RewritingTracer)
        || scenario.arming == Arming::ByTracer;
    if is_traced {
        return run_traced(record, scenario);
    }
    wait_for_change(start_process(scenario, || match scenario.task {
        Task::Thread => in_thread(&|| variants::run_variants(record, scenario)),
        _ => variants::run_variants(record, scenario),
    })?)
}

/// Runs the variants in a new process with this process as its tracer, and returns how the process ended.
/// With [`Monitor::None`] the tracer arms the tracee and detaches; else it stays attached and delivers every
/// signal.
fn run_traced(record: &Record, scenario: &Scenario) -> Result<WaitStatus, Failure> {
    let tracee = Tracee::start(|| {
        pause_for_tracer();
        variants::run_variants(record, scenario)
    })?;
    tracer::arm_by_tracer(scenario, tracee.pid)?;
    if matches!(scenario.monitor, Monitor::None) {
        tracee.request(libc::PTRACE_DETACH, 0, 0).map_err(refused_request("PTRACE_DETACH"))?;
        return wait_for_change(tracee.pid);
    }
    let rewrites = scenario.monitor == Monitor::RewritingTracer;
    let request = if rewrites { libc::PTRACE_CONT } else { libc::PTRACE_SYSCALL };
    let mut signal = 0;
    loop {
        match tracee.resume(request, signal)? {
            WaitStatus::Stopped(CALL_STOP) => signal = 0,
            WaitStatus::Stopped(stop) => {
                if rewrites {
                    tracer::write_back(tracee.pid);
                }
                // The bits above the signal are the event of an event stop.
                signal = stop & 0x7f;
            }
            end => return Ok(end),
        }
    }
}
