// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Floating point registers, on architectures with one set of such registers.

use crate::arch::{self, FloatState, Registers};
use crate::case::Check;
use crate::cases::registers::state_after_overwriting_handler;
use crate::support::*;

pub(crate) fn floating_kept() -> Check {
    let before = FloatState::pattern();
    let issue = |regs: &Registers| arch::issue_with_floats(regs, &before);
    let after = state_after_overwriting_handler(issue, arch::float_call_address())?;
    ensure(before == after, "floating point registers as before", || before.difference(&after))
}
