// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What gates are made of, and those of 32-bit calls.

use super::CALL_LENGTH;
use crate::arch::gates::{Enter, Gate, address, symbols};
use crate::sys::Action;
use std::ops::Range;

std::arch::global_asm!(include_str!("gates.s"));

symbols!(
    sudbox_compat_call,
    sudbox_compat_elsewhere,
    sudbox_compat_skip,
    sudbox_sse_call,
    sudbox_avx_call;
    sudbox_compat,
    sudbox_sse,
    sudbox_avx
);

/// Bytes above a stack pointer's first value that whom the child calls may write to: none.
pub const FIRST_FRAME: u64 = 0;

/// Lets instructions be read from where they were written as data: the processor sees to it.
///
/// # Safety
/// None is needed here.
pub unsafe fn make_executable(_: Range<u64>) {}

/// An outside gate that enters the kernel with `int 0x80`, the 32-bit way.
#[must_use]
pub fn compat_gate() -> Gate {
    Gate {
        enter: sudbox_compat,
        call: address(sudbox_compat_call),
        elsewhere: address(sudbox_compat_elsewhere),
    }
}

/// Where [`compat_gate`] goes on, skipping the instruction, if the CPU refuses it.
#[must_use]
pub fn compat_skip() -> u64 {
    address(sudbox_compat_skip)
}

/// A copy of [`compat_gate`] of which the call is the last instruction before `end`, which must
/// be preceded by a writable page that can be executed by the time the gate is used. Behind the
/// call nothing of the gate is left: a handler must lead back to [`Gate::elsewhere`] of the whole
/// one.
///
/// # Safety
/// As said.
#[must_use]
pub unsafe fn compat_gate_before(end: *mut u8) -> Gate {
    let start = sudbox_compat as *const ();
    let length = compat_gate().after() - start as u64;
    let place = (end as u64 - length) as *mut u8;
    // SAFETY: the code up to the call is position-independent and much shorter than a page; the
    // caller vouches for `end`. The bytes are that function's beginning.
    let enter = unsafe {
        std::ptr::copy_nonoverlapping(start.cast(), place, usize::try_from(length).unwrap_or(0));
        std::mem::transmute::<*mut u8, Enter>(place)
    };
    Gate { enter, call: end as u64 - CALL_LENGTH, elsewhere: compat_gate().elsewhere() }
}

/// `time(2)` through the vsyscall page (arch/x86/include/uapi/asm/vsyscall.h).
pub fn vsyscall_time(seconds: &mut u64) -> u64 {
    const VSYSCALL_TIME: usize = 0xffff_ffff_ff60_0400;
    // SAFETY: an entry of the page, which the kernel emulates like a function of the C ABI.
    unsafe { std::mem::transmute::<usize, extern "C" fn(*mut u64) -> u64>(VSYSCALL_TIME)(seconds) }
}

/// `struct sigaction` as `rt_sigaction(2)` takes it (include/linux/signal_types.h).
pub type KernelAction = Action;

/// What brings this about: the structure as it is.
#[must_use]
pub fn kernel_action(_: i32, action: &Action) -> KernelAction {
    *action
}

/// Where the kernel begins a handler.
#[must_use]
pub fn entered_at(handler: u64) -> u64 {
    handler
}
