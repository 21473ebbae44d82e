// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The flags, the thread pointers and scalable vectors.

use crate::arch::{self, Reg, Registers, ScalableState};
use crate::case::Check;
use crate::cases::registers::{
    expect_round_trip, pattern_arguments, pattern_registers, state_after_overwriting_handler,
};
use crate::support::*;

pub(crate) fn flags_kept() -> Check {
    handle_dispatches(clobber_flags)?;
    arm()?;
    let gate = arch::gate();
    let single = (0..32).map(|bit| 1 << bit).filter(|flag| arch::SETTABLE_FLAGS & flag != 0);
    for flags in single.chain([0, arch::SETTABLE_FLAGS]) {
        let (after, record) = issue_dispatched(&gate, &pattern_registers().with_flags(flags))?;
        expect_equal_hex(
            "flags in the frame",
            record.registers[Reg::Pstate] & arch::SETTABLE_FLAGS,
            flags,
        )?;
        expect_equal_hex(
            "flags after the handler",
            after[Reg::Pstate] & arch::SETTABLE_FLAGS,
            flags,
        )?;
    }
    Ok(())
}

/// Handler body: sets the processor's flags to the inverse of those in the frame.
fn clobber_flags(dispatch: Dispatch<'_>) {
    arch::set_flags(!dispatch.frame.registers[Reg::Pstate]);
}

/// For number -1 only, `el0_svc_common()` sets the result register to -ENOSYS before it reads the selector,
/// so that a tracer reads this result.
pub(crate) fn number_minus_one_kept() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let gate = arch::gate();
    // The kernel reads the low 32 bits of the number, so both values are -1.
    for number in [u64::MAX, 0x1_ffff_ffff] {
        let regs = Registers::for_call(number, pattern_arguments());
        let (after, record) = issue_dispatched(&gate, &regs)?;
        expect_round_trip(&regs, &after, &record, gate.compared_address())?;
        expect_equal("si_syscall", record.number(), -1)?;
        reset_dispatch_count();
        let after = gate.issue(&regs);
        expect_equal("SIGSYS handled for an allowed call", dispatch_count(), 0)?;
        expect_equal("result of an allowed call", after.result(), -i64::from(libc::ENOSYS))?;
    }
    Ok(())
}

/// Handler body: stores the thread pointer in shared word 0.
fn store_thread_pointer(_: Dispatch<'_>) {
    set_shared_word(0, arch::thread_pointer());
}

pub(crate) fn thread_pointers_kept() -> Check {
    handle_dispatches(store_thread_pointer)?;
    arm()?;
    let pointer = arch::thread_pointer();
    issue_dispatched(&arch::gate(), &fresh_umask_call())?;
    expect_equal_hex("TPIDR_EL0 in the handler", shared_word(0), pointer)?;
    expect_equal_hex("TPIDR_EL0", arch::thread_pointer(), pointer)
}

/// Documentation/arch/arm64/sve.rst, section 3: a call preserves bits 127:0 of Z0 to Z31, and zeroes all
/// other bits of these registers and all bits of P0 to P15.
pub(crate) fn scalable_cut() -> Check {
    let before = ScalableState::pattern();
    let issue = |regs: &Registers| arch::issue_with_scalable(regs, &before);
    let (_, after_call) = issue(&pattern_registers());
    let expected = before.after_call_entry();
    ensure(after_call == expected, "the state after any call", || {
        after_call.difference(&expected)
    })?;
    let after = state_after_overwriting_handler(issue, arch::scalable_call_address())?;
    ensure(after == expected, "the state after any call", || after.difference(&expected))
}
