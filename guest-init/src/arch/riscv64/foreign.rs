// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The machine code of the foreign test program, and the registers of its system calls.

use super::Reg;
use crate::arch::AlienRegisters;
use crate::arch::Registers;

std::arch::global_asm!(include_str!("foreign.s"));

/// The registers that carry a system call of the personality `alien`.
pub const ALIEN: AlienRegisters = AlienRegisters {
    number: Reg::A7,
    arguments: [Reg::S2, Reg::S3, Reg::S4, Reg::S5],
    results: [Reg::S6, Reg::S7],
};

/// Sets the register that says whether a call of `alien` failed; the architecture has no flags.
pub fn set_alien_failure_flag(registers: &mut Registers, failed: bool) {
    registers[Reg::T6] = failed.into();
}
