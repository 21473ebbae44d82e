// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The workloads: functions that repeat one operation `count` times.

use crate::arch::{self, Registers};
use crate::case::{Check, Failure};
use crate::filter;
use crate::ptrace;
use crate::support::*;
use crate::sys::{self, WaitStatus};
use crate::tracee::{Config, Tracee, pause_for_tracer};
use std::sync::atomic::{AtomicPtr, Ordering};

/// The registers of the call that workloads issue, a getppid(2).
fn harmless_call() -> Registers {
    Registers::for_call(call_number(libc::SYS_getppid), [0; 6])
}

/// Issues calls that are dispatched and handled.
pub(super) fn handled_dispatches(count: u32) -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    reset_dispatch_count();
    for _ in 0..count {
        let _ = issue_blocked(&arch::gate(), &harmless_call());
    }
    disarm()?;
    expect_equal("SIGSYS handled", dispatch_count(), count)
}

/// Issues pairs of dispatched calls, the second in the handler of the first.
pub(super) fn nested_dispatches(count: u32) -> Check {
    fn dispatch_once_more(dispatch: Dispatch<'_>) {
        if dispatch.index.is_multiple_of(2) {
            let _ = arch::second_gate().issue(&harmless_call());
        }
    }
    handle_dispatches_with(dispatch_once_more, libc::SA_NODEFER, 0)?;
    arm()?;
    reset_dispatch_count();
    for _ in 0..count {
        let _ = issue_blocked(&arch::gate(), &harmless_call());
    }
    disarm()?;
    expect_equal("SIGSYS handled", dispatch_count(), 2 * count)
}

/// Issues calls inside the allowed range, and calls outside it that the selector allows.
pub(super) fn allowed_calls(count: u32) -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    reset_dispatch_count();
    for _ in 0..count {
        let _ = sys::getpid();
        let _ = arch::gate().issue(&harmless_call());
    }
    disarm()?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}

/// Arms with and without a range, disarms, and makes requests that the kernel refuses.
pub(super) fn arming(count: u32) -> Check {
    let selector = selector_address(&SELECTOR);
    for _ in 0..count {
        arm()?;
        expect_accepted(MODE_EXCLUSIVE, 0, 0, selector)?;
        expect_refused(MODE_EXCLUSIVE, 8, u64::MAX, selector, libc::EINVAL)?;
        expect_refused(9, 0, 0, 0, libc::EINVAL)?;
        disarm()?;
        expect_refused(MODE_OFF, 1, 0, 0, libc::EINVAL)?;
    }
    Ok(())
}

/// Disarms the calling task, which is not armed.
pub(super) fn disarming_again(count: u32) -> Check {
    (0..count).try_for_each(|_| disarm())
}

/// Sets and reads the configuration of a tracee, and makes requests that the kernel refuses.
pub(super) fn tracer_configurations(count: u32) -> Check {
    let tracee = Tracee::start(|| {
        pause_for_tracer();
        0
    })?;
    let inside = arch::inside().start;
    let config =
        Config { mode: MODE_EXCLUSIVE, selector: 0, offset: inside, length: inside_length() };
    for _ in 0..count {
        tracee
            .set_config(&config)
            .map_err(refused_request("PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG"))?;
        expect_equal("the configuration", tracee.config()?, config)?;
        let refused = tracee.set_config(&Config { mode: 9, ..config });
        expect_equal("setting an invalid mode", refused, Err(sys::Errno(libc::EINVAL)))?;
    }
    tracee.kill()
}

/// Traces a child that makes `count` dispatched calls, and resumes the child at each SIGSYS with
/// `delivered_signal`: SIGSYS, or 0 to suppress the signal.
fn trace_dispatches(count: u32, delivered_signal: i32) -> Check {
    handle_dispatches(do_nothing)?;
    let tracee = Tracee::start(|| {
        if arm().is_err() {
            return SETUP_FAILED;
        }
        pause_for_tracer();
        for _ in 0..count {
            let _ = issue_blocked(&arch::gate(), &harmless_call());
        }
        0
    })?;
    let mut signal = 0;
    for _ in 0..count {
        tracee.resume_to_signal(libc::PTRACE_CONT, signal, libc::SIGSYS)?;
        ptrace::signal_info(tracee.pid).map_err(refused_request("PTRACE_GETSIGINFO"))?;
        signal = delivered_signal;
    }
    expect_success(tracee.resume(libc::PTRACE_CONT, signal)?)
}

