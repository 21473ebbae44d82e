// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Single steps by a tracer over calls.

use crate::arch;
use crate::case::Check;
use crate::cases::ptrace::start_caller;
use crate::support::*;
use crate::tracee::{StopKind, Tracee};

const CONT: u32 = libc::PTRACE_CONT;
const SINGLESTEP: u32 = libc::PTRACE_SINGLESTEP;
/// `PTRACE_SYSEMU_SINGLESTEP` (arch/x86/include/uapi/asm/ptrace-abi.h), which the `libc` crate lacks.
const SYSEMU_SINGLESTEP: u32 = 32;

/// Runs the tracee to the system call instruction of the gate, by a temporary breakpoint. The tracee is not
/// single-stepped to the instruction, because on x86-64 a step over the gate's `popf` leaves the trap flag
/// set (`enable_single_step()`).
fn run_to_call(tracee: &Tracee) -> Check {
    let call = arch::gate().call_address();
    // SAFETY: reads the gate's code, which the tracee shares.
    let code = unsafe { (call as *const u64).read_unaligned() };
    let poke = |word| {
        tracee
            .request(libc::PTRACE_POKETEXT, call, word)
            .map_err(refused_request("PTRACE_POKETEXT"))
    };
    poke(arch::with_breakpoint(code))?;
    tracee.resume_to_signal(CONT, 0, libc::SIGTRAP)?;
    poke(code)?;
    let mut registers = tracee.registers()?;
    registers.instruction_pointer = call;
    tracee.set_registers(&registers)
}

pub(crate) fn step_dispatched() -> Check {
    expect_step_dispatched(SINGLESTEP)
}

pub(crate) fn step_emulated() -> Check {
    expect_step_dispatched(SYSEMU_SINGLESTEP)
}

/// Checks the stops over a dispatched call if the tracer resumes the tracee by the request `step_request`.
fn expect_step_dispatched(step_request: u32) -> Check {
    let tracee = start_caller(BLOCK)?;
    run_to_call(&tracee)?;
    tracee.resume_to_signal(step_request, 0, libc::SIGSYS)?;
    expect_equal("kind of stop", tracee.stop_kind()?, StopKind::None)?;
    let registers = tracee.registers()?;
    expect_equal_hex(
        "next instruction at SIGSYS",
        registers.instruction_pointer,
        arch::gate().compared_address(),
    )?;
    let kept = is_result_value_kept(registers.result.cast_signed(), &fresh_umask_call());
    ensure(kept, "result's register at SIGSYS as at the call", || registers.result.to_string())?;
    tracee.resume_to_signal(step_request, libc::SIGSYS, libc::SIGTRAP)?;
    expect_equal_hex(
        "next instruction after it",
        tracee.registers()?.instruction_pointer,
        arch::handler_entry_address(handler_address()),
    )?;
    if arch::STEP_STOPS_TWICE {
        tracee.resume_to_signal(CONT, 0, libc::SIGTRAP)?;
    }
    expect_success(tracee.resume(CONT, 0)?)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)
}

pub(crate) fn step_allowed() -> Check {
    let tracee = start_caller(ALLOW)?;
    run_to_call(&tracee)?;
    tracee.resume_to_signal(SINGLESTEP, 0, libc::SIGTRAP)?;
    let registers = tracee.registers()?;
    expect_equal_hex(
        "next instruction",
        registers.instruction_pointer,
        arch::gate().compared_address(),
    )?;
    expect_equal("result", registers.result, RESET_UMASK)?;
    expect_success(tracee.resume(CONT, 0)?)?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}
