// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch together with signal dispositions, masks, stacks and other signals.

use crate::arch::{self, Reg};
use crate::case::{Case, Check, Need, OnlyArchs, all_but, case, case_not_in_core};
use crate::shared::shared;
use crate::support::*;
use crate::sys::{self, SigAction, WaitStatus};
use crate::tracee::{Tracee, pause_for_tracer};
use std::sync::atomic::Ordering;
use sudbox_protocol::Feature;

const FORCE_FUNCTION: &str = "force_sig_info_to_task()";
const FRAME_FUNCTION: &str = "setup_rt_frame()";

pub(super) const CASES: &[Case] = &[
    case(
        "signals/default-kills",
        "without a handler a dispatch kills",
        FORCE_FUNCTION,
        default_kills,
    ),
    case(
        "signals/ignored-kills",
        "a dispatch kills if SIGSYS is ignored",
        FORCE_FUNCTION,
        ignored_kills,
    ),
    case(
        "signals/blocked-kills",
        "a dispatch kills if SIGSYS is blocked",
        FORCE_FUNCTION,
        blocked_kills,
    ),
    case(
        "signals/second-in-handler-kills",
        "a dispatch in the handler of a dispatch kills",
        FORCE_FUNCTION,
        second_in_handler_kills,
    ),
    case(
        "signals/nesting",
        "with SA_NODEFER dispatches nest, and each level returns to its own call",
        FORCE_FUNCTION,
        nesting,
    ),
    case(
        "signals/reset-handler",
        "with SA_RESETHAND the first dispatch is handled and the second kills",
        FORCE_FUNCTION,
        reset_handler,
    ),
    case(
        "signals/alternate-stack",
        "the handler runs on the alternate stack if and only if it has SA_ONSTACK",
        FRAME_FUNCTION,
        alternate_stack,
    ),
    case(
        "signals/bad-stack-kills",
        "an alternate stack that cannot be written kills with SIGSEGV",
        "force_sigsegv()",
        bad_stack_kills,
    ),
    case(
        "signals/mask",
        "the handler runs with its mask and SIGSYS blocked, and its return restores the old mask",
        "signal_setup_done()",
        mask_in_force,
    ),
    case(
        "signals/to-the-caller",
        "SIGSYS is delivered to the thread that issued the call",
        FORCE_FUNCTION,
        to_the_caller,
    ),
    case(
        "signals/return-is-a-call",
        "a sigreturn from another signal's handler is dispatched too if it is outside the range",
        "syscall_user_dispatch()",
        return_is_a_call,
    ),
    case(
        "signals/vdso-return-exempt",
        "a sigreturn in the vDSO is executed, whatever the selector's value",
        "arch_syscall_is_vdso_sigreturn()",
        vdso_return_exempt,
    )
    .known_bugs(&["vdso-sigreturn-dispatched"])
    .only(OnlyArchs {
        archs: all_but!(X86_64),
        reason: "handlers return by SA_RESTORER; entries/sigreturn-exempt checks 32-bit programs",
    }),
    case(
        "signals/restarted-call",
        "a call that restarts after a handler obeys the selector value that the handler set",
        "arch_do_signal_or_restart()",
        restarted_call,
    ),
    case_not_in_core(
        "signals/namespace-init-killed",
        "the first process of a PID namespace is killed like any other",
        FORCE_FUNCTION,
        namespace_init_killed,
    )
    .features(&[Feature::Dispatch, Feature::PidNamespace])
    .needs(&[Need::Root]),
    case_not_in_core(
        "signals/namespace-init-stays-protected",
        "after a dispatch, signals from inside still do not kill the first process of a PID namespace, even if \
         they were pending, and of those from outside only SIGSTOP takes effect",
        "get_signal()",
        namespace_init_stays_protected,
    )
    .features(&[Feature::Dispatch, Feature::PidNamespace])
    .needs(&[Need::Root]),
];

/// Checks that a child is killed by its only dispatched call. The child calls `prepare` before it arms.
fn expect_death_by_dispatch(prepare: impl FnOnce()) -> Check {
    let status = run_vforked(|| {
        prepare();
        let regs = fresh_umask_call();
        if arm().is_err() {
            return SETUP_FAILED;
        }
        let _ = issue_blocked(&arch::gate(), &regs);
        exit_code(take_umask_effect())
    })?;
    expect_killed(status, libc::SIGSYS, 0)
}

