// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The machine code of gates, and the gates of 32-bit calls.

use super::CALL_LENGTH;
use crate::arch::gates::{Gate, GateFunction, declare_symbols, symbol_address};
use crate::sys::SigAction;
use std::ops::Range;

std::arch::global_asm!(include_str!("gates.s"));

declare_symbols!(
    sudbox_compat_call,
    sudbox_compat_other_continuation,
    sudbox_compat_skip,
    sudbox_sse_call,
    sudbox_avx_call;
    sudbox_compat,
    sudbox_sse,
    sudbox_avx
);

/// Bytes above a new thread's first stack pointer that belong to the functions it calls: none.
pub const RESERVED_ABOVE_STACK: u64 = 0;

/// Does nothing: the caches are coherent, so the processor executes newly written instructions.
///
/// # Safety
/// Always safe on this architecture.
pub unsafe fn make_executable(_: Range<u64>) {}

/// An outside gate that uses `int 0x80`.
#[must_use]
pub fn compat_gate() -> Gate {
    Gate {
        function: sudbox_compat,
        call_address: symbol_address(sudbox_compat_call),
        other_continuation: symbol_address(sudbox_compat_other_continuation),
    }
}

/// The address at which a fault handler can continue [`compat_gate`] after `int 0x80` has faulted.
#[must_use]
pub fn compat_gate_after_fault() -> u64 {
    symbol_address(sudbox_compat_skip)
}

/// Copies the part of [`compat_gate`] up to and including its `int 0x80`, so that the `int 0x80` ends at
/// `end`. The copy lacks the rest of the gate, so a handler must continue at its
/// [`Gate::other_continuation`], which is in [`compat_gate`].
///
/// # Safety
/// The page before `end` must be writable, and executable when the gate is used.
#[must_use]
pub unsafe fn compat_gate_before(end: *mut u8) -> Gate {
    let start = sudbox_compat as *const ();
    let length = compat_gate().compared_address() - start as u64;
    let target = (end as u64 - length) as *mut u8;
    // SAFETY: the code up to the call is position-independent and shorter than a page; `end` is the
    // caller's duty.
    let function = unsafe {
        std::ptr::copy_nonoverlapping(start.cast(), target, usize::try_from(length).unwrap_or(0));
        std::mem::transmute::<*mut u8, GateFunction>(target)
    };
    Gate {
        function,
        call_address: end as u64 - CALL_LENGTH,
        other_continuation: compat_gate().other_continuation(),
    }
}

/// `time(2)` through the vsyscall page (arch/x86/include/uapi/asm/vsyscall.h).
pub fn vsyscall_time(seconds: &mut u64) -> u64 {
    const VSYSCALL_TIME: usize = 0xffff_ffff_ff60_0400;
    // SAFETY: the kernel emulates this address as a function of the C ABI.
    unsafe { std::mem::transmute::<usize, extern "C" fn(*mut u64) -> u64>(VSYSCALL_TIME)(seconds) }
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
