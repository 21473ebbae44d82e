// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The 32-bit fast calls from a 64-bit program, in `fast.s`.

use super::{Context, Reg};
use crate::arch::gates::address;
use std::sync::atomic::{AtomicU64, Ordering};

std::arch::global_asm!(include_str!("fast.s"));

unsafe extern "C" {
    fn sudbox_fast(target: *const u8, number: u32, argument: u32, stack: u32) -> u64;
    fn sudbox_fast_back();
    static sudbox_fast_stack: AtomicU64;
}

/// `__USER32_CS` and `__USER_CS` (arch/x86/include/asm/segment.h).
const NARROW_CODE: u16 = 0x23;
const WIDE_CODE: u16 = 0x33;

/// Issues a 32-bit call with one argument by the instruction at `place`, with a stack that is below
/// 4 GiB. A handler must have [`return_from_fast`] bring the program back; gives what is then in the
/// result's register.
///
/// # Safety
/// The place must be an instruction that enters the kernel, and a handler must do as said.
#[must_use]
pub unsafe fn fast_call(place: u32, number: u32, argument: u32, stack: u32) -> u64 {
    let target = [&place.to_le_bytes()[..], &NARROW_CODE.to_le_bytes()].concat();
    // SAFETY: the caller vouches; what the C ABI wants kept is kept.
    unsafe { sudbox_fast(target.as_ptr(), number, argument, stack) }
}

/// Has a handler's return go on behind [`fast_call`].
pub fn return_from_fast(frame: &mut Context) {
    frame.set_code_segment(WIDE_CODE);
    frame.registers[Reg::NEXT] = address(sudbox_fast_back);
    // SAFETY: an aligned word that only the code above writes.
    frame.registers[Reg::Sp] = unsafe { &sudbox_fast_stack }.load(Ordering::SeqCst);
}