/// Traces a child and delivers each SIGSYS.
pub(super) fn delivered_dispatches(count: u32) -> Check {
    trace_dispatches(count, libc::SIGSYS)
}

/// Traces a child and suppresses each SIGSYS.
pub(super) fn suppressed_dispatches(count: u32) -> Check {
    trace_dispatches(count, 0)
}

/// Runs a function in a child that shares this process's memory, on the stack [`reused_stack`]. The child exits
/// with the function's result. Returns how the child ended.
fn run_on_stack(stack: *mut u8, run: &dyn Fn() -> i32) -> Result<WaitStatus, Failure> {
    extern "C" fn enter(run: u64) -> u64 {
        // SAFETY: the parent passes the address of the reference, and waits.
        sys::exit(unsafe { *(run as *const &dyn Fn() -> i32) }())
    }
    // SAFETY: the previous child has ended, so the stack is unused.
    let slice = unsafe { std::slice::from_raw_parts_mut(stack, STACK_PAGES * PAGE_SIZE) };
    let top = arch::prepare_stack(slice, enter, &raw const run as u64);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let arguments = [u64::from(flags.cast_unsigned()), top, 0, 0];
    // SAFETY: the stack was prepared and stays.
    let child = sys::split_result(unsafe { arch::spawn(call_number(libc::SYS_clone), arguments) });
    set_selector(ALLOW);
    wait_for_change(i32::try_from(child.map_err(broken("clone"))?).map_err(broken("clone"))?)
}

/// Pages of the stack of a child or thread.
const STACK_PAGES: usize = 16;

/// The stack that all repetitions use, one after the other.
fn reused_stack() -> Result<*mut u8, Failure> {
    static STACK: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
    if STACK.load(Ordering::SeqCst).is_null() {
        STACK.store(map_pages(STACK_PAGES)?, Ordering::SeqCst);
    }
    Ok(STACK.load(Ordering::SeqCst))
}

/// Starts children that make one call, and checks that `signal` kills each child at its call. `prepare` arms
/// the child with the index in its argument, and returns whether it succeeded.
fn expect_children_killed(count: u32, signal: i32, prepare: impl Fn(u32) -> bool) -> Check {
    let stack = reused_stack()?;
    for round in 0..count {
        let status = run_on_stack(stack, &|| {
            if !prepare(round) {
                return SETUP_FAILED;
            }
            let _ = arch::gate().issue(&harmless_call());
            0
        })?;
        let is_killed =
            matches!(status, WaitStatus::Killed { signal: killer, .. } if killer == signal);
        ensure(is_killed, &format!("it is killed by {}", sys::signal_name(signal)), || {
            format!("it {status}")
        })?;
    }
    Ok(())
}

/// Starts children that a selector of value [`INVALID`] kills.
pub(super) fn deaths_by_selector_value(count: u32) -> Check {
    expect_children_killed(count, libc::SIGSYS, |_| {
        let armed = arm().is_ok();
        set_selector(INVALID);
        armed
    })
}

/// Starts children that a selector at the unmapped address 1 kills.
pub(super) fn deaths_by_unreadable_selector(count: u32) -> Check {
    expect_children_killed(count, libc::SIGSEGV, |_| arm_with_selector(1).is_ok())
}

/// Starts children that a SIGSYS kills because it has no handler, is ignored, or is blocked.
pub(super) fn deaths_by_unhandled_sigsys(count: u32) -> Check {
    expect_children_killed(count, libc::SIGSYS, |round| {
        let ignore =
            sys::SigAction { handler: u64::from(round % 3 == 1), ..sys::SigAction::default() };
        // SAFETY: sets the default action, or SIG_IGN.
        let set = unsafe { sys::sigaction(libc::SIGSYS, &ignore) }.is_ok();
        let mask = if round % 3 == 2 { sys::signal_bit(libc::SIGSYS) } else { 0 };
        let set = set && (mask == 0 || handle_dispatches(do_nothing).is_ok());
        let armed = arm().is_ok();
        set_selector(BLOCK);
        set && sys::sigmask(libc::SIG_SETMASK, mask).is_ok() && armed
    })
}

/// A thread that waits until its process ends.
extern "C" fn wait_for_end(_: u64) -> u64 {
    loop {
        // SAFETY: waits, and touches no memory.
        let _ = unsafe { sys::call(libc::SYS_ppoll, &[0, 0, 0, 0, 8]) };
    }
}

