// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the program itself sees: starts the task of a setting, in which the scenes are played.

use super::perform;
use super::record::{Moment, Record};
use super::setting::{Armed, Parent, Setting, Task, Watched};
use super::tracer;
use crate::arch;
use crate::case::{Check, Failure};
use crate::cases::audit::Audit;
use crate::cases::tracefs::Tracefs;
use crate::ptrace::CALL_STOP;
use crate::support::*;
use crate::sys::{self, Change};
use crate::tracee::{Tracee, pause_for_tracer};
use std::sync::atomic::{AtomicU64, Ordering};

/// Has a setting and everything around it, in which `look` records what is seen.
pub(super) fn within(setting: &Setting, look: impl FnOnce() -> Check) -> Check {
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
    let looked = look();
    if setting.parent == Parent::Armed {
        is_dispatched(&arch::gate())?;
        disarm()?;
        // SAFETY: the default action.
        unsafe { sys::sigaction(libc::SIGSYS, &sys::Action::default()) }
            .map_err(broken("rt_sigaction"))?;
    }
    drop(trace);
    audit.map_or(Ok(()), Audit::stop)?;
    looked
}

/// Plays all scenes of a setting and records them.
pub(super) fn observe(record: &Record, setting: &Setting) -> Check {
    match run(record, setting)? {
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
    let traced = matches!(setting.watched, Watched::Tracer | Watched::Rewriter)
        || setting.armed == Armed::ByTracer;
    if traced {
        return run_traced(record, setting);
    }
    end_of(tracer::born(setting, || match setting.task {
        Task::Thread => in_thread(&|| perform::everything(record, setting)),
        _ => perform::everything(record, setting),
    })?)
}

/// Does this in a thread, while the first thread only waits. Gives the exit code.
pub(super) fn in_thread(run: &dyn Fn() -> i32) -> i32 {
    static CODE: AtomicU64 = AtomicU64::new(u64::MAX);
    extern "C" fn thread(argument: u64) -> u64 {
        // SAFETY: the first thread passes the address of this, and waits.
        let run = unsafe { *(argument as *const &dyn Fn() -> i32) };
        let code = run();
        CODE.store(u64::from(code.cast_unsigned()), Ordering::SeqCst);
        0
    }
    if spawn_thread(thread, &raw const run as u64).is_err() {
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
    tracer::arm(setting, tracee.pid)?;
    if matches!(setting.watched, Watched::Nobody) {
        tracee.request(libc::PTRACE_DETACH, 0, 0).map_err(broken("PTRACE_DETACH"))?;
        return end_of(tracee.pid);
    }
    let rewrites = setting.watched == Watched::Rewriter;
    let request = if rewrites { libc::PTRACE_CONT } else { libc::PTRACE_SYSCALL };
    let mut signal = 0;
    loop {
        match tracee.run(request, signal)? {
            Change::Stopped(CALL_STOP) => signal = 0,
            Change::Stopped(stop) => {
                if rewrites {
                    tracer::write_back(tracee.pid);
                }
                signal = stop & 0x7f;
            }
            end => return Ok(end),
        }
    }
}
