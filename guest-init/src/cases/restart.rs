// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Calls that the kernel restarts. The selector's value at the time of the restart decides whether the
//! restarted call is dispatched or executed.

use super::check_on;
use super::ptrace_calls::shared_selector;
use crate::arch::{self, Reg, Registers};
use crate::case::{Case, Check, Failure, OnlyArchs, all_but, case_not_in_core};
use crate::shared::shared;
use crate::support::*;
use crate::sys::{self, WaitStatus};
use crate::tracee::{Tracee, pause_for_tracer};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use sudbox_protocol::Feature;

const RESTART_FUNCTION: &str = "arch_do_signal_or_restart()";
const CONT: u32 = libc::PTRACE_CONT;

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "restart/dispatched-anew",
        "an interrupted call that restarts without a handler is dispatched if the selector is BLOCK at the \
         restart",
        RESTART_FUNCTION,
        dispatched_anew,
    )
    .known_bugs(&["result-register-lost"]),
    case_not_in_core(
        "restart/sleep-goes-on-in-handler",
        "an interrupted sleep is dispatched as restart_syscall, and a handler that issues restart_syscall \
         sleeps for the remaining time",
        RESTART_FUNCTION,
        sleep_goes_on_in_handler,
    ),
    case_not_in_core(
        "restart/sleep-ends-with-handler",
        "if the handler makes the program issue restart_syscall again, the call returns EINTR, as after any \
         handler",
        "restore_sigcontext()",
        sleep_ends_with_handler,
    )
    .only(OnlyArchs {
        archs: all_but!(S390x),
        reason: "s390x has the number of restart_syscall in no register: a handler issues the sleep again",
    }),
    case_not_in_core(
        "restart/sleep-ends-with-handler-32",
        "after a sleep that a 32-bit handler interrupted, restart_syscall returns EINTR at once",
        "ia32_restore_sigcontext()",
        check_on!("x86_64", this_arch::handlers_32::interrupted_sleep),
    )
    .features(&[Feature::Dispatch, Feature::Ia32])
    .only(OnlyArchs::PROGRAMS_OF_32_BITS),
    case_not_in_core(
        "restart/stopped-sleep",
        "a sleep that SIGSTOP and SIGCONT interrupt is dispatched if the selector is BLOCK at its restart",
        RESTART_FUNCTION,
        stopped_sleep,
    ),
    case_not_in_core(
        "restart/stopped-sleep-32",
        "a sleep of 32 bits that SIGSTOP and SIGCONT interrupt restarts by the number that restart_syscall has in \
         32 bits",
        "get_nr_restart_syscall()",
        check_on!("x86_64", this_arch::handlers_32::stopped_sleep),
    )
    .features(&[Feature::Dispatch, Feature::Ia32])
    .only(OnlyArchs::PROGRAMS_OF_32_BITS),
    case_not_in_core(
        "restart/allowed-goes-on",
        "with ALLOW an interrupted call restarts without a dispatch",
        RESTART_FUNCTION,
        allowed_goes_on,
    ),
    case_not_in_core(
        "restart/failed-stays-failed",
        "an interrupted call that does not restart returns EINTR, whatever the selector's value, and a sleep or \
         a wait for signals does so also if the handler has SA_RESTART",
        "handle_signal()",
        failed_stays_failed,
    ),
    case_not_in_core(
        "restart/temporary-mask-ends",
        "if a call with a signal mask of its own restarts, the mask from before the call holds at a dispatch of \
         the restart, and after the call",
        RESTART_FUNCTION,
        temporary_mask_ends,
    ),
    case_not_in_core(
        "restart/suppressed-number-kept",
        "if a tracer suppresses SIGSYS, a number or argument in the result register is kept even if it \
         equals one of the kernel's restart codes",
        RESTART_FUNCTION,
        suppressed_number_kept,
    )
    .known_bugs(&["restart-number", "result-register-lost"]),
];

/// The read end of a pipe that stays empty.
fn empty_pipe() -> Result<u64, Failure> {
    let mut ends = [0i32; 2];
    // SAFETY: writes two descriptors to a live array.
    unsafe { sys::call(libc::SYS_pipe2, &[ends.as_mut_ptr() as u64, 0]) }
        .map_err(broken("pipe2"))?;
    Ok(u64::from(ends[0].cast_unsigned()))
}