/// Starts children that the selector kills while a second thread waits.
pub(super) fn deaths_of_threads(count: u32) -> Check {
    for _ in 0..count {
        let child = spawn_child(|| {
            let is_prepared = spawn_thread(wait_for_end, 0).is_ok() && arm().is_ok();
            set_selector(INVALID);
            if is_prepared {
                let _ = arch::gate().issue(&harmless_call());
            }
            0
        })?;
        let status = wait_for_change(child)?;
        let is_killed = matches!(status, WaitStatus::Killed { signal: libc::SIGSYS, .. });
        ensure(is_killed, "it is killed by SIGSYS", || format!("it {status}"))?;
    }
    Ok(())
}

/// Forks children that arm and make one dispatched call.
pub(super) fn forks(count: u32) -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    for _ in 0..count {
        let child = spawn_child(|| {
            let armed = arm().is_ok();
            let _ = issue_blocked(&arch::gate(), &harmless_call());
            exit_code(armed)
        })?;
        expect_success(wait_for_change(child)?)?;
    }
    disarm()
}

/// Starts threads that arm and make one dispatched call.
pub(super) fn threads(count: u32) -> Check {
    extern "C" fn arm_and_dispatch(round: u64) -> u64 {
        let armed = arm().is_ok();
        let _ = issue_blocked(&arch::gate(), &harmless_call());
        set_shared_word(0, if armed { round } else { u64::MAX });
        0
    }
    handle_dispatches(do_nothing)?;
    arm()?;
    // All threads use this stack, one after the other.
    let stack = reused_stack()?;
    for round in 1..=u64::from(count) {
        // SAFETY: the previous thread has ended, so the stack is unused.
        let slice = unsafe { std::slice::from_raw_parts_mut(stack, STACK_PAGES * PAGE_SIZE) };
        let top = arch::prepare_stack(slice, arm_and_dispatch, round);
        let arguments = [u64::from(sys::THREAD_FLAGS.cast_unsigned()), top, 0, 0];
        // SAFETY: the stack was prepared and stays.
        let thread =
            sys::split_result(unsafe { arch::spawn(call_number(libc::SYS_clone), arguments) });
        let thread = i32::try_from(thread.map_err(broken("clone"))?).map_err(broken("clone"))?;
        while sys::tgkill(sys::getpid(), thread, 0).is_ok() {
            sys::sched_yield();
        }
        expect_equal("a thread arms and dispatches", shared_word(0), round)?;
    }
    disarm()
}

/// Starts an armed child that installs filters for all its threads, of which one waits. Each filter but the first
/// takes the place of the one before it in that thread.
pub(super) fn synchronized_filters(count: u32) -> Check {
    let child = spawn_child(|| {
        let is_prepared = arm().is_ok() && spawn_thread(wait_for_end, 0).is_ok();
        let is_installed = || {
            let action = libc::SECCOMP_RET_ALLOW;
            let mut allow = [filter::statement(libc::BPF_RET | libc::BPF_K, 0, 0, action)];
            filter::install(&mut allow, libc::SECCOMP_FILTER_FLAG_TSYNC) == Ok(0)
        };
        exit_code(is_prepared && (0..count).all(|_| is_installed()))
    })?;
    expect_success(wait_for_change(child)?)
}

/// Starts armed children that execute a program.
pub(super) fn execs(count: u32) -> Check {
    use crate::cases::inheritance::{EXECUTED, execute, program};
    let file = program()?;
    let stack = reused_stack()?;
    for _ in 0..count {
        let status = run_on_stack(stack, &|| {
            if arm_with_selector(0).is_err() {
                return SETUP_FAILED;
            }
            execute(file);
            98
        })?;
        expect_equal("the program", status, WaitStatus::Exited(i32::from(EXECUTED)))?;
    }
    sys::close(file).map_err(broken("close"))
}

/// Makes execve(2) calls of an armed process that fail.
pub(super) fn failed_execs(count: u32) -> Check {
    arm()?;
    let empty_list = [0u64];
    let list = empty_list.as_ptr() as u64;
    for _ in 0..count {
        for path in [c"/no/such/program", c"/"] {
            // SAFETY: reads a path and two empty lists.
            let result =
                unsafe { sys::call(libc::SYS_execve, &[path.as_ptr() as u64, list, list]) };
            ensure(result.is_err(), "execve fails", || format!("{result:?}"))?;
        }
    }
    disarm()
}
