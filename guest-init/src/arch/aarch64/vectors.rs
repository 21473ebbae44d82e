// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Vector registers: the 128-bit registers of all processors, and scalable registers (SVE).

use super::gates::{sudbox_scalable, sudbox_scalable_call, sudbox_vector_length};
use crate::arch::Registers;
use crate::arch::gates::symbol_address;

/// The number of 128-bit vector registers.
pub const FLOAT_REGISTER_COUNT: usize = 32;
/// The prefix of the names of floating point registers.
pub const FLOAT_REGISTER_PREFIX: char = 'v';
/// The length of a floating point register in 64-bit words.
pub const WORDS_PER_FLOAT_REGISTER: usize = 2;
/// The control and status registers, with values: all exception flags and the saturation flag set; rounding up.
pub const FLOAT_CONTROLS: [(&str, u64); 2] = [("fpsr", 1 << 27 | 0x9f), ("fpcr", 1 << 22)];

/// Overwrites all vector registers and clears FPSR, as the code of a handler may.
#[inline]
pub fn clobber_floating() {
    // SAFETY: declares each register that it overwrites; the status is the thread's own.
    unsafe {
        std::arch::asm!(
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "movi v\\n\\().2d, #0",
            ".endr",
            "msr fpsr, xzr",
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
            out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _, out("v16") _, out("v17") _,
            out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(nomem, nostack),
        );
    }
}

/// The length of the longest vector in bytes (`SVE_VL_MAX`, arch/arm64/include/uapi/asm/sve_context.h).
const MAX_VECTOR_LENGTH: usize = 256;

/// The length of a [`ScalableState`] in vector lengths: 32 Z registers, and 16 P registers of an eighth each.
const VECTORS_IN_STATE: usize = 34;

/// The registers Z0 to Z31, then P0 to P15. Their lengths depend on this thread's vector length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalableState {
    /// The vector length in bytes: that of a Z register. A P register has an eighth of it.
    length: usize,
    bytes: Vec<u8>,
}

impl ScalableState {
    /// A state whose bytes differ from register to register. The CPU must have the feature `sve`.
    #[must_use]
    pub fn pattern() -> ScalableState {
        // SAFETY: reads a number; the CPU has the instruction.
        let length = unsafe { sudbox_vector_length() };
        let mut state =
            ScalableState { length, bytes: vec![0; VECTORS_IN_STATE * MAX_VECTOR_LENGTH] };
        let used = state.size();
        for (i, byte) in state.bytes[..used].iter_mut().enumerate() {
            *byte = 0x80 | u8::try_from(i / length + i % length % 16).unwrap_or(0);
        }
        state
    }

    /// The size of the state in bytes.
    fn size(&self) -> usize {
        VECTORS_IN_STATE * self.length
    }

    /// The state after the entry of a call. The entry clears all but the 128 bits that each Z register shares
    /// with a V register (Documentation/arch/arm64/sve.rst, section 3, `fpsimd_syscall_enter()`).
    #[must_use]
    pub fn after_call_entry(&self) -> ScalableState {
        let mut state = self.clone();
        for (i, byte) in state.bytes.iter_mut().enumerate() {
            if i / self.length >= 32 || i % self.length >= 16 {
                *byte = 0;
            }
        }
        state
    }

    /// A text with the names of the registers that differ.
    #[must_use]
    pub fn difference(&self, other: &ScalableState) -> String {
        let vector_and_byte = |i: usize| (i / self.length, i % self.length);
        let name = |i: usize| match vector_and_byte(i) {
            (register @ 0..32, _) => format!("z{register}"),
            (vector, byte) => {
                format!("p{}", ((vector - 32) * self.length + byte) / (self.length / 8))
            }
        };
        let differ = (0..self.size()).filter(|&i| self.bytes[i] != other.bytes[i]);
        let mut names: Vec<_> = differ.map(name).collect();
        names.dedup();
        format!("different: {}", names.join(", "))
    }
}

/// Issues a call with these general and scalable registers. Returns both after the call.
#[must_use]
pub fn issue_with_scalable(regs: &Registers, state: &ScalableState) -> (Registers, ScalableState) {
    let mut out = Registers::default();
    let mut after = ScalableState {
        length: state.length,
        bytes: vec![0; VECTORS_IN_STATE * MAX_VECTOR_LENGTH],
    };
    // SAFETY: as in `Gate::issue`; the two areas have space for the longest vectors.
    unsafe {
        sudbox_scalable(regs, &raw mut out, state.bytes.as_ptr(), after.bytes.as_mut_ptr());
    }
    (out, after)
}

/// The address of the system call instruction of [`issue_with_scalable`].
#[must_use]
pub fn scalable_call_address() -> u64 {
    symbol_address(sudbox_scalable_call)
}
