// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Starts the process or thread in which the task of a scenario runs.

use super::scenario::{Parent, Scenario, Task};
use super::variants;
use crate::arch;
use crate::case::Failure;
use crate::ptrace::{self, request};
use crate::support::*;
use crate::sys::{self, WaitStatus};
use std::sync::atomic::{AtomicU64, Ordering};

/// Starts the process of a scenario, with a parent in the state [`Scenario::parent`]. The process calls `run`
/// and exits with its result. Returns the process id.
pub(super) fn start_process(
    scenario: &Scenario,
    run: impl FnOnce() -> i32,
) -> Result<i32, Failure> {
    match scenario.parent {
        Parent::Ordinary | Parent::Armed => {}
        Parent::Stepped => return start_child_of_traced(libc::PTRACE_SINGLESTEP, 1, run),
        Parent::Traced => return start_child_of_traced(libc::PTRACE_SYSCALL, 2, run),
    }
    if scenario.task != Task::NamespaceInit {
        return spawn_child(run);
    }
    let flags = u64::from((libc::CLONE_NEWPID | libc::SIGCHLD).cast_unsigned());
    // SAFETY: a fork; the case has one thread.
    let child = unsafe { sys::call(libc::SYS_clone, &arch::clone_arguments(flags, 0)) }
        .map_err(broken("clone"))?;
    if child == 0 {
        sys::exit(run());
    }
    i32::try_from(child).map_err(broken("clone"))
}

/// The index of the shared word in which the forking process stores its child's process id.
const CHILD_PID: usize = 5;

/// Starts an untraced process by the fork of a traced process. During the fork this process resumes the traced
/// process `fork_stops` times by `fork_request`. Because of `CLONE_PARENT` the new process is a child of this
/// process. Returns the new process's id.
fn start_child_of_traced(
    fork_request: u32,
    fork_stops: u32,
    run: impl FnOnce() -> i32,
) -> Result<i32, Failure> {
    set_shared_word(CHILD_PID, 0);
    let forker = spawn_child(|| {
        if ptrace::trace_me().is_err() {
            return variants::NOT_PREPARED;
        }
        let _ = sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGSTOP);
        match variants::fork_at_breakpoint(libc::CLONE_PARENT | libc::SIGCHLD) {
            0 => run(),
            child => {
                set_shared_word(CHILD_PID, child);
                variants::COMPLETED
            }
        }
    })?;
    let expect_stop = |signal: i32| {
        expect_equal("a parent", wait_for_change(forker)?, WaitStatus::Stopped(signal))
    };
    let resume_by = |resume_request: u32| {
        request(forker, resume_request, 0, 0)
            .map(drop)
            .map_err(refused_request("resuming the tracee"))
    };
    expect_stop(libc::SIGSTOP)?;
    ptrace::set_options(forker).map_err(refused_request("PTRACE_SETOPTIONS"))?;
    if arch::HAS_CALL_BREAKPOINTS {
        resume_by(libc::PTRACE_CONT)?;
        expect_stop(libc::SIGTRAP)?;
    }
    for _ in 0..fork_stops {
        resume_by(fork_request)?;
        wait_for_change(forker)?;
    }
    resume_by(libc::PTRACE_DETACH)?;
    expect_equal("a parent", wait_for_change(forker)?, WaitStatus::Exited(variants::COMPLETED))?;
    i32::try_from(shared_word(CHILD_PID)).map_err(broken("a child's number"))
}

/// Runs a function in a second thread while the first thread waits. Returns the function's exit code.
pub(super) fn in_thread(run: &dyn Fn() -> i32) -> i32 {
    static CODE: AtomicU64 = AtomicU64::new(u64::MAX);
    extern "C" fn thread(argument: u64) -> u64 {
        // SAFETY: the first thread passes the address of this reference, and waits.
        let run = unsafe { *(argument as *const &dyn Fn() -> i32) };
        let code = run();
        CODE.store(u64::from(code.cast_unsigned()), Ordering::SeqCst);
        0
    }
    if spawn_thread(thread, &raw const run as u64).is_err() {
        return variants::NOT_PREPARED;
    }
    while CODE.load(Ordering::SeqCst) == u64::MAX {
        sys::sched_yield();
    }
    i32::try_from(CODE.load(Ordering::SeqCst)).unwrap_or(variants::NOT_PREPARED)
}
