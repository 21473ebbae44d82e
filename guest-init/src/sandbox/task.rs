// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The Linux tasks that run foreign threads: how they start, enter the program and handle signals.
//!
//! A task starts in the code of guest-init, on one of its native stacks. To enter the program, the task
//! sends itself a signal. The signal's handler writes the program's registers to the signal frame and
//! returns, so the entry needs no assembly. The `rt_sigreturn(2)` of the handler is in the allowed range,
//! so the kernel executes it even with the selector at BLOCK.

use super::engine::SandboxError;
use super::personality::{self, Fault, NextAction};
use super::program_memory;
use super::state::{NATIVE_STACK_LENGTH, SandboxState};
use crate::arch::{self, Reg, UserContext};
use crate::support::{ALLOW, BLOCK};
use crate::sys::{self, Errno, SigAction};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// The signal that cases send to a task from another process. The program must be unaffected.
pub(super) const OUTSIDE_SIGNAL: i32 = libc::SIGUSR1;
/// The signal by which a task without a tracer enters the program.
pub(super) const ENTER_SIGNAL: i32 = libc::SIGUSR2;
/// The signals that report faults.
const FAULT_SIGNALS: [i32; 5] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// Time between two checks of whether another thread has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Starts the task of a thread and returns its thread ID. A task that emulates its own calls is a
/// thread of the first task. A supervised task is a process that shares memory and files with the
/// supervisor, but not the signal handlers.
///
/// # Errors
/// As `clone(2)`.
pub(super) fn start_task(state: &SandboxState, thread: usize) -> Result<i32, Errno> {
    let shared = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS;
    let flags = if thread == 0 || state.operations.is_supervised {
        shared | libc::SIGCHLD
    } else {
        shared | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_SYSVSEM
    };
    // Block all signals until the task has installed its handlers.
    let previous_mask = sys::sigmask(libc::SIG_SETMASK, u64::MAX)?;
    // SAFETY: the stack belongs to this task, and stays mapped until all tasks are dead.
    let result = unsafe {
        let stack_start = (state.native_stacks(thread) + NATIVE_STACK_LENGTH as u64) as *mut u8;
        let stack = std::slice::from_raw_parts_mut(stack_start, NATIVE_STACK_LENGTH);
        let stack_pointer = arch::prepare_stack(stack, task_main, thread as u64);
        let flags = u64::from(flags.cast_unsigned());
        arch::spawn(libc::SYS_clone.cast_unsigned(), [flags, stack_pointer, 0, 0])
    };
    sys::sigmask(libc::SIG_SETMASK, previous_mask)?;
    let tid = sys::split_result(result).map(|tid| i32::try_from(tid).unwrap_or(-1))?;
    state.set_tid(thread, tid);
    Ok(tid)
}

/// Waits for the end of the first task, whose threads emulate their own calls.
///
/// # Errors
/// [`SandboxError::System`]
pub(super) fn wait_for_end(_: &SandboxState, first_tid: i32) -> Result<(), SandboxError> {
    let waited = sys::wait(first_tid, libc::__WALL);
    waited.map(drop).map_err(|errno| SandboxError::System("wait4", errno))
}

/// The first function of a task.
extern "C" fn task_main(thread: u64) -> u64 {
    let state = SandboxState::current();
    let thread = usize::try_from(thread).unwrap_or(0);
    let result = set_up_task(state, thread)
        .and_then(|()| sys::tgkill(sys::getpid(), sys::gettid(), state.operations.enter_signal));
    // The handler of the signal enters the program, so only a task whose set-up failed continues
    // here.
    let errno = result.err().unwrap_or(Errno(0));
    let _ = sys::sigmask(libc::SIG_SETMASK, u64::MAX);
    state.fail(SandboxError::System("setting up a task", errno));
    sys::exit(1)
}

/// Sets up the calling task: its handlers, its thread register, and the engine.
fn set_up_task(state: &SandboxState, thread: usize) -> sys::Result<()> {
    // Both reads take the lock, so make them while signals are blocked: a handler that interrupted the task
    // with the lock held would wait for the lock for ever.
    let thread_register = state.thread(thread).thread_register;
    let selector = dispatch_selector(state, thread);
    // SAFETY: the stack is this task's own, the functions are signal handlers, and guest-init
    // does not use the thread register.
    unsafe {
        sys::prctl(libc::PR_SET_PDEATHSIG, 9, 0, 0, 0)?;
        sys::sigaltstack(state.native_stacks(thread), NATIVE_STACK_LENGTH as u64, 0)?;
        sys::sigaction(ENTER_SIGNAL, &native_action(on_enter_signal as *const () as u64))?;
        sys::sigaction(OUTSIDE_SIGNAL, &native_action(on_outside_signal as *const () as u64))?;
        sys::sigaction(libc::SIGSYS, &native_action(on_sigsys as *const () as u64))?;
        for signal in FAULT_SIGNALS {
            sys::sigaction(signal, &native_action(on_fault as *const () as u64))?;
        }
        if thread_register != 0 {
            arch::set_thread_register(thread_register)?;
        }
        sys::sigmask(libc::SIG_SETMASK, 0)?;
    }
    (state.operations.intercept)(state, thread, selector)
}

