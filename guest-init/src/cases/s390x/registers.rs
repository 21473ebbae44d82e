// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The condition code and the thread pointer (access registers 0 and 1).

use crate::arch::{self, Reg};
use crate::case::Check;
use crate::cases::registers::pattern_registers;
use crate::support::*;

pub(crate) fn flags_kept() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    for condition in (0..4).map(|code| code << arch::SETTABLE_FLAGS.trailing_zeros()) {
        let mut regs = pattern_registers();
        regs[Reg::Mask] = condition;
        let (after, record) = issue_dispatched(&arch::gate(), &regs)?;
        let in_frame = record.registers[Reg::Mask] & arch::SETTABLE_FLAGS;
        expect_equal_hex("condition code in the frame", in_frame, condition)?;
        expect_equal_hex("mask after the handler", after[Reg::Mask], condition)?;
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
    expect_equal_hex("access registers 0 and 1 in the handler", shared_word(0), pointer)?;
    expect_equal_hex("access registers 0 and 1", arch::thread_pointer(), pointer)
}
