// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The tracer of a task of a random walk.

use super::event::EventKind;
use super::event_log::{event_log, record, record_end};
use super::program_layout::compared_sites;
use crate::oracle::Config;
use crate::probe::{PTRACE_GET_DISPATCH, PTRACE_SET_DISPATCH};
use crate::ptrace;
use crate::sys::{self, WaitStatus};
use crate::tracee::request_code;
use std::sync::atomic::Ordering;

/// The mode in which a tracer traces a child.
#[derive(Clone, Copy)]
pub(super) struct TraceMode {
    /// Whether the tracee stops at system calls.
    pub(super) stops_at_calls: bool,
    /// Whether the tracer attaches by `PTRACE_SEIZE`.
    pub(super) is_seized: bool,
}

/// Makes this task a tracee of its parent, and waits until the parent traces it.
pub(super) fn become_tracee(mode: TraceMode) -> sys::Result<()> {
    if mode.is_seized {
        while event_log().is_seized.load(Ordering::SeqCst) == 0 {
            sys::sched_yield();
        }
        event_log().is_seized.store(0, Ordering::SeqCst);
        return Ok(());
    }
    ptrace::trace_me()?;
    sys::kill(sys::getpid(), libc::SIGSTOP)
}

/// Waits for the next stop or the end of a child.
fn next_stop(child: i32) -> sys::Result<Option<WaitStatus>> {
    Ok(sys::wait(child, libc::__WALL)?.map(|(_, status)| status))
}

/// Makes this task the tracer of a child that waits in [`become_tracee`]. The child is stopped afterwards.
fn attach(child: i32, mode: TraceMode) -> sys::Result<()> {
    const INTERRUPTED: WaitStatus = WaitStatus::Stopped(libc::SIGTRAP | ptrace::EVENT_STOP << 8);
    let first_stop = if mode.is_seized {
        ptrace::seize(child)?;
        ptrace::request(child, ptrace::INTERRUPT, 0, 0)?;
        INTERRUPTED
    } else {
        WaitStatus::Stopped(libc::SIGSTOP)
    };
    if next_stop(child)? != Some(first_stop) {
        return Err(sys::Errno(libc::ESRCH));
    }
    if mode.is_seized {
        event_log().is_seized.store(1, Ordering::SeqCst);
        return Ok(());
    }
    ptrace::set_options(child)
}

/// Traces a child to its end: records its stops, delivers its signals, and sets the configurations
/// that it requests. The events belong to this step.
pub(super) fn trace_child(step: u16, child: i32, mode: TraceMode) -> sys::Result<()> {
    attach(child, mode)?;
    let resume = if mode.stops_at_calls { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT };
    let mut signal = 0;
    loop {
        let resumed = ptrace::request(child, resume, 0, u64::from(i32::cast_unsigned(signal)));
        ignore_killed_tracee(resumed.map(drop))?;
        signal = match next_stop(child)? {
            Some(WaitStatus::Stopped(ptrace::CALL_STOP)) => {
                ignore_killed_tracee(record_entry(step, child))?;
                0
            }
            Some(WaitStatus::Stopped(libc::SIGSTOP)) => {
                // SAFETY: the tracee has written the request, and is stopped.
                let [mode, offset, length, selector] =
                    unsafe { *event_log().requested_configuration.get() };
                let requested = Config { mode, selector, offset, length };
                let size = size_of::<Config>() as u64;
                let request = |request, config: u64| ptrace::request(child, request, size, config);
                let result =
                    request(request_code(PTRACE_SET_DISPATCH), &raw const requested as u64);
                record(step, EventKind::SetByTracer(result.map_or_else(|error| error.0, |_| 0)));
                let mut config = Config::default();
                request(request_code(PTRACE_GET_DISPATCH), &raw mut config as u64)?;
                record(step, EventKind::ConfigRead(config));
                0
            }
            // SIGCHLD from the tracee's children is not an event of the walk.
            Some(WaitStatus::Stopped(libc::SIGCHLD)) => libc::SIGCHLD,
            // Suppress the SIGTRAP after an exec, which would kill the new program.
            Some(WaitStatus::Stopped(libc::SIGTRAP)) => {
                record(step, EventKind::Stopped(libc::SIGTRAP));
                0
            }
            Some(WaitStatus::Stopped(other)) => {
                record(step, EventKind::Stopped(other));
                other
            }
            Some(end) => {
                record_end(step, end);
                return Ok(());
            }
            None => return Err(sys::Errno(libc::ECHILD)),
        };
    }
}

/// Replaces `ESRCH`, the error of a request of a tracee that another thread of its process has killed, by
/// success. The next wait4(2) reports the tracee's end.
fn ignore_killed_tracee(result: sys::Result<()>) -> sys::Result<()> {
    match result {
        Err(sys::Errno(libc::ESRCH)) => Ok(()),
        result => result,
    }
}

/// Records the entry of a call from one of the gates. Calls from inside and those of executed programs are not
/// under test. Exits of calls are not recorded, since on kernels with the bug `phantom-exit-stop` the tracee
/// also stops at an exit when the selector kills it.
fn record_entry(step: u16, child: i32) -> sys::Result<()> {
    const ENTRY: u8 = 1;
    // `struct ptrace_syscall_info` (include/uapi/linux/ptrace.h): kind, instruction pointer at byte 8,
    // number at byte 24.
    let info = ptrace::call_info(child)?;
    let word = |at: usize| u64::from_ne_bytes(std::array::from_fn(|byte| info[at + byte]));
    let (instruction_pointer, number) = (word(8), word(24));
    if info[0] == ENTRY && compared_sites().contains(&instruction_pointer) {
        record(step, EventKind::CallEntry { number, instruction_pointer });
    }
    Ok(())
}
