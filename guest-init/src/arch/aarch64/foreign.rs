// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The machine code of the foreign test programs, and the registers of their system calls.

use super::Reg;
use crate::arch::AlienRegisters;
use crate::arch::Registers;
use crate::arch::gates::bytes_between;

std::arch::global_asm!(include_str!("foreign.s"));
std::arch::global_asm!(include_str!("nt.s"));

unsafe extern "C" {
    fn sudbox_nt();
    fn sudbox_nt_end();
}

/// The registers that carry a system call of the personality `alien`.
pub const ALIEN: AlienRegisters = AlienRegisters {
    number: Reg::X8,
    arguments: [Reg::X19, Reg::X20, Reg::X21, Reg::X22],
    results: [Reg::X23, Reg::X24],
};

/// The carry flag.
const CARRY: u64 = 1 << 29;

/// Sets the flag that says whether a call of `alien` failed.
pub fn set_alien_failure_flag(registers: &mut Registers, failed: bool) {
    let state = registers[Reg::Pstate] & !CARRY;
    registers[Reg::Pstate] = state | u64::from(failed) << 29;
}

/// The registers of the first arguments of a Windows call.
pub const NT_ARGUMENTS: [Reg; 8] =
    [Reg::X0, Reg::X1, Reg::X2, Reg::X3, Reg::X4, Reg::X5, Reg::X6, Reg::X7];
/// The offset of the further arguments from the stack pointer.
pub const NT_STACK_ARGUMENTS_OFFSET: u64 = 0;
/// Bytes between the first stack pointer of a new thread and the end of its stack: none.
pub const NT_RESERVED_ABOVE_STACK: u64 = 0;
/// The register of a new thread's argument.
pub const NT_FIRST_ARGUMENT: Reg = Reg::X0;
/// The register of the thread's TEB, if it is a general register.
pub const NT_TEB: Option<Reg> = Some(Reg::X18);
/// The reason why user notification cannot carry Windows calls; `None` if it can.
pub const NT_NOTIFICATION_LIMIT: Option<&str> =
    Some("its seventh and eighth arguments are in registers");

/// The number of a call of `nt`, which is the immediate of its instruction (`svc #number`). Returns
/// `u32::MAX` if the instruction cannot be read.
#[must_use]
pub fn nt_number(_: &Registers, instruction: &[u8]) -> u32 {
    instruction.try_into().map_or(u32::MAX, |bytes| u32::from_le_bytes(bytes) >> 5 & 0xffff)
}

/// The test program for `nt`: position-independent code, followed by a writable page.
#[must_use]
pub fn windows_program() -> &'static [u8] {
    bytes_between(sudbox_nt, sudbox_nt_end)
}

/// Whether [`windows_program`] and the programs of `--sandbox` are PE files.
pub const RUNS_PE: bool = false;

/// The offset of a second entry point of [`windows_program`], which accesses unmapped memory.
pub const WINDOWS_FAULTING_ENTRY: u64 = 0xc00;
