// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The tasks that a random walk starts.

use super::coverage::start_coverage_of_this_task;
use super::event::EventKind;
use super::event_log::{record, record_end, record_final_umask};
use super::operations::{NewTask, Step};
use super::section;
use super::task::{RunSteps, STEP_OF_SIGUSR1, Task, await_start, step_of_call};
use super::trace::{self, TraceMode};
use crate::rseq::RseqArea;
use crate::{arch, sys};
use std::sync::atomic::{AtomicU32, Ordering};

/// The size in pages of the stack of a child or thread. Signal frames nest on the stack.
const STACK_PAGES: usize = 32;

/// Executes steps in a new task and waits for its end.
pub(super) fn start_task(
    step: u16,
    new_task: NewTask,
    body: &[Step],
    parent: Task<'_>,
) -> sys::Result<()> {
    let step_before = step_of_call().load(Ordering::SeqCst);
    let step_of_sigusr1 = STEP_OF_SIGUSR1.load(Ordering::SeqCst);
    let run_steps = parent.run_steps;
    let child_task = Task { is_tracee: false, may_exec: true, ..parent };
    let result = match new_task {
        NewTask::Fork => fork_task(|| {
            run_steps(body, child_task);
            record_final_umask(step)
        })
        .map(|child| await_end(step, child)),
        NewTask::Traced { stops_at_calls, is_seized } => {
            let mode = TraceMode { stops_at_calls, is_seized };
            fork_task(|| {
                if let Err(error) = trace::become_tracee(mode) {
                    record(step, EventKind::OwnCallFailed(error.0));
                }
                run_steps(body, Task { is_tracee: true, ..child_task });
                record_final_umask(step)
            })
            .and_then(|child| trace::trace_child(step, child, mode))
        }
        NewTask::Vfork => run_vforked(step, body, run_steps),
        NewTask::Thread => {
            let mut thread = ThreadBody::new(body, None, run_steps);
            thread.may_exec = parent.may_exec && !parent.is_tracee;
            thread.start().map(|()| thread.join())
        }
    };
    // A child that shares memory may have been killed during a call, and left its own steps in the holders.
    step_of_call().store(step_before, Ordering::SeqCst);
    STEP_OF_SIGUSR1.store(step_of_sigusr1, Ordering::SeqCst);
    result
}

/// Waits for a child and records its end.
fn await_end(step: u16, child: i32) {
    match sys::wait(child, libc::__WALL) {
        Ok(Some((_, change))) => record_end(step, change),
        Ok(None) => record(step, EventKind::OwnCallFailed(0)),
        Err(error) => record(step, EventKind::OwnCallFailed(error.0)),
    }
}

fn fork_task(run: impl FnOnce() -> i32) -> sys::Result<i32> {
    // SAFETY: the child takes no locks.
    match unsafe { sys::fork() }? {
        0 => {
            // SAFETY: takes no pointers.
            let _ = unsafe { sys::prctl(libc::PR_SET_PDEATHSIG, 9, 0, 0, 0) };
            start_coverage_of_this_task();
            sys::exit(run())
        }
        child => Ok(child),
    }
}

/// Starts a task with these flags of clone(2) on a new stack, which is never freed.
fn start_on_stack(flags: i32, enter: extern "C" fn(u64) -> u64, argument: u64) -> sys::Result<i32> {
    let length = STACK_PAGES * 4096;
    // SAFETY: newly mapped and zeroed.
    let stack = unsafe { std::slice::from_raw_parts_mut(sys::map_private(length)?, length) };
    let top = arch::prepare_stack(stack, enter, argument);
    let arguments = [u64::from(flags.cast_unsigned()), top, 0, 0];
    // SAFETY: the stack is prepared and stays mapped.
    let result = unsafe { arch::spawn(libc::SYS_clone.cast_unsigned(), arguments) };
    sys::split_result(result).map(|child| i32::try_from(child).unwrap_or(-1))
}

