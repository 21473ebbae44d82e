// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Benchmarks of system calls with and without dispatch, and of the other operations of emulators:
//! flips of the selector, prctl(), personality() and rewritten calls.

use super::watch::{BATCHES_FOR_CALLS, SETTLE_TIME, Stopwatch};
use crate::arch::{self, OperationLoop, issue_inside};
use crate::case::{Check, Failure};
use crate::support::*;
use crate::sys::{self, SigAction};
use std::ops::Range;
use std::time::Duration;

/// The system call of most benchmarks, chosen because the kernel does little in it.
pub(super) const GETPID: i64 = libc::SYS_getpid;

/// Installs a handler of SIGSYS that only counts the calls.
pub(super) fn install_counting_sigsys_handler() -> Check {
    extern "C" fn count(_: i32, _: *const u8, _: *mut u8) {
        arch::count_emulated_call();
    }
    let action = SigAction {
        handler: count as *const () as u64,
        flags: u64::from(libc::SA_SIGINFO.cast_unsigned()) | sys::SA_RESTORER,
        restorer: arch::restorer(),
        mask: 0,
    };
    // SAFETY: `count` is a signal handler.
    unsafe { sys::sigaction(libc::SIGSYS, &action) }.map_err(broken("rt_sigaction"))
}

/// Times `operation_loop`, which calls getpid(), and checks that no call was dispatched and that
/// the result is the PID.
pub(super) fn time_getpid(stopwatch: &mut Stopwatch, operation_loop: OperationLoop) -> Check {
    stopwatch.time(|count| {
        let _ = operation_loop.repeat(count);
    });
    stopwatch.expect_emulated(0)?;
    expect_equal("getpid()", operation_loop.repeat(1), sys::getpid().into())
}

pub(super) fn bench_native() -> Check {
    let mut stopwatch = Stopwatch::start(BATCHES_FOR_CALLS)?;
    time_getpid(&mut stopwatch, OperationLoop::call_outside(GETPID))?;
    stopwatch.store()
}

pub(super) fn bench_inside() -> Check {
    time_exempt(arm)
}

/// Times calls that are not dispatched although the selector is at BLOCK: `arm` exempts the address
/// range of [`OperationLoop::call_inside`].
fn time_exempt(arm: fn() -> Check) -> Check {
    install_counting_sigsys_handler()?;
    let mut stopwatch = Stopwatch::start(BATCHES_FOR_CALLS)?;
    arm()?;
    set_selector(BLOCK);
    stopwatch.time(|count| {
        let _ = OperationLoop::call_inside(GETPID).repeat(count);
    });
    let got = OperationLoop::call_inside(GETPID).repeat(1);
    set_selector(ALLOW);
    expect_equal("getpid()", got, sys::getpid().into())?;
    stopwatch.expect_emulated(0)?;
    stopwatch.store()
}

pub(super) fn bench_allowed() -> Check {
    install_counting_sigsys_handler()?;
    let mut stopwatch = Stopwatch::start(BATCHES_FOR_CALLS)?;
    arm()?;
    time_getpid(&mut stopwatch, OperationLoop::call_outside(GETPID))?;
    stopwatch.store()
}

pub(super) fn bench_round_trip() -> Check {
    time_dispatched(arm)
}

/// Times calls of [`OperationLoop::call_outside`], each of which is dispatched after `arm` and
/// handled by a SIGSYS handler that only counts.
fn time_dispatched(arm: fn() -> Check) -> Check {
    install_counting_sigsys_handler()?;
    let mut stopwatch = Stopwatch::start(BATCHES_FOR_CALLS)?;
    arm()?;
    set_selector(BLOCK);
    stopwatch.time(|count| {
        let _ = OperationLoop::call_outside(GETPID).repeat(count);
    });
    set_selector(ALLOW);
    stopwatch.expect_emulated(stopwatch.total())?;
    stopwatch.store()
}

/// Arms dispatch in inclusive mode: only calls from the loop of [`OperationLoop::call_outside`] are
/// dispatched.
fn arm_outside_loop() -> Check {
    let Range { start, end } = arch::outside_loop_range();
    set_selector(ALLOW);
    expect_accepted(MODE_INCLUSIVE, start, end - start, selector_address(&SELECTOR))
}

pub(super) fn bench_inclusive_free() -> Check {
    time_exempt(arm_outside_loop)
}

pub(super) fn bench_inclusive_trip() -> Check {
    time_dispatched(arm_outside_loop)
}

