// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch comes before seccomp: no filter runs for a dispatched call, and every filter runs for an allowed
//! call.

use crate::arch::{self, Registers};
use crate::case::{Case, Check, Failure, case, case_not_in_core};
use crate::filter::{self, statement};
use crate::shared::shared;
use crate::support::*;
use crate::sys::{self, WaitStatus};
use crate::tracee::{StopKind, Tracee};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_TRAP};
use sudbox_protocol::Feature;

const ENTER_FUNCTION: &str = "syscall_trace_enter()";
const NEEDS_FILTER: &[Feature] = &[Feature::Dispatch, Feature::SeccompFilter];

pub(super) const CASES: &[Case] = &[
    case(
        "seccomp/dispatched-unseen",
        "a filter that kills does not run for a dispatched call",
        ENTER_FUNCTION,
        dispatched_unseen,
    )
    .features(NEEDS_FILTER),
    case(
        "seccomp/allowed-filtered",
        "a filter decides about every call that the range or the selector allows, also if a handler issues \
         the call again",
        ENTER_FUNCTION,
        allowed_filtered,
    )
    .features(NEEDS_FILTER),
    case(
        "seccomp/trap-told-apart",
        "the SIGSYS of a filter and that of a dispatch have different si_code values",
        "trigger_sigsys()",
        trap_code_differs,
    )
    .features(NEEDS_FILTER),
    case_not_in_core(
        "seccomp/dispatched-unseen-strict",
        "strict mode does not kill for a dispatched call, and kills for an allowed call",
        ENTER_FUNCTION,
        dispatched_unseen_strict,
    )
    .features(NEEDS_FILTER),
    case_not_in_core(
        "seccomp/tsync-at-entry-stop",
        "if another thread installs a filter for all threads while a thread is in its entry stop, the \
         filter decides about that thread's call",
        ENTER_FUNCTION,
        tsync_at_entry_stop,
    )
    .features(NEEDS_FILTER)
    .known_bugs(&["tsync-bypassed"]),
];

/// `SYS_SECCOMP`, the `si_code` of a filter's SIGSYS.
pub(super) const SYS_SECCOMP: i32 = 1;

/// Installs a filter that returns this action for umask(2), and allows all other calls.
pub(super) fn filter_umask(action: u32) -> sys::Result<()> {
    filter_umask_with(action, 0).map(drop)
}

/// As [`filter_umask`], with `SECCOMP_FILTER_FLAG_*`. Returns the result of `seccomp(2)`.
pub(super) fn filter_umask_with(action: u32, flags: u64) -> sys::Result<u64> {
    let umask = u32::try_from(libc::SYS_umask).unwrap_or(0);
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, umask),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, action),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, SECCOMP_RET_ALLOW),
    ];
    filter::install(&mut program, flags)
}

/// The registers of a umask(2) call. Unlike [`fresh_umask_call`], this function issues no call, which
/// the filter would see.
pub(super) fn umask_call() -> Registers {
    Registers::for_call(call_number(libc::SYS_umask), [0o111, 0, 0, 0, 0, 0])
}

fn dispatched_unseen() -> Check {
    handle_dispatches(do_nothing)?;
    let status = run_vforked(|| {
        if arm().is_err() || filter_umask(SECCOMP_RET_KILL_PROCESS).is_err() {
            return SETUP_FAILED;
        }
        let after = issue_blocked(&arch::gate(), &umask_call());
        exit_code(is_result_kept(&after, &umask_call()))
    })?;
    expect_success(status)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    expect_equal(
        "si_code",
        shared().sigsys_record(0).map(|record| record.code()),
        Some(SYS_USER_DISPATCH),
    )?;
    // The filter kills for an allowed umask(2).
    let status = run_vforked(|| {
        if arm().is_err() || filter_umask(SECCOMP_RET_KILL_PROCESS).is_err() {
            return SETUP_FAILED;
        }
        let _ = arch::gate().issue(&umask_call());
        0
    })?;
    expect_killed(status, libc::SIGSYS, 1)
}

