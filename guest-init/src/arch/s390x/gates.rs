// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What gates are made of.

use super::SA_RESTORER;
use crate::sys::Action;
use std::ops::Range;

std::arch::global_asm!(include_str!("gates.s"));

/// Bytes above a stack pointer's first value that whom the child calls may write to.
pub const FIRST_FRAME: u64 = 160;

/// Lets instructions be read from where they were written as data: the processor sees to it.
///
/// # Safety
/// None is needed here.
pub unsafe fn make_executable(_: Range<u64>) {}

/// `struct sigaction` as `rt_sigaction(2)` takes it (include/linux/signal_types.h).
pub type KernelAction = Action;

/// What brings this about: the kernel's own place of return, in the vDSO, where none is given.
#[must_use]
pub fn kernel_action(_: i32, action: &Action) -> KernelAction {
    let Action { handler, flags, restorer, mask } = *action;
    let flags = if restorer == 0 { flags & !SA_RESTORER } else { flags };
    Action { handler, flags, restorer, mask }
}

/// Where the kernel begins a handler.
#[must_use]
pub fn entered_at(handler: u64) -> u64 {
    handler
}
