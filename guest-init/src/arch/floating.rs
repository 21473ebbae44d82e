// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The floating point registers that a gate loads before its call and stores after it.

use super::gates::{declare_symbols, symbol_address};
use super::{
    FLOAT_CONTROLS, FLOAT_REGISTER_COUNT, FLOAT_REGISTER_PREFIX, Registers,
    WORDS_PER_FLOAT_REGISTER,
};

declare_symbols!(sudbox_float_call; sudbox_float);

/// Index of the first control register in a [`FloatState`].
const FIRST_CONTROL: usize = FLOAT_REGISTER_COUNT * WORDS_PER_FLOAT_REGISTER;
/// Length of a [`FloatState`] in 64-bit words.
const LENGTH_IN_WORDS: usize = FIRST_CONTROL + FLOAT_CONTROLS.len();

/// The floating point registers, then their control and status registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct FloatState([u64; LENGTH_IN_WORDS]);

impl FloatState {
    /// A state in which each register has a different value.
    #[must_use]
    pub fn pattern() -> FloatState {
        let mut state = [0; LENGTH_IN_WORDS];
        for (i, value) in (0u64..).zip(&mut state) {
            *value = 0x4049_0fdb_0000_0000 | i << 8 | i;
        }
        for (value, (_, control)) in state[FIRST_CONTROL..].iter_mut().zip(FLOAT_CONTROLS) {
            *value = control;
        }
        FloatState(state)
    }

    /// A state in which each register is zero.
    #[must_use]
    pub fn initial() -> FloatState {
        FloatState([0; LENGTH_IN_WORDS])
    }

    /// The state as bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the array consists of integers.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), size_of_val(&self.0)) }
    }

    /// A text with the names of the registers that differ.
    #[must_use]
    pub fn difference(&self, other: &FloatState) -> String {
        let name = |i: usize| match i.checked_sub(FIRST_CONTROL) {
            Some(control) => FLOAT_CONTROLS[control].0.to_owned(),
            None => format!("{FLOAT_REGISTER_PREFIX}{}", i / WORDS_PER_FLOAT_REGISTER),
        };
        let mut names: Vec<_> =
            (0..LENGTH_IN_WORDS).filter(|&i| self.0[i] != other.0[i]).map(name).collect();
        names.dedup();
        format!("different: {}", names.join(", "))
    }
}

/// Issues a call with these registers and this floating point state. Returns both after the call.
#[must_use]
pub fn issue_with_floats(regs: &Registers, state: &FloatState) -> (Registers, FloatState) {
    let mut out = Registers::default();
    let mut after = FloatState([0; LENGTH_IN_WORDS]);
    // SAFETY: as in `Gate::issue`; both areas have the length that the gate reads and writes.
    unsafe {
        sudbox_float(regs, &raw mut out, state.0.as_ptr().cast(), after.0.as_mut_ptr().cast());
    }
    (out, after)
}

/// The address of the system call instruction of [`issue_with_floats`].
#[must_use]
pub fn float_call_address() -> u64 {
    symbol_address(sudbox_float_call)
}
