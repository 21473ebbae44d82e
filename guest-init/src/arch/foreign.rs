// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Foreign programs in machine code, and how they begin: what is the same wherever there are any.

use super::gates::between;
use super::{FLAGS_FIXED, Reg, Registers};

/// The registers in which the personality `alien` passes values on an architecture.
#[derive(Clone, Copy, Debug)]
pub struct AlienRegisters {
    /// The number of a call, all bits.
    pub number: Reg,
    /// Its arguments; a thread gets its argument in the first.
    pub arguments: [Reg; 4],
    /// Its results.
    pub results: [Reg; 2],
}

unsafe extern "C" {
    fn sudbox_alien();
    fn sudbox_alien_end();
    fn sudbox_escape();
    fn sudbox_escape_end();
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

/// Sets what a foreign thread finds its block by: that is an ordinary register here, which the
/// personality sets.
///
/// # Errors
/// None.
///
/// # Safety
/// None is needed here.
#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn set_block(_: u64) -> crate::sys::Result<()> {
    Ok(())
}

impl Registers {
    /// Those of a program that begins here with this stack and nothing else.
    #[must_use]
    pub fn start(entry: u64, stack: u64) -> Registers {
        let mut registers = Registers::default();
        registers[Reg::NEXT] = entry;
        registers[Reg::Sp] = stack;
        if let Some(state) = Reg::STATE {
            registers[state] = FLAGS_FIXED;
        }
        registers
    }

    /// Makes these, which are those of a task, the ones of [`Registers::start`], but for
    /// [`Reg::THREAD`].
    pub fn become_start(&mut self, start: &Registers) {
        let thread = Reg::THREAD.map(|reg| (reg, self[reg]));
        *self = *start;
        if let Some((reg, value)) = thread {
            self[reg] = value;
        }
    }
}