/// Sets the disposition of SIGSYS to `SIG_DFL` or `SIG_IGN`.
fn set_disposition(disposition: libc::sighandler_t) {
    let action = SigAction { handler: disposition as u64, ..SigAction::default() };
    // SAFETY: SIG_DFL and SIG_IGN have no handler.
    let _ = unsafe { sys::sigaction(libc::SIGSYS, &action) };
}

fn default_kills() -> Check {
    expect_death_by_dispatch(|| set_disposition(libc::SIG_DFL))
}

fn ignored_kills() -> Check {
    expect_death_by_dispatch(|| set_disposition(libc::SIG_IGN))
}

fn blocked_kills() -> Check {
    handle_dispatches(do_nothing)?;
    expect_death_by_dispatch(|| {
        let _ = sys::sigmask(libc::SIG_BLOCK, sys::signal_bit(libc::SIGSYS));
    })
}

/// Handler body: issues another call, if this is the first dispatch. Sets shared word 0 to 1 if that call
/// returns.
fn call_in_first_handler(dispatch: Dispatch<'_>) {
    if dispatch.index == 0 {
        let _ = arch::second_gate().issue(&fresh_umask_call());
        set_shared_word(0, 1);
    }
}

fn second_in_handler_kills() -> Check {
    handle_dispatches(call_in_first_handler)?;
    let status = run_vforked(|| {
        if arm().is_err() {
            return SETUP_FAILED;
        }
        let _ = issue_blocked(&arch::gate(), &fresh_umask_call());
        0
    })?;
    expect_killed(status, libc::SIGSYS, 1)?;
    expect_equal("instructions run after the second call", shared_word(0), 0)
}

/// The number of nested dispatches.
const DEPTH: u32 = 4;

/// Handler body: issues another call until [`DEPTH`] dispatches are nested, and stores the result of that
/// call in the shared word of its level. Then sets the result of its own call to 100 plus its level.
fn nest_dispatches(dispatch: Dispatch<'_>) {
    if dispatch.index + 1 < DEPTH {
        let inner = arch::second_gate().issue(&fresh_umask_call());
        set_shared_word(dispatch.index as usize, inner[Reg::RESULT]);
    }
    dispatch.frame.registers[Reg::RESULT] = 100 + u64::from(dispatch.index);
}

fn nesting() -> Check {
    handle_dispatches_with(nest_dispatches, libc::SA_NODEFER, 0)?;
    arm()?;
    reset_dispatch_count();
    let regs = fresh_umask_call();
    let after = issue_blocked(&arch::gate(), &regs);
    expect_equal("SIGSYS handled", dispatch_count(), DEPTH)?;
    ensure(!take_umask_effect(), "no call takes effect", || "one did".into())?;
    expect_equal("result of the outermost call", after.result(), 100)?;
    for level in 1..DEPTH {
        let result = shared_word(level as usize - 1);
        expect_equal(
            &format!("result of the call at level {level}"),
            result,
            100 + u64::from(level),
        )?;
    }
    let record_at = |level: u32| shared().sigsys_record(level as usize);
    for level in 0..DEPTH {
        let gate = if level == 0 { arch::gate() } else { arch::second_gate() };
        let address = record_at(level).map_or(0, |record| record.call_address());
        let expected = gate.compared_address();
        expect_equal_hex(&format!("si_call_addr at level {level}"), address, expected)?;
    }
    for level in 1..DEPTH {
        let (outer, inner) = (record_at(level - 1), record_at(level));
        let is_deeper = outer.zip(inner).is_some_and(|(outer, inner)| inner.stack < outer.stack);
        let expected = "each handler's stack is below that of the handler it interrupts";
        ensure(is_deeper, expected, || format!("level {level}"))?;
    }
    Ok(())
}

fn reset_handler() -> Check {
    handle_dispatches_with(do_nothing, libc::SA_RESETHAND, 0)?;
    let status = run_vforked(|| {
        if arm().is_err() {
            return SETUP_FAILED;
        }
        let regs = fresh_umask_call();
        let _ = issue_blocked(&arch::gate(), &regs);
        set_shared_word(0, 1);
        let _ = issue_blocked(&arch::gate(), &regs);
        0
    })?;
    expect_killed(status, libc::SIGSYS, 1)?;
    expect_equal("the first dispatch returned", shared_word(0), 1)
}

