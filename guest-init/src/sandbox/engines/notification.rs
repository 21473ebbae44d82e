// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The engine that uses seccomp's user notification (`SECCOMP_RET_USER_NOTIF`): the kernel notifies the
//! supervisor of each call, and the supervisor emulates the call.
//!
//! A notification has a 32-bit number, six arguments and the address of the next instruction. Its response
//! has one result. The supervisor reads the stack pointer from `/proc/PID/syscall`.

use super::filter;
use super::supervisor::{self, EngineStep, WaitingThreads};
use crate::arch::{AUDIT_ARCH, Reg, Registers};
use crate::sandbox::engine::SandboxError;
use crate::sandbox::personality::NextAction;
use crate::sandbox::state::{EngineOperations, SandboxState};
use crate::sandbox::task::ENTER_SIGNAL;
use crate::sandbox::thread::MAX_THREADS;
use crate::sys::{self, Errno};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

pub(super) const METHODS: EngineOperations = EngineOperations {
    is_supervised: true,
    enter_signal: ENTER_SIGNAL,
    intercept: install_listener,
    supervise: |state, _| supervise(state),
};

/// Time between two reads of `/proc/PID/syscall` while a task goes to sleep in its call.
const STACK_POLL_INTERVAL: Duration = Duration::from_micros(100);

/// Maximum time that the supervisor waits for a notification before it checks whether tasks have died.
const DEATH_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Installs, in the calling task, a filter that notifies the supervisor of calls from the program's memory.
/// The supervisor shares the task's descriptors, so it can use the listener. The flag `WAIT_KILLABLE_RECV`
/// (5.19 and later) prevents that a call is emulated twice: only a fatal signal interrupts a call that the
/// supervisor has received.
fn install_listener(state: &SandboxState, thread: usize, _: &AtomicU8) -> sys::Result<()> {
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let listener = filter::install(libc::SECCOMP_RET_USER_NOTIF, flags)?;
    let listener = i32::try_from(listener).unwrap_or(-1);
    state.tasks[thread].listener.store(listener + 1, Ordering::SeqCst);
    Ok(())
}

/// A call that has no response yet.
#[derive(Clone, Copy, Default)]
struct PendingCall {
    /// `struct seccomp_notif::id`
    id: u64,
    /// The result of the emulated call.
    result: u64,
}

/// Emulates calls until the program has ended, then kills the tasks and closes their listeners.
fn supervise(state: &SandboxState) -> Result<(), SandboxError> {
    let result = serve_calls(state);
    supervisor::kill_all_tasks(state);
    for task in &state.tasks {
        let listener = task.listener.swap(0, Ordering::SeqCst);
        if listener > 0 {
            let _ = sys::close(listener - 1);
        }
    }
    result
}