fn allowed_filtered() -> Check {
    const ERRNO: i32 = 77;
    handle_dispatches(allow_and_reissue)?;
    arm()?;
    filter_umask(SECCOMP_RET_ERRNO | ERRNO.cast_unsigned()).map_err(broken("seccomp"))?;
    // SAFETY: takes no pointers.
    let inside = unsafe { sys::call(libc::SYS_umask, &[0o111]) };
    expect_equal("umask in range", inside, Err(sys::Errno(ERRNO)))?;
    let after = arch::gate().issue(&umask_call());
    expect_equal("umask by selector", after.result(), -i64::from(ERRNO))?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)?;
    let after = issue_blocked(&arch::gate(), &umask_call());
    expect_equal("umask issued again by the handler", after.result(), -i64::from(ERRNO))?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)
}

fn trap_code_differs() -> Check {
    // The kernel passes the data of SECCOMP_RET_TRAP to the handler as `si_errno`.
    const TRAP_DATA: i32 = 55;
    handle_dispatches(do_nothing)?;
    arm()?;
    filter_umask(SECCOMP_RET_TRAP | TRAP_DATA.cast_unsigned()).map_err(broken("seccomp"))?;
    let gate = arch::gate();
    for (selector, code, errno) in [
        (ALLOW, SYS_SECCOMP, TRAP_DATA),
        (BLOCK, SYS_USER_DISPATCH, 0),
        (ALLOW, SYS_SECCOMP, TRAP_DATA),
    ] {
        reset_dispatch_count();
        set_selector(selector);
        let _ = gate.issue(&umask_call());
        set_selector(ALLOW);
        expect_equal("SIGSYS handled", dispatch_count(), 1)?;
        let record = first_sigsys_record()?;
        expect_equal("si_code", record.code(), code)?;
        expect_equal("si_errno", record.errno(), errno)?;
        expect_equal_hex("si_call_addr", record.call_address(), gate.compared_address())?;
        expect_equal("si_syscall", i64::from(record.number()), libc::SYS_umask)?;
    }
    Ok(())
}

/// The index of the shared word with the id of [`thread_held_at_entry`].
const HELD_THREAD_ID: usize = 0;
/// The index of the shared word that is 1 once the held thread may issue its call.
const MAY_CALL: usize = 1;
/// The index of the shared word with the low 32 bits of the call's result, and [`HAS_RESULT`].
const RESULT: usize = 2;
/// The index of the shared word that is 1 once the first thread must install the filter.
const INSTALL_REQUESTED: usize = 3;
/// The index of the shared word that is 1 once the filter is installed, and 2 if it is refused.
const INSTALL_RESULT: usize = 4;
/// The bit of the shared word [`RESULT`] that is set once there is a result.
const HAS_RESULT: u64 = 1 << 32;
/// The error number that the filter returns.
const FILTER_ERRNO: i32 = 77;

/// A thread that arms and issues a call that its selector allows. The tracer holds the thread in the entry
/// stop of the call.
extern "C" fn thread_held_at_entry(_: u64) -> u64 {
    if arm().is_err() {
        return 0;
    }
    set_shared_word(HELD_THREAD_ID, u64::from(sys::gettid().cast_unsigned()));
    await_shared_word(MAY_CALL, 1);
    let after = arch::gate().issue(&umask_call());
    set_shared_word(RESULT, after.result().cast_unsigned() & (HAS_RESULT - 1) | HAS_RESULT);
    loop {
        sys::sched_yield();
    }
}

