// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tracers that change calls, and tracers that attach to an armed program.

use super::check_on;
use super::ptrace::start_caller;
use crate::arch;
use crate::case::{Case, Check, Failure, OnlyArchs, case, case_not_in_core};
use crate::ptrace::{self, INTERRUPT};
use crate::support::*;
use crate::sys::{self, Errno, WaitStatus};
use crate::tracee::{StopKind, Tracee, pause_for_tracer};
use std::sync::atomic::{AtomicU8, Ordering};
use sudbox_protocol::{Arch, Feature};

const ENTER_FUNCTION: &str = "syscall_trace_enter()";
const CONT: u32 = libc::PTRACE_CONT;
const SYSCALL: u32 = libc::PTRACE_SYSCALL;

pub(super) const CASES: &[Case] = &[
    case(
        "ptrace/edited-call-not-asked-again",
        "if the tracer changes address, number, arguments or selector of an allowed call at its entry, the \
         changed call is executed and not dispatched",
        ENTER_FUNCTION,
        check_on!("x86_64", this_arch::edited::edited_call_executed),
    )
    .only(OnlyArchs {
        archs: &[Arch::X86_64],
        reason: "its tracer edits the registers of x86-64",
    }),
    case(
        "ptrace/call-info-set",
        "PTRACE_SET_SYSCALL_INFO changes an allowed call, which is not dispatched, and is refused at \
         the stop for SIGSYS",
        "ptrace_set_syscall_info()",
        call_info_set,
    )
    .features(&[Feature::Dispatch, Feature::PtraceSetCallInfo]),
    case(
        "ptrace/seized-interrupt",
        "a tracer that seizes and interrupts an armed program observes no dispatched call, and no SIGSYS is \
         lost",
        "ptrace_stop()",
        seized_interrupt,
    ),
    case_not_in_core(
        "ptrace/watched-selector",
        "a debugger's watchpoint on the selector does not change dispatch, and reports only the program's \
         own accesses",
        "hw_breakpoint_handler()",
        check_on!("x86_64", this_arch::edited::watched_selector),
    )
    .only(OnlyArchs { archs: &[Arch::X86_64], reason: "watchpoints are set by registers of x86-64" }),
];

/// `PTRACE_SET_SYSCALL_INFO` (include/uapi/linux/ptrace.h, since 6.16).
const PTRACE_SET_SYSCALL_INFO: u32 = 0x4212;
/// The offset in bytes of the number in the `struct ptrace_syscall_info` of an entry.
const CALL_INFO_NUMBER: usize = 24;
/// The offset in bytes of the first argument in this structure.
const CALL_INFO_ARGUMENT: usize = 32;
/// The length of this structure in bytes, in the release that introduced `PTRACE_SET_SYSCALL_INFO`.
const CALL_INFO_LENGTH: u64 = 88;

/// Changes the number and the first argument of the call at which the tracee is stopped, by
/// `PTRACE_GET_SYSCALL_INFO` and `PTRACE_SET_SYSCALL_INFO`.
fn set_call(tracee: &Tracee, number: i64, argument: u64) -> sys::Result<()> {
    let mut info = ptrace::call_info(tracee.pid)?;
    info[CALL_INFO_NUMBER..CALL_INFO_NUMBER + 8].copy_from_slice(&number.to_ne_bytes());
    info[CALL_INFO_ARGUMENT..CALL_INFO_ARGUMENT + 8].copy_from_slice(&argument.to_ne_bytes());
    tracee.request(PTRACE_SET_SYSCALL_INFO, CALL_INFO_LENGTH, info.as_mut_ptr() as u64).map(drop)
}

