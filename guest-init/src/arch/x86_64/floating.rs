// SPDX-License-Identifier: Apache-2.0 OR MIT

//! x87, SSE and AVX registers.

use super::gates::{sudbox_avx, sudbox_avx_call, sudbox_sse, sudbox_sse_call};
use crate::arch::Registers;
use crate::arch::gates::symbol_address;
use std::ops::Range;

/// The legacy area of floating point state as `fxsave64` stores it: x87, MXCSR, XMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct SseState([u8; 512]);

/// The bytes of [`SseState`] that are compared: x87 control word, MXCSR, ST0-7, XMM0-15. The others are
/// instruction pointers, status and reserved bytes.
const SSE_COMPARED: [Range<usize>; 3] = [0..2, 24..28, 32..416];

impl SseState {
    /// A state in which each compared register has a different value; rounding up, exceptions masked.
    #[must_use]
    pub fn pattern() -> SseState {
        let mut state = [0u8; 512];
        state[0..2].copy_from_slice(&0x0b7fu16.to_le_bytes());
        // Tag word: every x87 register is in use.
        state[4] = 0xff;
        state[24..28].copy_from_slice(&0x5f80u32.to_le_bytes());
        for (i, byte) in (0u8..).zip(state[32..416].chunks_exact_mut(16)) {
            let register = if i < 8 { 10 } else { 16 };
            for (j, byte) in (0u8..).zip(&mut byte[..register]) {
                *byte = 0x40 ^ (i << 4) ^ (i >> 4) ^ j;
            }
        }
        SseState(state)
    }

    /// Whether the compared bytes are the same.
    #[must_use]
    pub fn is_same(&self, other: &SseState) -> bool {
        SSE_COMPARED.into_iter().all(|r| self.0[r.clone()] == other.0[r])
    }

    /// Names the compared parts that differ.
    #[must_use]
    pub fn difference(&self, other: &SseState) -> String {
        let names = ["control word", "MXCSR", "x87 or XMM registers"];
        let parts: Vec<_> = SSE_COMPARED
            .into_iter()
            .zip(names)
            .filter(|(r, _)| self.0[r.clone()] != other.0[r.clone()])
            .map(|(_, name)| name)
            .collect();
        format!("different: {}", parts.join(", "))
    }
}

/// Issues a call with this x87 and SSE state loaded. Returns the general registers and this state after
/// the call.
#[must_use]
pub fn issue_with_sse(regs: &Registers, state: &SseState) -> (Registers, SseState) {
    let mut out = Registers::default();
    let mut after = SseState([0; 512]);
    // SAFETY: as in `Gate::issue`; the two areas are aligned and as long as fxsave wants.
    unsafe { sudbox_sse(regs, &raw mut out, state.0.as_ptr(), after.0.as_mut_ptr()) };
    (out, after)
}

/// The address of the system call instruction of [`issue_with_sse`].
#[must_use]
pub fn sse_call_address() -> u64 {
    symbol_address(sudbox_sse_call)
}

/// The registers YMM0 to YMM15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct AvxState([[u8; 32]; 16]);

impl AvxState {
    /// A state in which each byte has a different value.
    #[must_use]
    pub fn pattern() -> AvxState {
        let mut state = [[0u8; 32]; 16];
        for (i, register) in (0u8..).zip(&mut state) {
            for (j, byte) in (0u8..).zip(register) {
                *byte = 0x80 ^ (i << 4) ^ (i >> 1) ^ j;
            }
        }
        AvxState(state)
    }

    /// Names the registers that differ.
    #[must_use]
    pub fn difference(&self, other: &AvxState) -> String {
        let names: Vec<_> =
            (0..16).filter(|&i| self.0[i] != other.0[i]).map(|i| format!("ymm{i}")).collect();
        format!("different: {}", names.join(", "))
    }
}

/// Issues a call with these AVX registers loaded. Returns the general and the AVX registers after the
/// call. The CPU must have the feature `avx`.
#[must_use]
pub fn issue_with_avx(regs: &Registers, state: &AvxState) -> (Registers, AvxState) {
    let mut out = Registers::default();
    let mut after = AvxState([[0; 32]; 16]);
    // SAFETY: as in `Gate::issue`; both areas have the length that the gate reads and writes.
    unsafe {
        sudbox_avx(regs, &raw mut out, state.0.as_ptr().cast(), after.0.as_mut_ptr().cast());
    }
    (out, after)
}

/// The address of the system call instruction of [`issue_with_avx`].
#[must_use]
pub fn avx_call_address() -> u64 {
    symbol_address(sudbox_avx_call)
}

/// Overwrites the x87 and XMM registers and resets their control words, as a handler that computes with
/// them may.
#[inline]
pub fn clobber_floating() {
    // SAFETY: declares each register that it overwrites.
    unsafe {
        std::arch::asm!(
            "fninit", "fldpi", "fldpi", "fldpi", "fldpi", "fldpi", "fldpi", "fldpi", "fldpi",
            "fninit",
            "pcmpeqd xmm0, xmm0", "pcmpeqd xmm1, xmm1", "pcmpeqd xmm2, xmm2",
            "pcmpeqd xmm3, xmm3", "pcmpeqd xmm4, xmm4", "pcmpeqd xmm5, xmm5",
            "pcmpeqd xmm6, xmm6", "pcmpeqd xmm7, xmm7", "pcmpeqd xmm8, xmm8",
            "pcmpeqd xmm9, xmm9", "pcmpeqd xmm10, xmm10", "pcmpeqd xmm11, xmm11",
            "pcmpeqd xmm12, xmm12", "pcmpeqd xmm13, xmm13", "pcmpeqd xmm14, xmm14",
            "pcmpeqd xmm15, xmm15",
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nomem, nostack),
        );
    }
}