fn alternate_stack() -> Check {
    const LENGTH: usize = 16 * PAGE_SIZE;
    let stack = map_pages(LENGTH / PAGE_SIZE)?;
    let is_on_stack = |sp: u64| (stack as u64..=stack as u64 + LENGTH as u64).contains(&sp);
    // SAFETY: the stack is never unmapped.
    unsafe { sys::sigaltstack(stack as u64, LENGTH as u64, 0) }.map_err(broken("sigaltstack"))?;
    arm()?;
    for (flags, expected) in [(libc::SA_ONSTACK, true), (0, false)] {
        handle_dispatches_with(do_nothing, flags, 0)?;
        let (after, record) = issue_dispatched(&arch::gate(), &fresh_umask_call())?;
        let what = format!("handler with flags {flags:#x} on the alternate stack");
        expect_equal(&what, is_on_stack(record.stack), expected)?;
        expect_equal("the program on it afterwards", is_on_stack(after[Reg::Sp]), false)?;
        expect_equal_hex("stack pointer in the frame", record.registers[Reg::Sp], after[Reg::Sp])?;
    }
    Ok(())
}

fn bad_stack_kills() -> Check {
    let stack = map_pages(16)?;
    protect(stack, 16, libc::PROT_READ)?;
    handle_dispatches_with(do_nothing, libc::SA_ONSTACK, 0)?;
    let status = run_vforked(|| {
        // SAFETY: no handler can run there, as the case checks.
        let _ = unsafe { sys::sigaltstack(stack as u64, 16 * PAGE_SIZE as u64, 0) };
        if arm().is_err() {
            return SETUP_FAILED;
        }
        let _ = issue_blocked(&arch::gate(), &fresh_umask_call());
        0
    })?;
    expect_killed(status, libc::SIGSEGV, 0)
}

/// Handler body: stores the current signal mask in shared word 0.
fn store_mask(_: Dispatch<'_>) {
    set_shared_word(0, sys::sigmask(libc::SIG_BLOCK, 0).unwrap_or(0));
}

fn mask_in_force() -> Check {
    let before = sys::signal_bit(libc::SIGUSR1) | sys::signal_bit(64);
    let added = sys::signal_bit(libc::SIGUSR2) | sys::signal_bit(40);
    sys::sigmask(libc::SIG_SETMASK, before).map_err(broken("rt_sigprocmask"))?;
    handle_dispatches_with(store_mask, 0, added)?;
    arm()?;
    let (_, record) = issue_dispatched(&arch::gate(), &fresh_umask_call())?;
    expect_equal_hex(
        "mask in the handler",
        shared_word(0),
        before | added | sys::signal_bit(libc::SIGSYS),
    )?;
    expect_equal_hex("mask in the frame", record.frame_mask, before)?;
    let after = sys::sigmask(libc::SIG_SETMASK, 0).unwrap_or(0);
    expect_equal_hex("mask after the handler", after, before)
}

/// The index of the shared word with the id of the thread in which the handler ran.
const HANDLER_THREAD: usize = 0;
/// The index of the shared word with the id of the calling thread, once its call has returned.
const CALLING_THREAD: usize = 1;

/// Handler body: stores [`HANDLER_THREAD`].
fn store_thread_id(_: Dispatch<'_>) {
    set_shared_word(HANDLER_THREAD, u64::from(sys::gettid().cast_unsigned()));
}

fn to_the_caller() -> Check {
    extern "C" fn caller(_: u64) -> u64 {
        if arm().is_ok() {
            let _ = issue_blocked(&arch::gate(), &fresh_umask_call());
        }
        set_shared_word(CALLING_THREAD, u64::from(sys::gettid().cast_unsigned()));
        0
    }
    // The second thread makes the call: a SIGSYS for the whole process would be delivered to the first.
    handle_dispatches(store_thread_id)?;
    let thread = spawn_thread(caller, 0)?;
    await_shared_word(CALLING_THREAD, thread);
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    expect_equal("thread in which the handler ran", shared_word(HANDLER_THREAD), thread)
}

/// A handler that counts its signal and sets the selector to BLOCK.
extern "C" fn block_and_return(_: i32, _: *const u8, _: *mut arch::UserContext) {
    shared().other_signals.fetch_add(1, Ordering::SeqCst);
    set_selector(BLOCK);
}

