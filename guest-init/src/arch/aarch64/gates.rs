// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The machine code of gates.

use crate::arch::gates::declare_symbols;
use crate::sys::SigAction;
use std::ops::Range;

std::arch::global_asm!(include_str!("gates.s"));

declare_symbols!(sudbox_scalable_call; sudbox_scalable);

unsafe extern "C" {
    pub(super) fn sudbox_vector_length() -> usize;
}

/// Bytes above a new thread's first stack pointer that belong to the functions it calls: none.
pub const RESERVED_ABOVE_STACK: u64 = 0;

/// Makes written instructions executable: cleans and invalidates the caches (Arm ARM, B2.7.4), in steps
/// of the smallest cache line.
///
/// # Safety
/// The range must be mapped.
pub unsafe fn make_executable(range: Range<u64>) {
    let lines = || (range.start & !15..range.end).step_by(16);
    // SAFETY: the memory is mapped, by the contract of this function.
    unsafe {
        for line in lines() {
            std::arch::asm!("dc cvau, {}", in(reg) line, options(nostack));
        }
        std::arch::asm!("dsb ish", options(nostack));
        for line in lines() {
            std::arch::asm!("ic ivau, {}", in(reg) line, options(nostack));
        }
        std::arch::asm!("dsb ish", "isb", options(nostack));
    }
}

/// The kernel's `struct sigaction` (include/linux/signal_types.h).
pub type KernelSigAction = SigAction;

/// Returns `action` unchanged: the kernel's structure is a [`SigAction`] on this architecture.
#[must_use]
pub fn kernel_sigaction(_: i32, action: &SigAction) -> KernelSigAction {
    *action
}

/// The address at which the kernel enters the handler at `handler`.
#[must_use]
pub fn handler_entry_address(handler: u64) -> u64 {
    handler
}
