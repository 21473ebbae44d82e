// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The engine that answers from outside by ptrace's `PTRACE_SYSEMU`, with which a tracee stops at each
//! call and never makes it.

use super::call::{Fault, Next};
use super::room::Room;
use super::supervisor::{self, Then, Waiting};
use super::{Problem, arena};
use crate::arch::Reg;
use crate::ptrace::{self, CALL_STOP};
use crate::sys::{self, Change};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it is looked for deaths and stops while somebody waits for the clock.
const LOOK: Duration = Duration::from_millis(1);

/// Answers until the program has ended.
pub(super) fn supervise(room: &Room) -> Result<(), Problem> {
    let served = serve(room);
    supervisor::end_all(room);
    served
}

fn serve(room: &Room) -> Result<(), Problem> {
    let mut waiting = Waiting::default();
    adopt(room, 0)?;
    while !room.over() {
        while let Some(thread) = waiting.ready(room) {
            resume(room, thread)?;
        }
        let Some((thread, change)) = stopped(room, &waiting)? else { continue };
        let Change::Stopped(signal) = change else { return Ok(()) };
        let pid = task(room, thread);
        let mut tracee = ptrace::registers(pid).map_err(failed)?;
        let mut general = tracee.general(signal == CALL_STOP);
        let next = if signal == CALL_STOP {
            room.call(thread, &mut general, entered(pid)?)
        } else if let Some(fault) = fault(pid, signal, general[Reg::NEXT])? {
            room.fault(thread, &mut general, fault)
        } else {
            room.signal();
            resume(room, thread)?;
            continue;
        };
        if !matches!(next, Next::EndThread(_) | Next::End(_)) {
            tracee.set_general(&general);
            ptrace::set_registers(pid, &tracee).map_err(failed)?;
        }
        match waiting.carry_out(room, thread, next)? {
            Then::Answer => resume(room, thread)?,
            Then::Start(other) => {
                adopt(room, other)?;
                resume(room, thread)?;
            }
            Then::Leave => {}
        }
    }
    Ok(())
}

/// Takes a task that stopped before it begins, and lets it begin.
fn adopt(room: &Room, thread: usize) -> Result<(), Problem> {
    let pid = task(room, thread);
    loop {
        let waited = sys::wait(pid, libc::__WALL);
        match waited.map_err(|errno| Problem::System("wait4", errno))? {
            Some((_, Change::Stopped(libc::SIGSTOP))) => break,
            Some((_, Change::Stopped(_))) => {
                room.signal();
                ptrace::request(pid, libc::PTRACE_CONT, 0, 0).map_err(failed)?;
            }
            // It has said why.
            _ => return Ok(()),
        }
    }
    ptrace::set_options(pid).map_err(failed)?;
    let mut tracee = ptrace::registers(pid).map_err(failed)?;
    let mut general = tracee.general(false);
    general.become_start(&room.state(thread).start);
    tracee.set_general(&general);
    ptrace::set_registers(pid, &tracee).map_err(failed)?;
    resume(room, thread)
}

/// The next of the tasks that stops, or dies; `None` after a while, or when a thread can go on.
fn stopped(room: &Room, waiting: &Waiting) -> Result<Option<(usize, Change)>, Problem> {
    let clock = waiting.time();
    let options = if clock.is_some() { libc::WNOHANG | libc::__WALL } else { libc::__WALL };
    let waited = sys::wait(-1, options).map_err(|errno| Problem::System("wait4", errno))?;
    if let Some((pid, change)) = waited {
        let of = |task: &super::room::Task| task.number.load(Ordering::SeqCst) == pid;
        return Ok(room.tasks.iter().position(of).map(|thread| (thread, change)));
    }
    if let Some(time) = clock {
        sys::sleep(time.min(LOOK));
    }
    Ok(None)
}

fn task(room: &Room, thread: usize) -> i32 {
    room.tasks[thread].number.load(Ordering::SeqCst)
}

fn failed(errno: sys::Errno) -> Problem {
    Problem::System("ptrace", errno)
}

fn resume(room: &Room, thread: usize) -> Result<(), Problem> {
    ptrace::request(task(room, thread), ptrace::SYSEMU, 0, 0).map(drop).map_err(failed)
}

/// How the call entered Linux for which a tracee stopped: `AUDIT_ARCH_*`.
fn entered(pid: i32) -> Result<u32, Problem> {
    let info = ptrace::call_info(pid).map_err(failed)?;
    Ok(u32::from_ne_bytes(std::array::from_fn(|i| info[4 + i])))
}

/// The fault that a signal tells of, if it is one of the program's.
fn fault(pid: i32, signal: i32, place: u64) -> Result<Option<Fault>, Problem> {
    let info = ptrace::signal_info(pid).map_err(failed)?;
    let fault = Fault::of(signal, &info);
    match fault {
        Some(fault) if !arena::range().contains(&place) && fault != Fault::Access(place) => {
            Err(Problem::Died)
        }
        fault => Ok(fault),
    }
}
