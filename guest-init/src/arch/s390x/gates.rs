// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The machine code of gates, and the entry to signal handlers.

use super::SA_RESTORER;
use crate::sys::SigAction;
use std::ops::Range;

std::arch::global_asm!(include_str!("gates.s"));

/// Bytes above a new thread's first stack pointer that belong to the functions it calls: the register
/// save area of the ABI.
pub const RESERVED_ABOVE_STACK: u64 = 160;

/// Does nothing: the caches are coherent, so the processor executes newly written instructions.
///
/// # Safety
/// Always safe on this architecture.
pub unsafe fn make_executable(_: Range<u64>) {}

/// The kernel's `struct sigaction` (include/linux/signal_types.h).
pub type KernelSigAction = SigAction;

/// Converts a [`SigAction`] to a [`KernelSigAction`]. Without a restorer the kernel uses the one in the vDSO.
#[must_use]
pub fn kernel_sigaction(_: i32, action: &SigAction) -> KernelSigAction {
    let SigAction { handler, flags, restorer, mask } = *action;
    let flags = if restorer == 0 { flags & !SA_RESTORER } else { flags };
    SigAction { handler, flags, restorer, mask }
}

/// The address at which the kernel enters the handler at `handler`.
#[must_use]
pub fn handler_entry_address(handler: u64) -> u64 {
    handler
}
