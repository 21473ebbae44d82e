// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Foreign programs in machine code, and the registers in which personalities pass values.

use super::Reg;
use crate::arch::AlienRegisters;
use crate::arch::Registers;

std::arch::global_asm!(include_str!("foreign.s"));

/// The registers of the personality `alien`.
pub const ALIEN: AlienRegisters = AlienRegisters {
    number: Reg::A7,
    arguments: [Reg::S2, Reg::S3, Reg::S4, Reg::S5],
    results: [Reg::S6, Reg::S7],
};

/// Says whether a call of `alien` failed: in a register, for want of flags.
pub fn set_alien_flag(registers: &mut Registers, failed: bool) {
    registers[Reg::T6] = failed.into();
}
