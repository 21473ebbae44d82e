//! Foreign programs in machine code, and the registers in which personalities pass values.

use super::Reg;
use crate::arch::Registers;
use crate::arch::gates::between;
use crate::sandbox::AlienRegisters;

std::arch::global_asm!(include_str!("foreign.s"));

unsafe extern "C" {
    fn sudbox_alien();
    fn sudbox_alien_end();
    fn sudbox_escape();
    fn sudbox_escape_end();
}

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

/// The program of `alien`, which can run anywhere.
#[must_use]
pub fn alien_program() -> &'static [u8] {
    between(sudbox_alien, sudbox_alien_end)
}

/// A program of `alien` that calls Linux: as its third argument says, by a jump to the function in its
/// first (1), by the selector at its second (2), or by neither (0). What it calls is umask(0123).
#[must_use]
pub fn escape_program() -> &'static [u8] {
    between(sudbox_escape, sudbox_escape_end)
}
