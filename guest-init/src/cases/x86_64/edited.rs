// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tracers that edit registers, including debug registers.

use crate::arch::{self, Reg};
use crate::case::{Check, Failure};
use crate::cases::ptrace_calls::shared_selector;
use crate::support::*;
use crate::sys::WaitStatus;
use crate::tracee::{StopKind, Tracee, pause_for_tracer};
use std::mem::offset_of;
use std::sync::atomic::Ordering;

const CONT: u32 = libc::PTRACE_CONT;
const SYSCALL: u32 = libc::PTRACE_SYSCALL;

/// The argument of umask(2) when the tracer changes another call into that call.
const CHANGED_MASK: u64 = 0o135;

pub(crate) fn edited_call_executed() -> Check {
    handle_dispatches(do_nothing)?;
    let gate = arch::gate();
    let other_address = arch::second_gate().compared_address();
    // In the first round the range allows the call, and the tracer moves the call to another address. In the
    // second round the selector allows the call, and the tracer sets BLOCK.
    for is_in_range in [true, false] {
        let selector = shared_selector()?;
        let tracee = Tracee::start(|| {
            let regs = arch::Registers::for_call(call_number(libc::SYS_getppid), [0; 6]);
            let (start, length) = if is_in_range {
                (gate.compared_address(), 1)
            } else {
                (arch::inside().start, inside_length())
            };
            let armed =
                expect_accepted(MODE_EXCLUSIVE, start, length, selector_address(selector)).is_ok();
            pause_for_tracer();
            let after = gate.issue(&regs);
            let has_result = after.result() == RESET_UMASK.cast_signed();
            exit_code(armed && has_result && after[Reg::Bx] == regs[Reg::Bx])
        })?;
        loop {
            tracee.expect_call_stop(SYSCALL, 0)?;
            let number = tracee.registers()?.number.cast_signed();
            if tracee.stop_kind()? == StopKind::Entry && number == libc::SYS_getppid {
                break;
            }
        }
        selector.store(BLOCK, Ordering::SeqCst);
        let mut registers = tracee.registers()?;
        let mut general = registers.general_at_call();
        general[Reg::ARGUMENTS[0]] = CHANGED_MASK;
        general[Reg::INSTRUCTION_POINTER] = other_address;
        registers.set_general(&general);
        registers.number = call_number(libc::SYS_umask);
        registers.result = i64::from(-libc::ENOSYS).cast_unsigned();
        tracee.set_registers(&registers)?;
        tracee.expect_call(SYSCALL, 0, StopKind::Exit, libc::SYS_umask)?;
        let mut registers = tracee.registers()?;
        expect_equal_hex(
            "next instruction after the call",
            registers.instruction_pointer,
            other_address,
        )?;
        expect_equal("result of the call", registers.result, RESET_UMASK)?;
        // Let the tracee continue after its original call.
        let mut general = registers.general();
        general[Reg::INSTRUCTION_POINTER] = gate.compared_address();
        registers.set_general(&general);
        tracee.set_registers(&registers)?;
        selector.store(ALLOW, Ordering::SeqCst);
        expect_success(tracee.resume(CONT, 0)?)?;
        expect_equal("SIGSYS handled", dispatch_count(), 0)?;
    }
    Ok(())
}

/// The offset of a debug register in `struct user` (arch/x86/include/asm/user_64.h).
fn debug_register(index: usize) -> u64 {
    (offset_of!(libc::user, u_debugreg) + index * 8) as u64
}

/// The value of DR7 that enables the first watchpoint: one byte, reads and writes (Intel SDM volume 3,
/// 18.2.4).
const WATCH_ONE_BYTE: u64 = 1 | 3 << 16;

/// The number of stores before arming, of which a working watchpoint must report one.
const STORES: usize = 1000;
/// The value of the shared byte `watchpoint_state` once the tracer has observed a hit.
const WATCHPOINT_WORKS: u8 = 1;

/// The kernel's read of the selector hits the watchpoint in kernel mode. Such a hit sends no signal
/// (`exc_debug_kernel()` of 6.12.117 and 7.3.4). The case does not check DR6 after this hit.
///
/// If no store before arming hits the watchpoint, the machine has no working watchpoints. Watchpoints do not
/// work under QEMU 7.2 with more than one emulated CPU or with its emulated SVM; on real processors they do.
pub(crate) fn watched_selector() -> Check {
    handle_dispatches(do_nothing)?;
    // A byte that the tracer shares with the tracee.
    let watchpoint_state = shared_selector()?;
    let tracee = Tracee::start(|| {
        let regs = fresh_umask_call();
        pause_for_tracer();
        for _ in 0..STORES {
            set_selector(BLOCK);
            if watchpoint_state.load(Ordering::SeqCst) == WATCHPOINT_WORKS {
                break;
            }
        }
        if expect_accepted(
            MODE_EXCLUSIVE,
            arch::inside().start,
            inside_length(),
            selector_address(&SELECTOR),
        )
        .is_err()
        {
            return SETUP_FAILED;
        }
        pause_for_tracer();
        let _ = arch::gate().issue(&regs);
        let is_dispatched = !take_umask_effect();
        // This store must hit the watchpoint.
        set_selector(ALLOW);
        let _ = arch::gate().issue(&regs);
        exit_code(is_dispatched && take_umask_effect())
    })?;
    let set_debug_register = |register, value| {
        tracee
            .request(libc::PTRACE_POKEUSER, debug_register(register), value)
            .map_err(broken("PTRACE_POKEUSER"))
    };
    set_debug_register(0, selector_address(&SELECTOR))?;
    set_debug_register(7, WATCH_ONE_BYTE)?;
    let first_stop = tracee.resume(CONT, 0)?;
    if first_stop == WaitStatus::Stopped(libc::SIGSTOP) {
        return Err(Failure::Unmet("working hardware watchpoints".to_owned()));
    }
    ensure(
        first_stop == WaitStatus::Stopped(libc::SIGTRAP),
        "the tracee: stopped with SIGTRAP",
        || first_stop.to_string(),
    )?;
    watchpoint_state.store(WATCHPOINT_WORKS, Ordering::SeqCst);
    tracee.resume_to_signal(CONT, 0, libc::SIGSTOP)?;
    tracee.resume_to_signal(CONT, 0, libc::SIGSYS)?;
    tracee.resume_to_signal(CONT, libc::SIGSYS, libc::SIGTRAP)?;
    let status = tracee
        .request(libc::PTRACE_PEEKUSER, debug_register(6), &raw const DEBUG_STATUS as u64)
        .map(|_| DEBUG_STATUS.load(Ordering::SeqCst))
        .map_err(refused_request("PTRACE_PEEKUSER"))?;
    // Bits 0 to 3 of DR6 are the watchpoints that were hit.
    expect_equal("the watchpoint that was hit", status & 0xf, 1)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    expect_success(tracee.resume(CONT, 0)?)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)
}

/// The debug status register DR6, as `PTRACE_PEEKUSER` read it.
static DEBUG_STATUS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
