// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Foreign programs in machine code, and the registers in which personalities pass values.

use super::Reg;
use crate::arch::AlienRegisters;
use crate::arch::Registers;
use crate::arch::gates::between;

std::arch::global_asm!(include_str!("foreign.s"));
std::arch::global_asm!(include_str!("nt.s"));

unsafe extern "C" {
    fn sudbox_nt();
    fn sudbox_nt_end();
}

/// The registers of the personality `alien`.
pub const ALIEN: AlienRegisters = AlienRegisters {
    number: Reg::X8,
    arguments: [Reg::X19, Reg::X20, Reg::X21, Reg::X22],
    results: [Reg::X23, Reg::X24],
};

/// The carry flag.
const CARRY: u64 = 1 << 29;

/// Says in a flag whether a call of `alien` failed.
pub fn set_alien_flag(registers: &mut Registers, failed: bool) {
    let state = registers[Reg::Pstate] & !CARRY;
    registers[Reg::Pstate] = state | u64::from(failed) << 29;
}

/// The registers of the first arguments of a call of `nt`.
pub const NT_ARGUMENTS: [Reg; 8] =
    [Reg::X0, Reg::X1, Reg::X2, Reg::X3, Reg::X4, Reg::X5, Reg::X6, Reg::X7];
/// Where the further ones are, above the stack pointer.
pub const NT_STACK: u64 = 0;
/// What of that there is when a thread begins.
pub const NT_FIRST_FRAME: u64 = 0;
/// The argument of a thread.
pub const NT_FIRST_ARGUMENT: Reg = Reg::X0;
/// The register that a thread finds its block by, if it is none of the kernel's.
pub const NT_BLOCK: Option<Reg> = Some(Reg::X18);
/// What of a call is not where Linux has it.
pub const NT_BEYOND_LINUX: Option<&str> = Some("its seventh and eighth arguments are in registers");

/// The number of a call of `nt`, which is the immediate of its instruction (`svc #number`). Gives
/// `u32::MAX` if the instruction cannot be read.
#[must_use]
pub fn nt_number(_: &Registers, instruction: &[u8]) -> u32 {
    instruction.try_into().map_or(u32::MAX, |bytes| u32::from_le_bytes(bytes) >> 5 & 0xffff)
}

/// The program of `nt`: code that can run anywhere, with a page behind it that can be written to.
#[must_use]
pub fn windows_program() -> &'static [u8] {
    between(sudbox_nt, sudbox_nt_end)
}

/// Whether [`windows_program`] and the programs of `--sandbox` are PE files.
pub const RUNS_PE: bool = false;

/// An entry of it beside its beginning, as an offset: it touches memory that is not there.
pub const WINDOWS_FAULTY: u64 = 0xc00;
