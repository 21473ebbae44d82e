// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Foreign programs in machine code, and the registers in which personalities pass values.

use super::Reg;
use crate::arch::AlienRegisters;
use crate::arch::Registers;
use crate::arch::gates::between;

std::arch::global_asm!(include_str!("foreign.s"));
std::arch::global_asm!(include_str!("nt.s"));

unsafe extern "C" {
    fn sudbox_nt_pe();
    fn sudbox_nt_pe_end();
}

/// The registers of the personality `alien`.
pub const ALIEN: AlienRegisters = AlienRegisters {
    number: Reg::Ax,
    arguments: [Reg::R12, Reg::R13, Reg::R14, Reg::R15],
    results: [Reg::Bx, Reg::Bp],
};

/// The carry flag.
const CARRY: u64 = 1;

/// Says in a flag whether a call of `alien` failed.
pub fn set_alien_flag(registers: &mut Registers, failed: bool) {
    let flags = registers[Reg::Flags] & !CARRY;
    registers[Reg::Flags] = flags | u64::from(failed);
}

/// The registers of the first arguments of a call of `nt`.
pub const NT_ARGUMENTS: [Reg; 4] = [Reg::R10, Reg::Dx, Reg::R8, Reg::R9];
/// Where the further ones are, above the stack pointer: a return address comes first, and room for those
/// in registers.
pub const NT_STACK: u64 = 0x28;
/// What of that there is when a thread begins.
pub const NT_FIRST_FRAME: u64 = 0x28;
/// The argument of a thread.
pub const NT_FIRST_ARGUMENT: Reg = Reg::Cx;
/// The register that a thread finds its block by, if it is none of the kernel's.
pub const NT_BLOCK: Option<Reg> = None;
/// What of a call is not where Linux has it.
pub const NT_BEYOND_LINUX: Option<&str> = None;

/// The number of a call of `nt`.
#[must_use]
pub fn nt_number(registers: &Registers, _: &[u8]) -> u32 {
    (registers[Reg::NUMBER] & 0xffff_ffff) as u32
}

/// The program of `nt`, a PE file.
#[must_use]
pub fn windows_program() -> &'static [u8] {
    between(sudbox_nt_pe, sudbox_nt_pe_end)
}

/// Whether [`windows_program`] and the programs of `--sandbox` are PE files.
pub const RUNS_PE: bool = true;

/// An entry of it beside its own, as an offset: it touches memory that is not there.
pub const WINDOWS_FAULTY: u64 = 0x1c00;

/// Another: it makes a call that only Linux knows, umask(0123) by `int 0x80`.
pub const WINDOWS_INT80: u64 = 0x1d00;
