// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The code for foreign programs that the architectures share: the machine code of the test programs, and the
//! registers with which a program starts.

use super::gates::bytes_between;
use super::{ALWAYS_SET_FLAGS, Reg, Registers};

/// The registers that carry a system call of the personality `alien`.
#[derive(Clone, Copy, Debug)]
pub struct AlienRegisters {
    /// The call's number. All 64 bits are significant.
    pub number: Reg,
    /// The arguments. A new thread gets its argument in the first of these registers.
    pub arguments: [Reg; 4],
    /// The results.
    pub results: [Reg; 2],
}

unsafe extern "C" {
    fn sudbox_alien();
    fn sudbox_alien_end();
    fn sudbox_escape();
    fn sudbox_escape_end();
}

/// The position-independent test program for `alien`.
#[must_use]
pub fn alien_program() -> &'static [u8] {
    bytes_between(sudbox_alien, sudbox_alien_end)
}

/// A program for `alien` that tries to make Linux execute umask(0123). Its third argument selects the way: 0,
/// an ordinary call, which the sandbox emulates; 1, a jump to the function at the first argument; 2, an
/// ordinary call after it has set the selector at the second argument to ALLOW.
#[must_use]
pub fn escape_program() -> &'static [u8] {
    bytes_between(sudbox_escape, sudbox_escape_end)
}

/// Does nothing: on this architecture the thread register is a general register, which the personality
/// sets itself.
///
/// # Errors
/// None.
///
/// # Safety
/// Always safe on this architecture.
#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn set_thread_register(_: u64) -> crate::sys::Result<()> {
    Ok(())
}

impl Registers {
    /// Returns the registers of a program that begins at `entry` with the stack pointer `stack`.
    #[must_use]
    pub fn at_start(entry: u64, stack: u64) -> Registers {
        let mut registers = Registers::default();
        registers[Reg::INSTRUCTION_POINTER] = entry;
        registers[Reg::Sp] = stack;
        if let Some(flags) = Reg::FLAGS {
            registers[flags] = ALWAYS_SET_FLAGS;
        }
        registers
    }

    /// Overwrites all registers with those of `start`, but keeps the thread pointer
    /// ([`Reg::THREAD_POINTER`]).
    pub fn replace_by_start(&mut self, start: &Registers) {
        let thread_pointer = Reg::THREAD_POINTER.map(|reg| (reg, self[reg]));
        *self = *start;
        if let Some((reg, value)) = thread_pointer {
            self[reg] = value;
        }
    }
}
