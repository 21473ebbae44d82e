// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What supervisors of both kinds do: they carry out in place of the task what comes after a call.

use super::call::Next;
use super::room::{Room, THREADS};
use super::{Problem, task};
use crate::sys;
use std::time::Duration;

/// What a thread waits for.
#[derive(Clone, Copy)]
enum Wait {
    /// `CLOCK_MONOTONIC`
    Until(Duration),
    End(usize),
}

/// Threads whose calls are answered later.
#[derive(Default)]
pub(super) struct Waiting([Option<Wait>; THREADS]);

/// What the supervisor's engine has to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Let it go on.
    Answer,
    /// Nothing now.
    Leave,
    /// This thread begins, and it goes on.
    Start(usize),
}

impl Waiting {
    /// Carries out what comes after a call of a thread.
    pub(super) fn carry_out(
        &mut self,
        room: &Room,
        thread: usize,
        next: Next,
    ) -> Result<Then, Problem> {
        match next {
            Next::Go => return Ok(Then::Answer),
            Next::Sleep(time) => {
                self.0[thread] = Some(Wait::Until(sys::now().saturating_add(time)));
            }
            Next::Await(other) => self.0[thread] = Some(Wait::End(other)),
            Next::Start(other) => {
                task::start(room, other).map_err(|errno| Problem::System("clone", errno))?;
                return Ok(Then::Start(other));
            }
            Next::EndThread(_) => end(room, thread),
            Next::End(_) => {}
        }
        Ok(Then::Leave)
    }

    /// A thread that need not wait any more.
    pub(super) fn ready(&mut self, room: &Room) -> Option<usize> {
        let now = sys::now();
        let over = |wait: &Option<Wait>| match *wait {
            None => false,
            Some(Wait::Until(time)) => time <= now,
            Some(Wait::End(other)) => !room.lives(other),
        };
        let thread = self.0.iter().position(over)?;
        self.0[thread] = None;
        Some(thread)
    }

    /// How long from now somebody waits for the clock.
    pub(super) fn time(&self) -> Option<Duration> {
        let times = self.0.iter().flatten().filter_map(|wait| match *wait {
            Wait::Until(time) => Some(time),
            Wait::End(_) => None,
        });
        times.min().map(|time| time.saturating_sub(sys::now()))
    }
}

/// Ends a thread's task for good.
pub(super) fn end(room: &Room, thread: usize) {
    let task = room.tasks[thread].number.swap(0, std::sync::atomic::Ordering::SeqCst);
    if task > 0 {
        let _ = sys::kill(task, libc::SIGKILL);
        while let Ok(Some((_, sys::Change::Stopped(_)))) = sys::wait(task, libc::__WALL) {}
    }
}

/// Ends all that are left.
pub(super) fn end_all(room: &Room) {
    for thread in 0..THREADS {
        end(room, thread);
    }
}

/// Whether a task has died of itself.
pub(super) fn died(room: &Room) -> bool {
    (0..THREADS).any(|thread| {
        let number = &room.tasks[thread].number;
        let task = number.load(std::sync::atomic::Ordering::SeqCst);
        let gone = task > 0
            && matches!(
                sys::wait(task, libc::WNOHANG | libc::__WALL),
                Ok(Some((_, sys::Change::Exited(_) | sys::Change::Killed { .. }))) | Err(_)
            );
        if gone {
            number.store(0, std::sync::atomic::Ordering::SeqCst);
        }
        gone
    })
}
