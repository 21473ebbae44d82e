// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The fast system call instructions of 32-bit mode in a 64-bit program (`fast.s`).

use super::{Reg, USER_CS, USER32_CS, UserContext};
use crate::arch::gates::symbol_address;
use std::sync::atomic::{AtomicU64, Ordering};

std::arch::global_asm!(include_str!("fast.s"));

unsafe extern "C" {
    fn sudbox_fast(target: *const u8, number: u32, argument: u32, stack: u32) -> u64;
    fn sudbox_fast_back();
    static sudbox_fast_stack: AtomicU64;
}

/// Issues a 32-bit call with one argument by the instruction at `instruction`. `stack` is the stack pointer
/// during the call. Returns the result register after a signal handler has called [`return_from_fast`].
///
/// # Safety
/// A system call instruction must be at `instruction`, and the handler of the signal that follows
/// must call [`return_from_fast`].
#[must_use]
pub unsafe fn fast_call(instruction: u32, number: u32, argument: u32, stack: u32) -> u64 {
    // The operand of a far jump: the address and the code segment.
    let target = [&instruction.to_le_bytes()[..], &USER32_CS.to_le_bytes()].concat();
    // SAFETY: by the contract of this function; the assembly saves the callee-saved registers.
    unsafe { sudbox_fast(target.as_ptr(), number, argument, stack) }
}

/// Makes a handler return to the end of [`fast_call`].
pub fn return_from_fast(frame: &mut UserContext) {
    frame.set_code_segment(USER_CS);
    frame.registers[Reg::INSTRUCTION_POINTER] = symbol_address(sudbox_fast_back);
    // SAFETY: an aligned word that only `fast.s` writes.
    frame.registers[Reg::Sp] = unsafe { &sudbox_fast_stack }.load(Ordering::SeqCst);
}
