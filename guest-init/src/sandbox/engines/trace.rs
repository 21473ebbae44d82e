// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The engine that uses ptrace(2): under `PTRACE_SYSEMU` a tracee stops at each call, the kernel does not
//! execute the call, and the tracer emulates it.

use super::supervisor::{self, EngineStep, WaitingThreads};
use crate::arch::Reg;
use crate::ptrace::{self, CALL_STOP};
use crate::sandbox::engine::SandboxError;
use crate::sandbox::personality::{Fault, NextAction};
use crate::sandbox::program_memory;
use crate::sandbox::state::{EngineOperations, SandboxState, Task};
use crate::sys::{self, WaitStatus};
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) const METHODS: EngineOperations = EngineOperations {
    is_supervised: true,
    // The tracer sets the program's registers while the task is stopped.
    enter_signal: libc::SIGSTOP,
    intercept: |_, _, _| ptrace::trace_me(),
    supervise: |state, _| {
        let result = serve_stops(state);
        supervisor::kill_all_tasks(state);
        result
    },
};

/// Time between two checks for stops and ends of tasks while a thread sleeps.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Emulates calls and faults until the program has ended.
fn serve_stops(state: &SandboxState) -> Result<(), SandboxError> {
    let mut waiting = WaitingThreads::default();
    adopt_task(state, 0)?;
    while !state.is_over() {
        while let Some(thread) = waiting.take_ready_thread(state) {
            resume_task(state, thread)?;
        }
        let Some((thread, status)) = wait_for_stop(state, &waiting)? else { continue };
        let WaitStatus::Stopped(signal) = status else { return Ok(()) };
        let tid = tid(state, thread);
        let mut tracee_registers = ptrace::registers(tid).map_err(ptrace_error)?;
        let mut registers = if signal == CALL_STOP {
            tracee_registers.general_at_call()
        } else {
            tracee_registers.general()
        };
        let next = if signal == CALL_STOP {
            state.call(thread, &mut registers, call_audit_arch(tid)?)
        } else if let Some(fault) =
            reported_fault(tid, signal, registers[Reg::INSTRUCTION_POINTER])?
        {
            state.fault(thread, &mut registers, fault)
        } else {
            state.count_signal();
            resume_task(state, thread)?;
            continue;
        };
        if !matches!(next, NextAction::EndThread(_) | NextAction::EndProgram(_)) {
            tracee_registers.set_general(&registers);
            ptrace::set_registers(tid, &tracee_registers).map_err(ptrace_error)?;
        }
        match waiting.carry_out(state, thread, next)? {
            EngineStep::Return => resume_task(state, thread)?,
            EngineStep::ReturnAndAdopt(other) => {
                adopt_task(state, other)?;
                resume_task(state, thread)?;
            }
            EngineStep::KeepStopped => {}
        }
    }
    Ok(())
}

/// Waits until a new task has stopped itself, sets the task's registers to those of the thread's start, and
/// resumes the task.
fn adopt_task(state: &SandboxState, thread: usize) -> Result<(), SandboxError> {
    let tid = tid(state, thread);
    loop {
        let waited = sys::wait(tid, libc::__WALL);
        match waited.map_err(|errno| SandboxError::System("wait4", errno))? {
            Some((_, WaitStatus::Stopped(libc::SIGSTOP))) => break,
            Some((_, WaitStatus::Stopped(_))) => {
                state.count_signal();
                ptrace::request(tid, libc::PTRACE_CONT, 0, 0).map_err(ptrace_error)?;
            }
            // The task has died, and has recorded the reason in the state (`SandboxState::fail`).
            _ => return Ok(()),
        }
    }
    ptrace::set_options(tid).map_err(ptrace_error)?;
    let mut tracee_registers = ptrace::registers(tid).map_err(ptrace_error)?;
    let mut registers = tracee_registers.general();
    registers.replace_by_start(&state.thread(thread).first_registers);
    tracee_registers.set_general(&registers);
    ptrace::set_registers(tid, &tracee_registers).map_err(ptrace_error)?;
    resume_task(state, thread)
}

/// Waits for the next task that stops or dies. Returns `None` if a thread sleeps and no task has stopped; that
/// wait lasts at most [`POLL_INTERVAL`], and not longer than the sleep.
fn wait_for_stop(
    state: &SandboxState,
    waiting: &WaitingThreads,
) -> Result<Option<(usize, WaitStatus)>, SandboxError> {
    let time_left = waiting.time_left();
    let options = if time_left.is_some() { libc::WNOHANG | libc::__WALL } else { libc::__WALL };
    let waited = sys::wait(-1, options).map_err(|errno| SandboxError::System("wait4", errno))?;
    if let Some((tid, status)) = waited {
        let has_tid = |task: &Task| task.tid.load(Ordering::SeqCst) == tid;
        return Ok(state.tasks.iter().position(has_tid).map(|thread| (thread, status)));
    }
    if let Some(time) = time_left {
        sys::sleep(time.min(POLL_INTERVAL));
    }
    Ok(None)
}

fn tid(state: &SandboxState, thread: usize) -> i32 {
    state.tasks[thread].tid.load(Ordering::SeqCst)
}

fn ptrace_error(errno: sys::Errno) -> SandboxError {
    SandboxError::System("ptrace", errno)
}

/// Resumes a thread's task until its next call or signal.
fn resume_task(state: &SandboxState, thread: usize) -> Result<(), SandboxError> {
    ptrace::request(tid(state, thread), ptrace::SYSEMU, 0, 0).map(drop).map_err(ptrace_error)
}

/// The entry through which the call of a stopped tracee came (`AUDIT_ARCH_*`).
fn call_audit_arch(tid: i32) -> Result<u32, SandboxError> {
    let info = ptrace::call_info(tid).map_err(ptrace_error)?;
    // `struct ptrace_syscall_info` has `arch` at byte 4.
    Ok(u32::from_ne_bytes(std::array::from_fn(|i| info[4 + i])))
}

/// The fault of the program that a signal reports; `None` if the signal reports no fault.
///
/// # Errors
/// [`SandboxError::Died`] if the fault is in the code of guest-init.
fn reported_fault(tid: i32, signal: i32, pc: u64) -> Result<Option<Fault>, SandboxError> {
    let info = ptrace::signal_info(tid).map_err(ptrace_error)?;
    let fault = Fault::from_siginfo(signal, &info);
    match fault {
        Some(fault) if !program_memory::range().contains(&pc) && fault != Fault::Access(pc) => {
            Err(SandboxError::Died)
        }
        fault => Ok(fault),
    }
}