/// Starts a tracee that issues this call with ALLOW, and interrupts the call by SIGUSR1. Returns
/// the tracee, stopped for the signal, and a time before the call began.
///
/// The tracer sends SIGUSR1 while the tracee is stopped at the entry of the call, so that the signal
/// always interrupts the call. The tracee stores the time after the call in shared word [`RETURN_TIME`],
/// and exits with 0 if `is_expected` accepts the registers after the call.
fn start_interrupted(
    selector: &'static AtomicU8,
    regs: &Registers,
    is_expected: impl FnOnce(&Registers) -> bool,
) -> Result<(Tracee, Duration), Failure> {
    reset_dispatch_count();
    let tracee = Tracee::start(|| {
        if arm_with_selector(selector_address(selector)).is_err() {
            return SETUP_FAILED;
        }
        pause_for_tracer();
        let after = arch::gate().issue(regs);
        selector.store(ALLOW, Ordering::SeqCst);
        set_shared_word(RETURN_TIME, u64::try_from(sys::now().as_nanos()).unwrap_or(0));
        exit_code(is_expected(&after))
    })?;
    tracee.expect_call_stop(libc::PTRACE_SYSCALL, 0)?;
    sys::tgkill(tracee.pid, tracee.pid, libc::SIGUSR1).map_err(broken("tgkill"))?;
    let start_time = sys::now();
    tracee.resume_to_signal(CONT, 0, libc::SIGUSR1)?;
    Ok((tracee, start_time))
}

/// The index of the shared word with the time at which the tracee's call returned, in nanoseconds.
const RETURN_TIME: usize = 5;

/// Checks that there was exactly one dispatch, of this call from the gate, with this value in the
/// number register.
fn expect_dispatch(call: i64, register: i64) -> Check {
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    let record = first_sigsys_record()?;
    expect_equal("si_syscall", i64::from(record.number()), call)?;
    expect_equal_hex("si_call_addr", record.call_address(), arch::gate().compared_address())?;
    expect_equal("number in the frame", record.registers[Reg::NUMBER].cast_signed(), register)?;
    expect_equal_hex(
        "next instruction in the frame",
        record.registers[Reg::INSTRUCTION_POINTER],
        arch::gate().compared_address(),
    )
}

/// Checks that there was exactly one dispatch, of the `restart_syscall(2)` by which the kernel continues
/// an interrupted sleep.
fn expect_restart_dispatched() -> Check {
    expect_dispatch(libc::SYS_restart_syscall, arch::number_of_restart(libc::SYS_nanosleep))
}

/// Ten seconds as a `struct timespec`: longer than any case waits.
static LONG_SLEEP: [i64; 2] = [10, 0];

fn dispatched_anew() -> Check {
    handle_dispatches(do_nothing)?;
    install_counting_handler(libc::SIGUSR1)?;
    let selector = shared_selector()?;
    let byte = 0u8;
    let pipe = empty_pipe()?;
    let fork = arch::clone_arguments(u64::from(libc::SIGCHLD.cast_unsigned()), 0);
    // Calls with different restart codes (include/linux/errno.h).
    for (call, arguments) in [
        // ERESTARTSYS
        (libc::SYS_read, [pipe, &raw const byte as u64, 1]),
        // ERESTARTNOHAND
        (libc::SYS_rt_sigsuspend, [&raw const EMPTY_MASK as u64, 8, 0]),
        // ERESTARTNOINTR (`copy_process()`)
        (libc::SYS_clone, [fork[0], fork[1], 0]),
    ] {
        let [a, b, c] = arguments;
        let regs = Registers::for_call(call_number(call), [a, b, c, 0, 0, 0]);
        let (tracee, _) = start_interrupted(selector, &regs, |after| {
            after.result() == regs.result()
                && sys::wait(-1, libc::WNOHANG) == Err(sys::Errno(libc::ECHILD))
        })?;
        selector.store(BLOCK, Ordering::SeqCst);
        tracee.resume_to_signal(CONT, 0, libc::SIGSYS)?;
        expect_success(tracee.resume(CONT, libc::SIGSYS)?)?;
        expect_dispatch(call, call)?;
        let record = first_sigsys_record()?;
        for (reg, expected) in Reg::ARGUMENTS.into_iter().zip(arguments) {
            expect_equal_hex(&format!("{reg:?} in the frame"), record.registers[reg], expected)?;
        }
    }
    expect_equal("SIGUSR1 handled", shared().other_signals.load(Ordering::SeqCst), 0)
}