/// Sends this process SIGUSR1, whose handler sets the selector to BLOCK and returns through `restorer`.
/// With a `restorer` of 0 the handler returns through the vDSO.
///
/// # Safety
/// `restorer` must be the address of a restorer, or 0 on architectures whose vDSO has one.
unsafe fn return_blocked_through(restorer: u64) -> Check {
    handle_dispatches(allow_and_reissue)?;
    let flag = if restorer == 0 { 0 } else { sys::SA_RESTORER };
    let action = SigAction {
        handler: block_and_return as *const () as u64,
        flags: u64::from(libc::SA_SIGINFO.cast_unsigned()) | flag,
        restorer,
        mask: 0,
    };
    // SAFETY: the address is that of a handler; the restorer is the caller's duty.
    unsafe { sys::sigaction(libc::SIGUSR1, &action) }.map_err(broken("rt_sigaction"))?;
    arm()?;
    reset_dispatch_count();
    let sent = sys::kill(sys::getpid(), libc::SIGUSR1);
    set_selector(ALLOW);
    expect_equal("kill", sent, Ok(()))?;
    expect_equal("SIGUSR1 handled", shared().other_signals.load(Ordering::SeqCst), 1)
}

fn return_is_a_call() -> Check {
    // SAFETY: the address is that of a restorer.
    unsafe { return_blocked_through(arch::outside_restorer()) }?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    let record = first_sigsys_record()?;
    expect_equal("si_syscall", i64::from(record.number()), libc::SYS_rt_sigreturn)?;
    let expected = arch::outside_restorer_call() + arch::CALL_LENGTH;
    expect_equal_hex("si_call_addr", record.call_address(), expected)
}

/// Documentation/admin-guide/syscall-user-dispatch.rst: "if a signal trampoline code lives in vDSO,
/// the return from the handler is never intercepted".
fn vdso_return_exempt() -> Check {
    // SAFETY: the case runs on architectures whose vDSO has a restorer.
    unsafe { return_blocked_through(0) }?;
    if let Some(record) = shared().sigsys_record(0) {
        log(format!("number {} at {:#x} was dispatched", record.number(), record.call_address()));
    }
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}

/// The tracer sends SIGUSR1 while the tracee is stopped at the entry of its read(2), so that the signal
/// always interrupts the read. The handler sets the selector to BLOCK. The pipe is empty, so the read
/// restarts, and must be dispatched.
fn restarted_call() -> Check {
    handle_dispatches(do_nothing)?;
    let mut ends = [0i32; 2];
    // SAFETY: writes two descriptors to a live array.
    unsafe { sys::call(libc::SYS_pipe2, &[ends.as_mut_ptr() as u64, 0]) }
        .map_err(broken("pipe2"))?;
    let action = SigAction {
        handler: block_and_return as *const () as u64,
        flags: u64::from((libc::SA_SIGINFO | libc::SA_RESTART).cast_unsigned()) | sys::SA_RESTORER,
        restorer: arch::restorer(),
        mask: 0,
    };
    // SAFETY: the address is that of a signal handler.
    unsafe { sys::sigaction(libc::SIGUSR1, &action) }.map_err(broken("rt_sigaction"))?;
    let byte = 0u8;
    let read_end = u64::from(ends[0].cast_unsigned());
    let read = arch::Registers::for_call(
        call_number(libc::SYS_read),
        [read_end, &raw const byte as u64, 1, 0, 0, 0],
    );
    let tracee = Tracee::start(|| {
        if arm().is_err() {
            return SETUP_FAILED;
        }
        pause_for_tracer();
        let after = arch::gate().issue(&read);
        set_selector(ALLOW);
        exit_code(
            is_result_kept(&after, &read)
                && after[Reg::INSTRUCTION_POINTER] == arch::gate().compared_address(),
        )
    })?;
    tracee.expect_call_stop(libc::PTRACE_SYSCALL, 0)?;
    sys::tgkill(tracee.pid, tracee.pid, libc::SIGUSR1).map_err(broken("tgkill"))?;
    tracee.resume_to_signal(libc::PTRACE_CONT, 0, libc::SIGUSR1)?;
    tracee.resume_to_signal(libc::PTRACE_CONT, libc::SIGUSR1, libc::SIGSYS)?;
    expect_success(tracee.resume(libc::PTRACE_CONT, libc::SIGSYS)?)?;
    expect_equal("SIGUSR1 handled", shared().other_signals.load(Ordering::SeqCst), 1)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    let record = first_sigsys_record()?;
    expect_equal("si_syscall", i64::from(record.number()), libc::SYS_read)?;
    expect_equal_hex("si_call_addr", record.call_address(), arch::gate().compared_address())
}

