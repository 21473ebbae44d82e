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

/// The bytes of [`SseState`] that are compared: x87 control word; MXCSR; ST0-7 and XMM0-15. The other bytes are
/// instruction pointers, status and reserved bytes.
const SSE_COMPARED: [Range<usize>; 3] = [0..2, 24..28, 32..416];

impl SseState {
    /// A state in which each compared register has a different value.
    #[must_use]
    pub fn pattern() -> SseState {
        let mut state = [0u8; 512];
        // x87 control word: rounding up, exceptions masked.
        state[0..2].copy_from_slice(&0x0b7fu16.to_le_bytes());
        // Tag word: every x87 register is in use.
        state[4] = 0xff;
        // MXCSR: rounding up, exceptions masked.
        state[24..28].copy_from_slice(&0x5f80u32.to_le_bytes());
        for (i, slot) in (0u8..).zip(state[32..416].chunks_exact_mut(16)) {
            // The first eight slots have an x87 register of ten bytes each, the others an XMM register.
            let register_length = if i < 8 { 10 } else { 16 };
            for (j, byte) in (0u8..).zip(&mut slot[..register_length]) {
                *byte = 0x40 ^ (i << 4) ^ (i >> 4) ^ j;
            }
        }
        SseState(state)
    }

    /// Whether the compared bytes are the same.
    #[must_use]
    pub fn is_same(&self, other: &SseState) -> bool {
        SSE_COMPARED.into_iter().all(|range| self.0[range.clone()] == other.0[range])
    }

    /// A text with the names of the compared parts that differ.
    #[must_use]
    pub fn difference(&self, other: &SseState) -> String {
        let names = ["control word", "MXCSR", "x87 or XMM registers"];
        let parts: Vec<_> = SSE_COMPARED
            .into_iter()
            .zip(names)
            .filter(|(range, _)| self.0[range.clone()] != other.0[range.clone()])
            .map(|(_, name)| name)
            .collect();
        format!("different: {}", parts.join(", "))
    }
}

/// Issues a call with these registers and this x87 and SSE state. Returns both after the call.
#[must_use]
pub fn issue_with_sse(regs: &Registers, state: &SseState) -> (Registers, SseState) {
    let mut out = Registers::default();
    let mut after = SseState([0; 512]);
    // SAFETY: as in `Gate::issue`; the two areas have the alignment and the length for `fxsave64`.
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

    /// A text with the names of the registers that differ.
    #[must_use]
    pub fn difference(&self, other: &AvxState) -> String {
        let names: Vec<_> =
            (0..16).filter(|&i| self.0[i] != other.0[i]).map(|i| format!("ymm{i}")).collect();
        format!("different: {}", names.join(", "))
    }
}

/// Issues a call with these general and AVX registers. Returns both after the call. The CPU must have the
/// feature `avx`.
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

/// Overwrites the x87 and XMM registers and resets the x87 control word, as a handler may that computes with
/// these registers.
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