/// Starts [`thread_held_at_entry`], and installs the filter for all threads once [`INSTALL_REQUESTED`] is
/// set.
fn install_for_all() -> i32 {
    if spawn_thread(thread_held_at_entry, 0).is_err() {
        return SETUP_FAILED;
    }
    await_shared_word(INSTALL_REQUESTED, 1);
    let action = SECCOMP_RET_ERRNO | FILTER_ERRNO.cast_unsigned();
    let flag = libc::SECCOMP_FILTER_FLAG_TSYNC;
    let installed = filter_umask_with(action, flag) == Ok(0);
    set_shared_word(INSTALL_RESULT, if installed { 1 } else { 2 });
    loop {
        sys::sched_yield();
    }
}

/// The held thread has no filter when it enters the kernel. After the stop, `syscall_trace_enter()` must
/// read the thread's work flags again (4a3591287fb7).
fn tsync_at_entry_stop() -> Check {
    handle_dispatches(do_nothing)?;
    let process = spawn_child(install_for_all)?;
    while shared_word(HELD_THREAD_ID) == 0 {
        sys::sched_yield();
    }
    let thread = Tracee::seize(i32::try_from(shared_word(HELD_THREAD_ID)).unwrap_or(0))?;
    set_shared_word(MAY_CALL, 1);
    loop {
        thread.expect_call_stop(libc::PTRACE_SYSCALL, 0)?;
        let number = thread.registers()?.number.cast_signed();
        if thread.stop_kind()? == StopKind::Entry && number == libc::SYS_umask {
            break;
        }
    }
    set_shared_word(INSTALL_REQUESTED, 1);
    while shared_word(INSTALL_RESULT) == 0 {
        sys::sched_yield();
    }
    if shared_word(INSTALL_RESULT) != 1 {
        return Err(Failure::Broken("the filter is refused".into()));
    }
    thread.request(libc::PTRACE_CONT, 0, 0).map_err(refused_request("PTRACE_CONT"))?;
    while shared_word(RESULT) == 0 {
        sys::sched_yield();
    }
    sys::kill(process, libc::SIGKILL).map_err(broken("kill"))?;
    let _ = (wait_for_change(thread.pid)?, wait_for_change(process)?);
    let expected = i64::from(-FILTER_ERRNO).cast_unsigned() & (HAS_RESULT - 1);
    expect_equal_hex(
        "result of the call that was held",
        shared_word(RESULT) & (HAS_RESULT - 1),
        expected,
    )?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}

/// Handler body: ends the thread by exit(2), which strict mode permits. The handler does not return, since
/// strict mode on s390x permits sigreturn but not rt_sigreturn.
fn exit_thread(_: Dispatch<'_>) {
    // SAFETY: ends the child's only thread.
    let _ = unsafe { sys::call(libc::SYS_exit, &[0]) };
}

fn dispatched_unseen_strict() -> Check {
    handle_dispatches(exit_thread)?;
    for (selector, expected) in [(BLOCK, WaitStatus::Exited(0)), (ALLOW, killed())] {
        reset_dispatch_count();
        let status = run_vforked(|| {
            // SAFETY: takes no pointers.
            let enter_strict_mode = || unsafe {
                let strict = libc::SECCOMP_MODE_STRICT.into();
                sys::prctl(libc::PR_SET_SECCOMP, strict, 0, 0, 0)
            };
            // Arm first: strict mode permits no prctl(2).
            if arm().is_err() || enter_strict_mode().is_err() {
                return SETUP_FAILED;
            }
            set_selector(selector);
            let _ = arch::gate().issue(&umask_call());
            // Strict mode permits no exit_group(2) either.
            // SAFETY: ends the child's only thread.
            let _ = unsafe { sys::call(libc::SYS_exit, &[1]) };
            1
        });
        expect_equal("the child", status?.to_string(), expected.to_string())?;
        expect_equal("SIGSYS handled", dispatch_count(), u32::from(selector == BLOCK))?;
    }
    Ok(())
}

/// The death by SIGKILL.
fn killed() -> WaitStatus {
    WaitStatus::Killed { signal: libc::SIGKILL, core: false }
}
