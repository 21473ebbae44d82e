// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Child processes and threads of cases: how they start, end and synchronise, and their memory.

use super::*;
use crate::arch;
use crate::case::{Check, Failure};
use crate::shared::shared;
use crate::sys::{self, Change};
use std::sync::atomic::Ordering;

/// Runs a function in a child and gives the child's end. The result of the function is the exit code.
///
/// The child shares this process's memory on a separate stack, and this process waits, as with vfork(2). In
/// an emulated machine this takes an eighth of the time of a fork, as no memory is copied. The child has its
/// own signal dispositions, mask and dispatch configuration. The selector is shared, and is set to ALLOW
/// afterwards.
pub(crate) fn run_vforked<F: FnOnce() -> i32>(run: F) -> Result<Change, Failure> {
    extern "C" fn enter<F: FnOnce() -> i32>(slot: u64) -> u64 {
        // SAFETY: the parent passes the address of a live value, and waits.
        let slot = unsafe { &mut *(slot as *mut Option<F>) };
        sys::exit(slot.take().map_or(97, |run| run()))
    }
    let mut slot = Some(run);
    let stack = prepare_task_stack(enter::<F>, &raw mut slot as u64)?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let arguments = [u64::from(flags.cast_unsigned()), stack, 0, 0];
    // SAFETY: the stack is prepared and stays mapped.
    let child = sys::split(unsafe { arch::spawn(call_number(libc::SYS_clone), arguments) });
    set_selector(ALLOW);
    let child = child.map_err(broken("clone"))?;
    wait_change(i32::try_from(child).map_err(broken("clone"))?)
}

/// Forks a child that runs a function and exits with its result. Returns the child's process id.
pub(crate) fn spawn_child(run: impl FnOnce() -> i32) -> Result<i32, Failure> {
    // SAFETY: cases that fork have one thread, or a child that takes no locks.
    match unsafe { sys::fork() }.map_err(broken("fork"))? {
        0 => {
            // SAFETY: takes no pointers.
            let _ = unsafe { sys::prctl(libc::PR_SET_PDEATHSIG, 9, 0, 0, 0) };
            sys::exit(run())
        }
        child => Ok(child),
    }
}

/// Waits until a child ends or, if it is traced, stops.
pub(crate) fn wait_change(child: i32) -> Result<Change, Failure> {
    let waited = sys::wait(child, libc::__WALL).map_err(broken("wait4"))?;
    waited.map(|(_, change)| change).ok_or_else(|| Failure::Broken("wait4 gave nothing".into()))
}

/// Checks that a child exited with 0.
pub(crate) fn expect_success(change: Change) -> Check {
    equal("the child", change.to_string(), Change::Exited(0).to_string())
}

/// Checks that a child was killed by this signal, after exactly `handled` dispatches were handled and no
/// other signal was.
pub(crate) fn expect_killed(change: Change, signal: i32, handled: u32) -> Check {
    ensure(
        matches!(change, Change::Killed { signal: killer, .. } if killer == signal),
        &format!("the process is killed by {}", sys::signal_name(signal)),
        || format!("it {change}"),
    )?;
    equal("handlers of SIGSYS run", dispatches(), handled)?;
    equal("handlers of other signals run", shared().other_signals.load(Ordering::SeqCst), 0)
}

/// The exit code for a child's success or failure: 0 for true, 1 for false.
pub(crate) fn exit_code(success: bool) -> i32 {
    i32::from(!success)
}

/// Maps zeroed pages.
pub(crate) fn map_pages(count: usize) -> Result<*mut u8, Failure> {
    sys::map(count * PAGE, false).map_err(broken("mmap"))
}

/// Changes the protection of pages from [`map_pages`].
pub(crate) fn protect(start: *mut u8, count: usize, protection: i32) -> Check {
    // SAFETY: cases pass pages that nothing else uses.
    unsafe { sys::protect(start, count * PAGE, protection) }.map_err(broken("mprotect"))
}

/// Waits until another task sets a mark to this value. Marks are words of
/// [`Shared`](crate::shared::Shared).
pub(crate) fn await_mark(mark: usize, value: u64) {
    while shared().marks[mark].load(Ordering::SeqCst) != value {
        sys::sched_yield();
    }
}

/// Sets a mark.
pub(crate) fn set_mark(mark: usize, value: u64) {
    shared().marks[mark].store(value, Ordering::SeqCst);
}

/// The value of a mark.
pub(crate) fn mark(mark: usize) -> u64 {
    shared().marks[mark].load(Ordering::SeqCst)
}

/// Maps the stack of a task that shares this process's memory, and prepares it to call `run`. Returns the
/// first stack pointer. The stack is never freed, since nothing reports when the task has left it.
pub(crate) fn prepare_task_stack(
    run: extern "C" fn(u64) -> u64,
    argument: u64,
) -> Result<u64, Failure> {
    const PAGES: usize = 16;
    // SAFETY: newly mapped, and zeroed.
    let stack = unsafe { std::slice::from_raw_parts_mut(map_pages(PAGES)?, PAGES * PAGE) };
    Ok(arch::prepare_stack(stack, run, argument))
}

/// Starts a thread without the C library. The thread shares its creator's thread-local storage, so it must
/// neither allocate nor panic.
pub(crate) fn spawn_thread(run: extern "C" fn(u64) -> u64, argument: u64) -> Result<u64, Failure> {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    let arguments = [u64::from(flags.cast_unsigned()), prepare_task_stack(run, argument)?, 0, 0];
    // SAFETY: the stack is prepared and stays mapped.
    sys::split(unsafe { arch::spawn(call_number(libc::SYS_clone), arguments) })
        .map_err(broken("clone"))
}