/// The disposition of a handler that runs on the task's native stack with all signals blocked, and
/// returns through the allowed range.
fn native_action(handler: u64) -> SigAction {
    let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    SigAction {
        handler,
        flags: u64::from(flags.cast_unsigned()) | sys::SA_RESTORER,
        restorer: arch::restorer(),
        mask: u64::MAX,
    }
}

/// A thread's dispatch selector.
pub(super) fn dispatch_selector(state: &SandboxState, thread: usize) -> &AtomicU8 {
    match state.thread(thread).selector_address {
        0 => &state.tasks[thread].selector,
        // SAFETY: a personality put the selector into the program's memory, where it stays mapped.
        address => unsafe { &*(address as *const AtomicU8) },
    }
}

/// Handler of [`ENTER_SIGNAL`]: its return enters the program.
extern "C" fn on_enter_signal(_: i32, _: *const u8, frame: *mut UserContext) {
    let state = SandboxState::current();
    let thread = state.thread_on_stack(arch::current_stack_pointer());
    let first_registers = state.thread(thread).first_registers;
    // SAFETY: the kernel passes the signal frame, which nothing else uses.
    let registers = unsafe { &mut (*frame).registers };
    registers.replace_by_start(&first_registers);
    dispatch_selector(state, thread).store(BLOCK, Ordering::SeqCst);
}

/// Handler of [`OUTSIDE_SIGNAL`].
extern "C" fn on_outside_signal(_: i32, _: *const u8, _: *mut UserContext) {
    SandboxState::current().count_signal();
}

/// Handler of SIGSYS: emulates the call that the signal reports. A SIGSYS from another process reports no
/// call and is only counted.
extern "C" fn on_sigsys(_: i32, info: *const [u8; 128], frame: *mut UserContext) {
    let state = SandboxState::current();
    let thread = state.thread_on_stack(arch::current_stack_pointer());
    with_calls_allowed(state, thread, || {
        // SAFETY: the kernel passes siginfo and signal frame to the handler, and nothing else uses
        // them.
        let (info, registers) = unsafe { (&*info, &mut (*frame).registers) };
        let Some(audit_arch) = personality::audit_arch(info) else {
            return state.count_signal();
        };
        let next = state.call(thread, registers, audit_arch);
        carry_out(state, next);
    });
}

/// Handler of [`FAULT_SIGNALS`]: emulates the reaction of the foreign system to a fault of the
/// program. A fault in the code of guest-init ends the process with [`SandboxError::Died`].
extern "C" fn on_fault(signal: i32, info: *const [u8; 128], frame: *mut UserContext) {
    let state = SandboxState::current();
    let thread = state.thread_on_stack(arch::current_stack_pointer());
    with_calls_allowed(state, thread, || {
        // SAFETY: the kernel passes siginfo and signal frame to the handler, and nothing else uses
        // them.
        let (info, registers) = unsafe { (&*info, &mut (*frame).registers) };
        let Some(fault) = Fault::from_siginfo(signal, info) else { return state.count_signal() };
        let pc = registers[Reg::INSTRUCTION_POINTER];
        // If the program has jumped to unmapped memory, the faulting address is the program counter.
        if !program_memory::range().contains(&pc) && fault != Fault::Access(pc) {
            state.fail(SandboxError::Died);
            sys::exit(1);
        }
        let next = state.fault(thread, registers, fault);
        carry_out(state, next);
    });
}

/// Runs a function with the thread's selector at ALLOW.
fn with_calls_allowed<T>(state: &SandboxState, thread: usize, run: impl FnOnce() -> T) -> T {
    let selector = dispatch_selector(state, thread);
    selector.store(ALLOW, Ordering::SeqCst);
    let result = run();
    selector.store(BLOCK, Ordering::SeqCst);
    result
}

/// Carries out, in the task itself, the action that follows an emulated call.
fn carry_out(state: &SandboxState, next: NextAction) {
    match next {
        NextAction::Continue => {}
        // The handler runs with all signals blocked, so no signal ends the sleep early.
        NextAction::Sleep(time) => sys::sleep(time),
        NextAction::AwaitEndOf(thread) => {
            while state.is_running(thread) {
                sys::sleep(POLL_INTERVAL);
            }
        }
        NextAction::StartThread(thread) => {
            if let Err(errno) = start_task(state, thread) {
                state.fail(SandboxError::System("clone", errno));
                sys::exit(1);
            }
        }
        // SAFETY: ends this thread, whose state is not used any more.
        NextAction::EndThread(_) => drop(unsafe { sys::call(libc::SYS_exit, &[0]) }),
        NextAction::EndProgram(_) => sys::exit(0),
    }
}
