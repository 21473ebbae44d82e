// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the program itself sees: starts the task of a setting, in which the scenes are played.

use super::perform;
use super::record::{Moment, Record};
use super::setting::{Armed, Parent, Setting, Task, Watched};
use crate::arch::{self};
use crate::case::{Check, Failure};
use crate::cases::audit::Audit;
use crate::cases::tracefs::Tracefs;
use crate::support::*;
use crate::sys::{self, Change};
use crate::tracee::{Config, Tracee, pause_for_tracer};
use std::sync::atomic::{AtomicU64, Ordering};

/// Plays all scenes of a setting and records them.
pub(super) fn observe(record: &Record, setting: &Setting) -> Check {
    let trace = match setting.watched {
        Watched::Tracepoints => {
            Some(Tracefs::start_blind(&["raw_syscalls/sys_enter", "raw_syscalls/sys_exit"])?)
        }
        _ => None,
    };
    let audit = match setting.watched {
        Watched::Audit => Some(Audit::start(libc::SYS_umask)?),
        _ => None,
    };
    if setting.parent == Parent::Armed {
        handle(keep)?;
        arm()?;
        is_dispatched(&arch::gate())?;
    }
    let end = run(record, setting)?;
    if setting.parent == Parent::Armed {
        is_dispatched(&arch::gate())?;
        disarm()?;
        // SAFETY: the default action.
        unsafe { sys::sigaction(libc::SIGSYS, &sys::Action::default()) }
            .map_err(broken("rt_sigaction"))?;
    }
    drop(trace);
    audit.map_or(Ok(()), Audit::stop)?;
    match end {
        Change::Exited(perform::NOT_FILTERED) => {
            Err(Failure::Broken("the filter is refused".into()))
        }
        Change::Exited(perform::NOT_PREPARED) => {
            Err(Failure::Broken("a handler is refused".into()))
        }
        Change::Exited(perform::NOT_ARMED) => Err(mismatch("arming is accepted", "it is refused")),
        end => {
            let text = end.to_string();
            record.put(Moment { scene: "end", step: "death", count: 0 }, "end", text.as_bytes());
            Ok(())
        }
    }
}

/// How the process ended that played.
fn run(record: &Record, setting: &Setting) -> Result<Change, Failure> {
    let traced = setting.watched == Watched::Tracer || setting.armed == Armed::ByTracer;
    if traced {
        return run_traced(record, setting);
    }
    match setting.task {
        Task::Leader => end_of(start(|| perform::everything(record, setting))?),
        Task::Thread => end_of(start(|| in_thread(record, setting))?),
        Task::NamespaceInit => {
            let flags = u64::from((libc::CLONE_NEWPID | libc::SIGCHLD).cast_unsigned());
            // SAFETY: a fork; the case has one thread.
            let child = unsafe { sys::call(libc::SYS_clone, &arch::clone_arguments(flags, 0)) }
                .map_err(broken("clone"))?;
            if child == 0 {
                sys::exit(perform::everything(record, setting));
            }
            end_of(i32::try_from(child).map_err(broken("clone"))?)
        }
    }
}

/// The first thread only waits.
fn in_thread(record: &Record, setting: &Setting) -> i32 {
    static CODE: AtomicU64 = AtomicU64::new(u64::MAX);
    extern "C" fn thread(argument: u64) -> u64 {
        // SAFETY: the first thread passes the address of its pair, and waits.
        let (record, setting) = unsafe { *(argument as *const (&Record, &Setting)) };
        let code = perform::everything(record, setting);
        CODE.store(u64::from(code.cast_unsigned()), Ordering::SeqCst);
        0
    }
    let pair = (record, setting);
    if spawn_thread(thread, &raw const pair as u64).is_err() {
        return perform::NOT_PREPARED;
    }
    while CODE.load(Ordering::SeqCst) == u64::MAX {
        sys::sched_yield();
    }
    i32::try_from(CODE.load(Ordering::SeqCst)).unwrap_or(perform::NOT_PREPARED)
}

/// The tracer arms, or asks for all calls; it gives back every signal.
fn run_traced(record: &Record, setting: &Setting) -> Result<Change, Failure> {
    let tracee = Tracee::start(|| {
        pause_for_tracer();
        perform::everything(record, setting)
    })?;
    if setting.armed == Armed::ByTracer {
        let [mode, offset, length, selector] = perform::configuration(setting);
        tracee
            .set(&Config { mode, selector, offset, length })
            .map_err(|error| mismatch("the tracer may arm", error.to_string()))?;
    }
    if setting.watched != Watched::Tracer {
        tracee.request(libc::PTRACE_DETACH, 0, 0).map_err(broken("PTRACE_DETACH"))?;
        return end_of(tracee.pid);
    }
    let mut signal = 0;
    loop {
        match tracee.run(libc::PTRACE_SYSCALL, signal)? {
            Change::Stopped(stop) if stop == crate::ptrace::CALL_STOP => signal = 0,
            Change::Stopped(stop) => signal = stop & 0x7f,
            end => return Ok(end),
        }
    }
}
