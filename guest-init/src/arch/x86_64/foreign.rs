// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The machine code of the foreign test programs, and the registers of their system calls.

use super::Reg;
use crate::arch::AlienRegisters;
use crate::arch::Registers;
use crate::arch::gates::bytes_between;

std::arch::global_asm!(include_str!("foreign.s"));
std::arch::global_asm!(include_str!("nt.s"));

unsafe extern "C" {
    fn sudbox_nt_pe();
    fn sudbox_nt_pe_end();
}

/// The registers that carry a system call of the personality `alien`.
pub const ALIEN: AlienRegisters = AlienRegisters {
    number: Reg::Ax,
    arguments: [Reg::R12, Reg::R13, Reg::R14, Reg::R15],
    results: [Reg::Bx, Reg::Bp],
};

/// The carry flag.
const CARRY: u64 = 1;

/// Sets the flag that says whether a call of `alien` failed.
pub fn set_alien_failure_flag(registers: &mut Registers, failed: bool) {
    let flags = registers[Reg::Flags] & !CARRY;
    registers[Reg::Flags] = flags | u64::from(failed);
}

/// The registers of the first arguments of a Windows call.
pub const NT_ARGUMENTS: [Reg; 4] = [Reg::R10, Reg::Dx, Reg::R8, Reg::R9];
/// The offset of the further arguments from the stack pointer: after the return address and the home
/// space of the register arguments.
pub const NT_STACK_ARGUMENTS_OFFSET: u64 = 0x28;
/// Bytes between the first stack pointer of a new thread and the end of its stack: the return address and
/// the home space.
pub const NT_RESERVED_ABOVE_STACK: u64 = 0x28;
/// The register of a new thread's argument.
pub const NT_FIRST_ARGUMENT: Reg = Reg::Cx;
/// The register of the thread's TEB, if it is a general register.
pub const NT_TEB: Option<Reg> = None;
/// The reason why user notification cannot carry Windows calls; `None` if it can.
pub const NT_NOTIFICATION_LIMIT: Option<&str> = None;

/// The number of a Windows call.
#[must_use]
pub fn nt_number(registers: &Registers, _: &[u8]) -> u32 {
    (registers[Reg::NUMBER] & 0xffff_ffff) as u32
}

/// The test program for `nt`, a PE file.
#[must_use]
pub fn windows_program() -> &'static [u8] {
    bytes_between(sudbox_nt_pe, sudbox_nt_pe_end)
}

/// Whether [`windows_program`] and the programs of `--sandbox` are PE files.
pub const RUNS_PE: bool = true;

/// The offset of a second entry point of [`windows_program`], which accesses unmapped memory.
pub const WINDOWS_FAULTING_ENTRY: u64 = 0x1c00;

/// The offset of a third entry point of [`windows_program`], which issues Linux's umask(0123) by `int 0x80`.
pub const WINDOWS_INT80_ENTRY: u64 = 0x1d00;