/// Emulates calls until the program has ended or a task has died.
fn serve_calls(state: &SandboxState) -> Result<(), SandboxError> {
    let mut waiting = WaitingThreads::default();
    let mut pending_calls = [PendingCall::default(); MAX_THREADS];
    while !state.is_over() {
        while let Some(thread) = waiting.take_ready_thread(state) {
            respond(state, thread, pending_calls[thread])?;
        }
        let timeout = waiting.time_left().unwrap_or(DEATH_POLL_INTERVAL).min(DEATH_POLL_INTERVAL);
        let Some(thread) = wait_for_call(state, timeout)? else {
            if supervisor::reap_dead_task(state) {
                return Ok(());
            }
            continue;
        };
        let Some((mut registers, mut call)) = receive_call(state, thread)? else { continue };
        // Only native calls are notified. The filter sends other calls to the task's own SIGSYS handler.
        let next = state.call(thread, &mut registers, AUDIT_ARCH);
        call.result = registers[Reg::RESULT];
        match waiting.carry_out(state, thread, next)? {
            EngineStep::Return | EngineStep::ReturnAndAdopt(_) => respond(state, thread, call)?,
            EngineStep::KeepStopped => pending_calls[thread] = call,
        }
        if matches!(next, NextAction::EndProgram(_)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Waits for a call. Returns the index of the calling thread; `None` after `timeout`, or earlier while a task
/// starts.
fn wait_for_call(state: &SandboxState, timeout: Duration) -> Result<Option<usize>, SandboxError> {
    let mut fds = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; MAX_THREADS];
    let mut is_task_starting = false;
    for (fd, task) in fds.iter_mut().zip(&state.tasks) {
        // Listeners of dead tasks are always readable, so skip them.
        if task.tid.load(Ordering::SeqCst) > 0 {
            fd.fd = task.listener.load(Ordering::SeqCst) - 1;
            is_task_starting |= fd.fd < 0;
        }
    }
    // A starting task does not wake the supervisor when the task installs its listener, so look again soon.
    let timeout = if is_task_starting { Duration::from_millis(1) } else { timeout };
    // Poll for at least 1 ms if any time is left, so as not to spin through the last millisecond.
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let millis = millis.max(i32::from(!timeout.is_zero()));
    // SAFETY: the array has `MAX_THREADS` entries.
    let count = unsafe { libc::poll(fds.as_mut_ptr(), MAX_THREADS as libc::nfds_t, millis) };
    if count < 0 && last_errno() != libc::EINTR {
        return Err(SandboxError::System("poll", Errno(last_errno())));
    }
    Ok(fds.iter().position(|fd| fd.revents & libc::POLLIN != 0))
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Issues an ioctl(2) on a thread's listener.
fn listener_ioctl<T>(
    state: &SandboxState,
    thread: usize,
    request: u64,
    data: &mut T,
) -> sys::Result<u64> {
    let listener = state.tasks[thread].listener.load(Ordering::SeqCst) - 1;
    let data = std::ptr::from_mut(data) as u64;
    // SAFETY: callers pass the structure that the request reads or writes.
    unsafe { sys::call(libc::SYS_ioctl, &[u64::from(listener.cast_unsigned()), request, data]) }
}

/// Receives the notification of a thread's call. Returns the registers that the notification shows, and the
/// call; `None` if a signal interrupted the call.
fn receive_call(
    state: &SandboxState,
    thread: usize,
) -> Result<Option<(Registers, PendingCall)>, SandboxError> {
    // SAFETY: a structure of integers; the kernel requires it to be zeroed.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    match listener_ioctl(state, thread, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut notification) {
        Err(Errno(libc::ENOENT | libc::EINTR)) => return Ok(None),
        result => {
            result.map_err(|errno| SandboxError::System("SECCOMP_IOCTL_NOTIF_RECV", errno))?
        }
    };
    let mut registers = Registers::default();
    registers[Reg::NUMBER] = i64::from(notification.data.nr).cast_unsigned();
    for (reg, value) in Reg::ARGUMENTS.into_iter().zip(notification.data.args) {
        registers[reg] = value;
    }
    registers[Reg::INSTRUCTION_POINTER] = notification.data.instruction_pointer;
    registers[Reg::Sp] = stack_pointer_of(notification.pid).ok_or(SandboxError::System(
        "reading the stack pointer from /proc/PID/syscall",
        Errno(libc::ESRCH),
    ))?;
    Ok(Some((registers, PendingCall { id: notification.id, result: 0 })))
}

/// The stack pointer of a task that sleeps in a call, from `/proc/PID/syscall` (proc(5): the number, six
/// arguments, the stack pointer, the program counter). The notification can arrive before the task sleeps;
/// until then the file contains `running`.
fn stack_pointer_of(pid: u32) -> Option<u64> {
    loop {
        let text = std::fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
        if text.trim_end() != "running" {
            let word = text.split_whitespace().nth(7)?;
            return u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
        }
        sys::sleep(STACK_POLL_INTERVAL);
    }
}

/// Sends the response by which a call returns its result.
fn respond(state: &SandboxState, thread: usize, call: PendingCall) -> Result<(), SandboxError> {
    let mut response = libc::seccomp_notif_resp {
        id: call.id,
        val: call.result.cast_signed(),
        error: 0,
        flags: 0,
    };
    match listener_ioctl(state, thread, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut response) {
        // With ENOENT the task was killed.
        Ok(_) | Err(Errno(libc::ENOENT)) => Ok(()),
        Err(errno) => Err(SandboxError::System("SECCOMP_IOCTL_NOTIF_SEND", errno)),
    }
}