/// Registers an rseq area for this task, which has none yet, and runs steps.
fn run_with_area(steps: &[Step], may_exec: bool, area: &RseqArea, run_steps: RunSteps) {
    start_coverage_of_this_task();
    if let Err(error) = section::register(area) {
        record(0, EventKind::OwnCallFailed(error.0));
    }
    run_steps(steps, Task { is_tracee: false, may_exec, rseq: area, run_steps });
}

/// The steps of a child that shares memory.
struct ChildBody<'a> {
    /// The number of the step that starts the child.
    step: u16,
    steps: &'a [Step],
    run_steps: RunSteps,
}

fn run_vforked(step: u16, steps: &[Step], run_steps: RunSteps) -> sys::Result<()> {
    extern "C" fn enter(child: u64) -> u64 {
        // SAFETY: the parent passes the address of a live value, and waits.
        let child = unsafe { &*(child as *const ChildBody<'_>) };
        let area = RseqArea::new();
        run_with_area(child.steps, true, &area, child.run_steps);
        sys::exit(record_final_umask(child.step))
    }
    let body = ChildBody { step, steps, run_steps };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let child = start_on_stack(flags, enter, std::ptr::from_ref(&body) as u64)?;
    await_end(step, child);
    Ok(())
}

/// The steps of a thread.
pub(super) struct ThreadBody<'a> {
    steps: &'a [Step],
    /// See [`Call::permitted`](super::operations::Call::permitted).
    may_exec: bool,
    /// The index among threads that run side by side, and the number of these threads.
    lane: Option<(usize, u32)>,
    run_steps: RunSteps,
    rseq: RseqArea,
    /// 1 until the kernel has ended the thread.
    is_alive: AtomicU32,
}

impl<'a> ThreadBody<'a> {
    /// The body of a thread with these steps. `lane` is the thread's index among threads side by side, and the
    /// number of these threads.
    pub(super) fn new(
        steps: &'a [Step],
        lane: Option<(usize, u32)>,
        run_steps: RunSteps,
    ) -> ThreadBody<'a> {
        let (rseq, is_alive) = (RseqArea::new(), AtomicU32::new(0));
        ThreadBody { steps, may_exec: false, lane, run_steps, rseq, is_alive }
    }

    /// Starts the thread. The body must not move before [`ThreadBody::join`].
    pub(super) fn start(&self) -> sys::Result<()> {
        extern "C" fn enter(body: u64) -> u64 {
            // SAFETY: the starter passes the address of a live value, and waits for the thread's end.
            let body = unsafe { &*(body as *const ThreadBody<'_>) };
            let is_alive = &raw const body.is_alive as u64;
            // When the thread has ended, the kernel sets `is_alive` to 0 and wakes the starter.
            // SAFETY: the word is live until then.
            if let Err(error) = unsafe { sys::call(libc::SYS_set_tid_address, &[is_alive]) } {
                record(0, EventKind::OwnCallFailed(error.0));
            }
            if let Some((lane, lanes)) = body.lane {
                await_start(lane, lanes);
            }
            run_with_area(body.steps, body.may_exec, &body.rseq, body.run_steps);
            0
        }
        self.is_alive.store(1, Ordering::SeqCst);
        start_on_stack(sys::THREAD_FLAGS, enter, std::ptr::from_ref(self) as u64)
            .inspect_err(|_| self.is_alive.store(0, Ordering::SeqCst))
            .map(drop)
    }

    /// Waits until the thread has ended, if it was started.
    pub(super) fn join(&self) {
        while self.is_alive.load(Ordering::SeqCst) != 0 {
            let word = &raw const self.is_alive as u64;
            let operation = u64::from(libc::FUTEX_WAIT.cast_unsigned());
            // SAFETY: reads the word, which is live.
            let _ = unsafe { sys::call(libc::SYS_futex, &[word, operation, 1, 0]) };
        }
    }
}