/// An empty signal mask.
static EMPTY_MASK: u64 = 0;

/// The registers of a nanosleep(2) of this duration, a `struct timespec`.
fn sleep_call(duration: &[i64; 2]) -> Registers {
    Registers::for_call(call_number(libc::SYS_nanosleep), [duration.as_ptr() as u64, 0, 0, 0, 0, 0])
}

/// Durations as `struct timespec`, each ten times the previous one. On a busy machine a short sleep
/// may end before the kernel checks for pending signals, or before the tracer resumes the tracee.
static SHORT_SLEEPS: [[i64; 2]; 4] = [[0, 3_000_000], [0, 30_000_000], [0, 300_000_000], [3, 0]];

/// Checks that an interrupted sleep returns `expected` and, if that is 0, does not end before its time.
/// `run_to_end` runs the stopped tracee to its end, and returns the time at which it last resumed the
/// tracee. If less than half of the sleep remained at that time, the check would not notice a sleep that
/// ends too early, so the check is repeated with a longer sleep.
fn expect_whole_sleep(
    expected: i64,
    run_to_end: impl Fn(&Tracee, &AtomicU8) -> Result<Duration, Failure>,
) -> Check {
    for timespec in &SHORT_SLEEPS {
        let selector = shared_selector()?;
        let (tracee, start_time) =
            start_interrupted(selector, &sleep_call(timespec), |after| after.result() == expected)?;
        let at_signal = tracee.registers()?;
        if !at_signal.is_sleep_restart_pending(arch::gate().compared_address()) {
            // The sleep ended before the signal could interrupt it.
            expect_equal("a sleep that is over", at_signal.result, 0)?;
            tracee.kill()?;
            continue;
        }
        let resume_time = run_to_end(&tracee, selector)?;
        let [seconds, nanos] = timespec.map(|part| u64::try_from(part).unwrap_or(0));
        let duration = Duration::from_secs(seconds) + Duration::from_nanos(nanos);
        let end_time = start_time + duration;
        let return_time = Duration::from_nanos(shared_word(RETURN_TIME));
        if expected == 0 && resume_time + duration / 2 > end_time {
            continue;
        }
        return ensure(
            expected != 0 || return_time >= end_time,
            &format!("a sleep until {end_time:?}"),
            || format!("resumed at {resume_time:?}, awake at {return_time:?}"),
        );
    }
    Err(Failure::Broken("the machine is too busy to interrupt a sleep of three seconds".into()))
}

/// Handler body: issues the call inside the allowed range, and passes its result to the program.
fn issue_call_inside(dispatch: Dispatch<'_>) {
    let registers = &mut dispatch.frame.registers;
    let arguments = Reg::ARGUMENTS.map(|reg| registers[reg]);
    let Some(record) = shared().sigsys_record(dispatch.index as usize) else { return };
    // SAFETY: the call is the one that the program issued.
    let result = unsafe { arch::issue_inside(call_number(record.number().into()), arguments) };
    registers[Reg::RESULT] = result.cast_unsigned();
}

/// Checks that an interrupted sleep is dispatched when it continues, and returns `expected`.
fn expect_dispatched_sleep(expected: i64) -> Check {
    expect_whole_sleep(expected, |tracee, selector| {
        selector.store(BLOCK, Ordering::SeqCst);
        tracee.resume_to_signal(CONT, 0, libc::SIGSYS)?;
        selector.store(ALLOW, Ordering::SeqCst);
        let resume_time = sys::now();
        expect_success(tracee.resume(CONT, libc::SIGSYS)?)?;
        expect_restart_dispatched()?;
        Ok(resume_time)
    })
}

