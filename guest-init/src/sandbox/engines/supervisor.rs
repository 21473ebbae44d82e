// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Functions that the two engines with a supervisor (notification and trace) share. They carry out, on behalf
//! of a task, the action that follows an emulated call.

use crate::sandbox::engine::SandboxError;
use crate::sandbox::personality::NextAction;
use crate::sandbox::state::SandboxState;
use crate::sandbox::task;
use crate::sandbox::thread::MAX_THREADS;
use crate::sys::{self, WaitStatus};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The event that a thread waits for.
#[derive(Clone, Copy)]
enum AwaitedEvent {
    /// This time of `CLOCK_MONOTONIC`.
    Time(Duration),
    /// The end of the thread with this index.
    EndOf(usize),
}

/// The threads whose calls have been emulated but must not return yet, with the event that each waits for.
#[derive(Default)]
pub(super) struct WaitingThreads([Option<AwaitedEvent>; MAX_THREADS]);

/// The action of the engine after an emulated call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EngineStep {
    /// Let the call return.
    Return,
    /// Let the call return, and start to supervise the task of the new thread with this index.
    ReturnAndAdopt(usize),
    /// Do not let the call return: the thread waits or has ended.
    KeepStopped,
}

impl WaitingThreads {
    /// Carries out the action that follows a call of a thread.
    ///
    /// # Errors
    /// If a new thread's task cannot be started.
    pub(super) fn carry_out(
        &mut self,
        state: &SandboxState,
        thread: usize,
        next: NextAction,
    ) -> Result<EngineStep, SandboxError> {
        match next {
            NextAction::Continue => return Ok(EngineStep::Return),
            NextAction::Sleep(time) => {
                self.0[thread] = Some(AwaitedEvent::Time(sys::now().saturating_add(time)));
            }
            NextAction::AwaitEndOf(other) => self.0[thread] = Some(AwaitedEvent::EndOf(other)),
            NextAction::StartThread(other) => {
                task::start_task(state, other)
                    .map_err(|errno| SandboxError::System("clone", errno))?;
                return Ok(EngineStep::ReturnAndAdopt(other));
            }
            NextAction::EndThread(_) => kill_task(state, thread),
            NextAction::EndProgram(_) => {}
        }
        Ok(EngineStep::KeepStopped)
    }

    /// Removes and returns a thread whose event has happened.
    pub(super) fn take_ready_thread(&mut self, state: &SandboxState) -> Option<usize> {
        let now = sys::now();
        let has_happened = |event: &Option<AwaitedEvent>| match *event {
            None => false,
            Some(AwaitedEvent::Time(time)) => time <= now,
            Some(AwaitedEvent::EndOf(other)) => !state.is_running(other),
        };
        let thread = self.0.iter().position(has_happened)?;
        self.0[thread] = None;
        Some(thread)
    }

    /// The time until the first sleeping thread is ready; `None` if no thread sleeps.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let times = self.0.iter().flatten().filter_map(|event| match *event {
            AwaitedEvent::Time(time) => Some(time),
            AwaitedEvent::EndOf(_) => None,
        });
        times.min().map(|time| time.saturating_sub(sys::now()))
    }
}

/// Kills and reaps a thread's task, if it has one.
fn kill_task(state: &SandboxState, thread: usize) {
    let tid = state.tasks[thread].tid.swap(0, Ordering::SeqCst);
    if tid > 0 {
        let _ = sys::kill(tid, libc::SIGKILL);
        while let Ok(Some((_, WaitStatus::Stopped(_)))) = sys::wait(tid, libc::__WALL) {}
    }
}

/// Kills and reaps all tasks.
pub(super) fn kill_all_tasks(state: &SandboxState) {
    for thread in 0..MAX_THREADS {
        kill_task(state, thread);
    }
}

/// Reaps a task that has ended. Returns false if no task has ended.
pub(super) fn reap_dead_task(state: &SandboxState) -> bool {
    state.tasks.iter().any(|task| {
        let tid = task.tid.load(Ordering::SeqCst);
        let is_dead = tid > 0
            && matches!(
                sys::wait(tid, libc::WNOHANG | libc::__WALL),
                Ok(Some((_, WaitStatus::Exited(_) | WaitStatus::Killed { .. }))) | Err(_)
            );
        if is_dead {
            task.tid.store(0, Ordering::SeqCst);
        }
        is_dead
    })
}