pub(super) fn bench_flip_alone() -> Check {
    let mut stopwatch = Stopwatch::start(BATCHES_FOR_CALLS)?;
    arm()?;
    set_selector(BLOCK);
    // SAFETY: the selector is an atomic byte of this process.
    let operation_loop = unsafe { OperationLoop::zero_store(selector_address(&SELECTOR)) };
    stopwatch.time(|count| {
        let _ = operation_loop.repeat(count);
    });
    expect_equal("the selector", SELECTOR.load(std::sync::atomic::Ordering::SeqCst), ALLOW)?;
    stopwatch.store()
}

/// Times pairs of arming and disarming dispatch by prctl().
pub(super) fn bench_prctl() -> Check {
    let stopwatch = Stopwatch::start(BATCHES_FOR_CALLS)?;
    time_pair(stopwatch, libc::SYS_prctl.cast_unsigned(), prctl_arguments(), 0)
}

/// The arguments of prctl() that arm and disarm dispatch.
fn prctl_arguments() -> [[u64; 6]; 2] {
    let option = u64::from(sys::PR_SET_SYSCALL_USER_DISPATCH.cast_unsigned());
    let on = [
        option,
        MODE_EXCLUSIVE,
        arch::inside().start,
        inside_length(),
        selector_address(&SELECTOR),
        0,
    ];
    [on, [option, MODE_OFF, 0, 0, 0, 0]]
}

/// As [`bench_prctl`], while a thread of this process sleeps on another CPU.
///
/// A running thread would take time from this CPU where an emulator runs the CPUs in turn.
pub(super) fn bench_prctl_threads() -> Check {
    pin_to_current_cpu()?;
    spawn_thread(sleep_on_another_cpu, own_cpu()?.into())?;
    while shared_word(ARRIVED_WORD) == 0 {
        sys::sched_yield();
    }
    sys::sleep(SETTLE_TIME);
    let stopwatch = Stopwatch::start(BATCHES_FOR_CALLS)?.without_marks();
    let [on, off] = prctl_arguments();
    time_pair(stopwatch, libc::SYS_prctl.cast_unsigned(), [on, off], 0)
}

/// Index of the shared word that the thread of [`bench_prctl_threads`] sets.
const ARRIVED_WORD: usize = 0;

/// Length of a sleep of this thread.
const LONG_SLEEP: Duration = Duration::from_secs(3600);

/// The function of a thread that leaves the CPU `own` and sleeps until the process ends.
extern "C" fn sleep_on_another_cpu(own: u64) -> u64 {
    if allow_all_cpus_but(own).is_ok() {
        set_shared_word(ARRIVED_WORD, 1);
    }
    loop {
        sys::sleep(LONG_SLEEP);
    }
}

pub(super) fn bench_personality() -> Check {
    const ADDR_NO_RANDOMIZE: u64 = 0x0004_0000;
    let call = libc::SYS_personality.cast_unsigned();
    // SAFETY: touches no memory.
    let now = unsafe { sys::call(libc::SYS_personality, &[0xffff_ffff]) };
    let now = now.map_err(broken("personality"))?;
    let other = now ^ ADDR_NO_RANDOMIZE;
    // The second call returns the value that the first has set.
    let stopwatch = Stopwatch::start(BATCHES_FOR_CALLS)?;
    let pair = [[other, 0, 0, 0, 0, 0], [now, 0, 0, 0, 0, 0]];
    time_pair(stopwatch, call, pair, other.cast_signed())
}

/// Times pairs of calls: first with `arguments[0]`, then with `arguments[1]`. The second call must
/// return `expected`.
fn time_pair(
    mut stopwatch: Stopwatch,
    call: u64,
    arguments: [[u64; 6]; 2],
    expected: i64,
) -> Check {
    let both = || {
        // SAFETY: prctl() arms with a static selector; personality() touches no memory.
        unsafe {
            let _ = issue_inside(call, arguments[0]);
            issue_inside(call, arguments[1])
        }
    };
    stopwatch.time(|count| {
        for _ in 0..count {
            let _ = both();
        }
    });
    expect_equal("result of the second call", both(), expected)?;
    stopwatch.store()
}

pub(super) fn bench_rewritten() -> Check {
    let mut stopwatch = Stopwatch::start(BATCHES_FOR_CALLS)?;
    stopwatch.time(|count| {
        let _ = OperationLoop::rewritten_call(GETPID).repeat(count);
    });
    stopwatch.expect_emulated(stopwatch.total())?;
    stopwatch.store()
}

/// Turns an error into [`Failure::Unmet`]: the machine does not permit `what`.
pub(super) fn unmet<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| Failure::Unmet(format!("{what}: {error}"))
}