fn sleep_goes_on_in_handler() -> Check {
    handle_dispatches(issue_call_inside)?;
    expect_dispatched_sleep(0)
}

fn sleep_ends_with_handler() -> Check {
    handle_dispatches(allow_and_reissue)?;
    expect_dispatched_sleep(-i64::from(libc::EINTR))
}

fn allowed_goes_on() -> Check {
    handle_dispatches(do_nothing)?;
    expect_whole_sleep(0, |tracee, _| {
        let resume_time = sys::now();
        expect_success(tracee.resume(CONT, 0)?)?;
        expect_equal("SIGSYS handled", dispatch_count(), 0)?;
        Ok(resume_time)
    })
}

fn stopped_sleep() -> Check {
    handle_dispatches(do_nothing)?;
    let selector = shared_selector()?;
    let child = spawn_child(|| {
        if arm_with_selector(selector_address(selector)).is_err() {
            return SETUP_FAILED;
        }
        let regs = sleep_call(&LONG_SLEEP);
        set_shared_word(0, 1);
        let after = arch::gate().issue(&regs);
        selector.store(ALLOW, Ordering::SeqCst);
        exit_code(
            after[Reg::NUMBER].cast_signed() == arch::number_of_restart(libc::SYS_nanosleep)
                && after[Reg::INSTRUCTION_POINTER] == arch::gate().compared_address(),
        )
    })?;
    await_shared_word(0, 1);
    while !is_asleep(child)? {
        sys::sched_yield();
    }
    sys::kill(child, libc::SIGSTOP).map_err(broken("kill"))?;
    let stop = sys::wait(child, libc::WUNTRACED).map_err(broken("wait4"))?;
    expect_equal("the child", stop, Some((child, WaitStatus::Stopped(libc::SIGSTOP))))?;
    selector.store(BLOCK, Ordering::SeqCst);
    sys::kill(child, libc::SIGCONT).map_err(broken("kill"))?;
    expect_success(wait_for_change(child)?)?;
    expect_restart_dispatched()
}

/// Whether a single-threaded process is in an interruptible sleep (`/proc/PID/stat`).
pub(crate) fn is_asleep(pid: i32) -> Result<bool, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(broken("stat"))?;
    let state = text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    match state {
        Some("S") => Ok(true),
        Some("Z" | "X") => Err(mismatch("the child sleeps", "it ended")),
        _ => Ok(false),
    }
}

/// The selector that [`set_block`] sets.
static SELECTOR_SET_BY_HANDLER: AtomicU8 = AtomicU8::new(ALLOW);

/// A handler that sets [`SELECTOR_SET_BY_HANDLER`] to BLOCK.
extern "C" fn set_block(_: i32, _: *const u8, _: *mut arch::UserContext) {
    shared().other_signals.fetch_add(1, Ordering::SeqCst);
    SELECTOR_SET_BY_HANDLER.store(BLOCK, Ordering::SeqCst);
}

fn failed_stays_failed() -> Check {
    handle_dispatches(do_nothing)?;
    let byte = 0u8;
    let pipe = empty_pipe()?;
    let read = Registers::for_call(
        call_number(libc::SYS_read),
        [pipe, &raw const byte as u64, 1, 0, 0, 0],
    );
    let suspend = Registers::for_call(
        call_number(libc::SYS_rt_sigsuspend),
        [&raw const EMPTY_MASK as u64, 8, 0, 0, 0, 0],
    );
    let sleep = sleep_call(&LONG_SLEEP);
    // Of these calls, SA_RESTART restarts the read only.
    for (regs, flags) in [
        (read, 0),
        (sleep, 0),
        (suspend, 0),
        (sleep, libc::SA_RESTART),
        (suspend, libc::SA_RESTART),
    ] {
        let handler = set_block as *const () as u64;
        install_handler(libc::SIGUSR1, handler, flags, 0, arch::restorer())?;
        shared().other_signals.store(0, Ordering::SeqCst);
        let (tracee, _) = start_interrupted(&SELECTOR_SET_BY_HANDLER, &regs, |after| {
            after.result() == -i64::from(libc::EINTR)
                && after[Reg::INSTRUCTION_POINTER] == arch::gate().compared_address()
        })?;
        expect_success(tracee.resume(CONT, libc::SIGUSR1)?)?;
        expect_equal("SIGUSR1 handled", shared().other_signals.load(Ordering::SeqCst), 1)?;
        expect_equal("SIGSYS handled", dispatch_count(), 0)?;
    }
    Ok(())
}