fn call_info_set() -> Check {
    // The kernel refuses the request at the stop for SIGSYS, which is no stop of a call.
    let tracee = start_caller(BLOCK)?;
    tracee.resume_to_signal(SYSCALL, 0, libc::SIGSYS)?;
    let result = set_call(&tracee, libc::SYS_getpid, 0);
    expect_equal("setting at the stop for SIGSYS", result, Err(Errno(libc::EINVAL)))?;
    expect_success(tracee.resume(CONT, libc::SIGSYS)?)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    reset_dispatch_count();
    let selector = shared_selector()?;
    let tracee = Tracee::start(|| {
        let regs = arch::Registers::for_call(call_number(libc::SYS_getppid), [0; 6]);
        if arm_with_selector(selector_address(selector)).is_err() {
            return SETUP_FAILED;
        }
        pause_for_tracer();
        let _ = take_umask_effect();
        let after = arch::gate().issue(&regs);
        selector.store(ALLOW, Ordering::SeqCst);
        exit_code(take_umask_effect() && after.result() == RESET_UMASK.cast_signed())
    })?;
    loop {
        tracee.expect_call_stop(SYSCALL, 0)?;
        let is_entry = tracee.stop_kind()? == StopKind::Entry;
        if is_entry && tracee.registers()?.number.cast_signed() == libc::SYS_getppid {
            break;
        }
    }
    // The selector allowed the getppid(2). With BLOCK, the changed call must not be dispatched either.
    selector.store(BLOCK, Ordering::SeqCst);
    let result = set_call(&tracee, libc::SYS_umask, CHANGED_UMASK);
    expect_equal("setting at an entry", result, Ok(()))?;
    tracee.expect_call(SYSCALL, 0, StopKind::Exit, libc::SYS_umask)?;
    selector.store(ALLOW, Ordering::SeqCst);
    expect_success(tracee.resume(CONT, 0)?)?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}

/// Allocates a selector that tracer and tracee share. It is at ALLOW.
pub(super) fn shared_selector() -> Result<&'static AtomicU8, Failure> {
    let page = sys::map_shared(PAGE_SIZE).map_err(broken("mmap"))?;
    // SAFETY: a byte of memory that is never unmapped.
    Ok(unsafe { &*page.cast() })
}

/// The index of the shared word that is 1 once the program may issue its call.
const MAY_CALL: usize = 0;
/// The index of the shared word that is 1 once the program waits for [`MAY_CALL`].
const IS_WAITING: usize = 1;

fn seized_interrupt() -> Check {
    handle_dispatches(do_nothing)?;
    let child = spawn_child(|| {
        let regs = fresh_umask_call();
        if arm().is_err() {
            return SETUP_FAILED;
        }
        set_selector(BLOCK);
        set_shared_word(IS_WAITING, 1);
        // This loop issues no system call that the tracer could interrupt.
        while shared_word(MAY_CALL) == 0 {
            std::hint::spin_loop();
        }
        let after = arch::gate().issue(&regs);
        set_selector(ALLOW);
        exit_code(!take_umask_effect() && is_result_kept(&after, &regs))
    })?;
    await_shared_word(IS_WAITING, 1);
    let tracee = Tracee::seize(child)?;
    expect_equal("kind of stop", tracee.stop_kind()?, StopKind::None)?;
    set_shared_word(MAY_CALL, 1);
    tracee.resume_to_signal(SYSCALL, 0, libc::SIGSYS)?;
    expect_equal("kind of stop at SIGSYS", tracee.stop_kind()?, StopKind::None)?;
    expect_equal_hex(
        "next instruction at SIGSYS",
        tracee.registers()?.instruction_pointer,
        arch::gate().compared_address(),
    )?;
    // The tracee has the handler's registers when it stops again, before its return to user mode.
    expect_equal("interrupting", tracee.request(INTERRUPT, 0, 0), Ok(0))?;
    expect_equal("the tracee", tracee.resume(SYSCALL, libc::SIGSYS)?, Tracee::INTERRUPTED)?;
    expect_equal("kind of stop", tracee.stop_kind()?, StopKind::None)?;
    let handler_start = arch::handler_entry_address(handler_address());
    expect_equal_hex("next instruction", tracee.registers()?.instruction_pointer, handler_start)?;
    expect_equal("SIGSYS handled so far", dispatch_count(), 0)?;
    tracee.expect_call(SYSCALL, 0, StopKind::Entry, libc::SYS_rt_sigreturn)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    expect_equal("detaching", tracee.request(libc::PTRACE_DETACH, 0, 0), Ok(0))?;
    let status = wait_for_change(child)?;
    expect_equal("the program", status, WaitStatus::Exited(0))?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)
}
