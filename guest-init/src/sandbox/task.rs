// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How the tasks begin in which foreign threads run.
//!
//! A task begins in code of ours, on a stack of ours, and enters the foreign program by the return
//! from a signal handler that put the program's registers into the frame: no code has to be written
//! for that, and what is entered with BLOCK is entered from the allowed range.

use super::arena;
use super::room::{NATIVE, Room};
use super::{Engine, Problem, notification, trap};
use crate::arch::{self, Context};
use crate::ptrace;
use crate::support::{ALLOW, BLOCK, EXCLUSIVE, INCLUSIVE, inside_length};
use crate::sys::{self, Action, Errno};
use std::sync::atomic::{AtomicU8, Ordering};

/// Sent from outside to see that it does no harm.
pub(super) const OUTSIDE_SIGNAL: i32 = libc::SIGUSR1;
/// By which a task enters the program.
const ENTER_SIGNAL: i32 = libc::SIGUSR2;
/// What faults are told by.
const FAULTS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// Starts the task of a thread: a thread where tasks emulate themselves, else a process that shares
/// all with its supervisor but the answer to signals.
pub(super) fn start(room: &Room, thread: usize) -> Result<i32, Errno> {
    let own = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS;
    let flags = if thread == 0 || room.engine.supervised() {
        own | libc::SIGCHLD
    } else {
        own | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_SYSVSEM
    };
    // The task takes no signal before it has handlers.
    let mask = sys::sigmask(libc::SIG_SETMASK, u64::MAX)?;
    // SAFETY: the stack is this task's alone, and stays until all tasks are dead.
    let answer = unsafe {
        let place = (room.native(thread) + NATIVE as u64) as *mut u8;
        let stack = std::slice::from_raw_parts_mut(place, NATIVE);
        let top = arch::prepare_stack(stack, begin, thread as u64);
        let flags = u64::from(flags.cast_unsigned());
        arch::spawn(libc::SYS_clone.cast_unsigned(), [flags, top, 0, 0])
    };
    sys::sigmask(libc::SIG_SETMASK, mask)?;
    let task = sys::split(answer).map(|task| i32::try_from(task).unwrap_or(-1))?;
    room.has_task(thread, task);
    Ok(task)
}

extern "C" fn begin(thread: u64) -> u64 {
    let room = Room::current();
    let thread = usize::try_from(thread).unwrap_or(0);
    let entered = prepare(room, thread).and_then(|()| {
        let signal = if room.engine == Engine::Trace { libc::SIGSTOP } else { ENTER_SIGNAL };
        sys::tgkill(sys::getpid(), sys::gettid(), signal)
    });
    // Behind the signal is the program; here is who could not get there.
    let errno = entered.err().unwrap_or(Errno(0));
    let _ = sys::sigmask(libc::SIG_SETMASK, u64::MAX);
    room.give_up(Problem::System("setting up a task", errno));
    sys::exit(1)
}

fn prepare(room: &Room, thread: usize) -> sys::Result<()> {
    // From where signals come on, handlers may want the lock, and nothing else here must have it.
    let state = room.state(thread);
    let selector = std::ptr::from_ref(selector(room, thread)) as u64;
    // SAFETY: memory of this task's own; the handlers are handlers; nothing of ours uses the register
    // of the block.
    unsafe {
        sys::prctl(libc::PR_SET_PDEATHSIG, 9, 0, 0, 0)?;
        sys::sigaltstack(room.native(thread), NATIVE as u64, 0)?;
        sys::sigaction(ENTER_SIGNAL, &action(enter as *const () as u64))?;
        sys::sigaction(OUTSIDE_SIGNAL, &action(on_signal as *const () as u64))?;
        sys::sigaction(libc::SIGSYS, &action(trap::on_call as *const () as u64))?;
        for signal in FAULTS {
            sys::sigaction(signal, &action(trap::on_fault as *const () as u64))?;
        }
        if state.block != 0 {
            arch::set_block(state.block)?;
        }
        sys::sigmask(libc::SIG_SETMASK, 0)?;
    }
    match room.engine {
        Engine::Exclusive => {
            sys::set_dispatch(EXCLUSIVE, arch::inside().start, inside_length(), selector)
        }
        Engine::Inclusive => sys::set_dispatch(INCLUSIVE, arena::BASE, arena::LENGTH, selector),
        // A filter is every later thread's too.
        Engine::Filter if thread != 0 => Ok(()),
        Engine::Filter => trap::install_filter(libc::SECCOMP_RET_TRAP, 0).map(drop),
        Engine::Notification => {
            let listener = notification::listen()?;
            room.tasks[thread].listener.store(listener + 1, Ordering::SeqCst);
            Ok(())
        }
        Engine::Trace => ptrace::trace_me(),
    }
}

/// Handlers run on the task's own stack, are not interrupted, and return from the allowed range.
fn action(handler: u64) -> Action {
    let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    Action {
        handler,
        flags: u64::from(flags.cast_unsigned()) | sys::SA_RESTORER,
        restorer: arch::restorer(),
        mask: u64::MAX,
    }
}

/// A thread's selector.
pub(super) fn selector(room: &Room, thread: usize) -> &AtomicU8 {
    match room.state(thread).selector {
        0 => &room.tasks[thread].selector,
        // SAFETY: a personality put it into the program's memory, where it stays.
        address => unsafe { &*(address as *const AtomicU8) },
    }
}

/// Leaves our code for the program's.
extern "C" fn enter(_: i32, _: *const u8, frame: *mut Context) {
    let room = Room::current();
    let thread = room.thread_on(arch::current_stack());
    let start = room.state(thread).start;
    // SAFETY: the kernel hands a handler its frame, which nobody else uses.
    let registers = unsafe { &mut (*frame).registers };
    registers.become_start(&start);
    selector(room, thread).store(BLOCK, Ordering::SeqCst);
}

/// A signal from outside.
extern "C" fn on_signal(_: i32, _: *const u8, _: *mut Context) {
    Room::current().signal();
}

/// For the time of a handler, the thread's calls are ours.
pub(super) fn as_native<T>(room: &Room, thread: usize, what: impl FnOnce() -> T) -> T {
    let selector = selector(room, thread);
    selector.store(ALLOW, Ordering::SeqCst);
    let result = what();
    selector.store(BLOCK, Ordering::SeqCst);
    result
}