/// The index of the shared word that is 1 once the first process of the namespace has checked itself.
const IS_INIT_READY: usize = 0;
/// The index of the shared word that is 1 once the first process may end.
const MAY_INIT_END: usize = 1;

/// Sends the first process of a PID namespace, which this is, signals of which the default action kills or stops,
/// while they are blocked, and unblocks them (`get_signal()`).
fn take_pending_signals() -> sys::Result<()> {
    let signals = [libc::SIGHUP, libc::SIGQUIT, libc::SIGTERM, libc::SIGTSTP];
    let mask = signals.into_iter().map(sys::signal_bit).fold(0, |mask, bit| mask | bit);
    sys::sigmask(libc::SIG_BLOCK, mask)?;
    signals.into_iter().try_for_each(|signal| sys::kill(1, signal))?;
    sys::sigmask(libc::SIG_UNBLOCK, mask).map(drop)
}

/// A handled dispatch must leave `SIGNAL_UNKILLABLE` set. `force_sig_info_to_task()` clears this flag if it
/// has to kill.
fn namespace_init_stays_protected() -> Check {
    let flags = u64::from((libc::CLONE_NEWPID | libc::SIGCHLD).cast_unsigned());
    // SAFETY: the process has one thread.
    let init = unsafe { sys::call(libc::SYS_clone, &arch::clone_arguments(flags, 0)) }
        .map_err(broken("clone"))?;
    if init == 0 {
        let send_sigterm_to_init = || exit_code(sys::kill(1, libc::SIGTERM).is_ok());
        let check = handle_dispatches(do_nothing)
            .and_then(|()| arm())
            .and_then(|()| expect_dispatched(&arch::gate()))
            .and_then(|()| disarm())
            .and_then(|()| wait_for_change(spawn_child(send_sigterm_to_init)?))
            .and_then(expect_success)
            .and_then(|()| take_pending_signals().map_err(broken("kill")));
        set_shared_word(IS_INIT_READY, 1);
        await_shared_word(MAY_INIT_END, 1);
        // If a signal to stop came before the word, this call ends with the stop.
        sys::sched_yield();
        sys::exit(exit_code(check.is_ok()));
    }
    let init = i32::try_from(init).map_err(broken("clone"))?;
    while shared_word(IS_INIT_READY) == 0 {
        if let Some((_, status)) = sys::wait(init, libc::WNOHANG).map_err(broken("wait4"))? {
            return Err(mismatch("the first process stays alive", format!("it {status}")));
        }
        sys::sched_yield();
    }
    for signal in [libc::SIGTERM, libc::SIGSTOP] {
        sys::kill(init, signal).map_err(broken("kill"))?;
    }
    set_shared_word(MAY_INIT_END, 1);
    let change = sys::wait(init, libc::WUNTRACED).map_err(broken("wait4"))?;
    let stop = Some((init, WaitStatus::Stopped(libc::SIGSTOP)));
    expect_equal("the first process after SIGTERM and SIGSTOP from outside", change, stop)?;
    sys::kill(init, libc::SIGCONT).map_err(broken("kill"))?;
    expect_success(wait_for_change(init)?)
}

fn namespace_init_killed() -> Check {
    for selector in [BLOCK, INVALID] {
        reset_dispatch_count();
        let flags = u64::from((libc::CLONE_NEWPID | libc::SIGCHLD).cast_unsigned());
        // SAFETY: the process has one thread.
        let child = unsafe { sys::call(libc::SYS_clone, &arch::clone_arguments(flags, 0)) }
            .map_err(broken("clone"))?;
        if child == 0 {
            if sys::getpid() != 1 || arm().is_err() {
                sys::exit(SETUP_FAILED);
            }
            let regs = fresh_umask_call();
            set_selector(selector);
            let _ = arch::gate().issue(&regs);
            sys::exit(0);
        }
        let child = i32::try_from(child).map_err(broken("clone"))?;
        expect_killed(wait_for_change(child)?, libc::SIGSYS, 0)?;
    }
    Ok(())
}