/// The index of the shared word with the mask in the handler.
const MASK_IN_HANDLER: usize = 6;
/// The index of the shared word with the mask after the call.
const MASK_AFTER_CALL: usize = 7;

/// The task's signal mask.
fn current_mask() -> u64 {
    sys::sigmask(libc::SIG_BLOCK, 0).unwrap_or(u64::MAX)
}

/// Handler body: stores the mask in shared word [`MASK_IN_HANDLER`].
fn store_mask(_: Dispatch<'_>) {
    set_shared_word(MASK_IN_HANDLER, current_mask());
}

fn temporary_mask_ends() -> Check {
    handle_dispatches(store_mask)?;
    install_counting_handler(libc::SIGUSR1)?;
    let before = sys::signal_bit(libc::SIGUSR2);
    // Processes that this one starts inherit the mask.
    sys::sigmask(libc::SIG_SETMASK, before).map_err(broken("rt_sigprocmask"))?;
    let selector = shared_selector()?;
    // The kernel writes the remaining time, and restarts the call with it.
    let mut timeout = [0i64, 1_000_000];
    let mask = [&raw const EMPTY_MASK as u64, 8];
    let select = |timeout: u64| {
        let arguments = [0, 0, 0, 0, timeout, &raw const mask as u64];
        Registers::for_call(call_number(libc::SYS_pselect6), arguments)
    };
    let suspend =
        Registers::for_call(call_number(libc::SYS_rt_sigsuspend), [mask[0], mask[1], 0, 0, 0, 0]);
    for (regs, value) in
        [(select(0), BLOCK), (suspend, BLOCK), (select(&raw mut timeout as u64), ALLOW)]
    {
        set_shared_word(MASK_AFTER_CALL, 0);
        let (tracee, _) = start_interrupted(selector, &regs, |_| {
            set_shared_word(MASK_AFTER_CALL, current_mask());
            true
        })?;
        selector.store(value, Ordering::SeqCst);
        if value == BLOCK {
            tracee.resume_to_signal(CONT, 0, libc::SIGSYS)?;
            expect_success(tracee.resume(CONT, libc::SIGSYS)?)?;
            expect_equal("SIGSYS handled", dispatch_count(), 1)?;
            expect_equal_hex("mask in the frame", first_sigsys_record()?.frame_mask, before)?;
            let in_handler = before | sys::signal_bit(libc::SIGSYS);
            expect_equal_hex("mask in the handler", shared_word(MASK_IN_HANDLER), in_handler)?;
        } else {
            expect_success(tracee.resume(CONT, 0)?)?;
            expect_equal("SIGSYS handled", dispatch_count(), 0)?;
        }
        expect_equal_hex("mask after the call", shared_word(MASK_AFTER_CALL), before)?;
    }
    Ok(())
}

fn suppressed_number_kept() -> Check {
    handle_dispatches(do_nothing)?;
    let gate = arch::gate();
    for code in [-512i64, -513, -514, -516] {
        let tracee = Tracee::start(|| {
            let mut regs = fresh_umask_call();
            regs[Reg::RESULT] = code.cast_unsigned();
            if arm().is_err() {
                return SETUP_FAILED;
            }
            pause_for_tracer();
            let after = issue_blocked(&gate, &regs);
            exit_code(
                after.result() == code
                    && after[Reg::INSTRUCTION_POINTER] == gate.compared_address(),
            )
        })?;
        tracee.resume_to_signal(CONT, 0, libc::SIGSYS)?;
        let status = tracee.resume(CONT, 0)?;
        if let WaitStatus::Stopped(_) = status {
            log(format!("{code} came back as {}", tracee.registers()?.result.cast_signed()));
            tracee.kill()?;
        }
        expect_success(status)?;
    }
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}
