// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Foreign programs in machine code, and their first registers: the part that all architectures with
//! foreign programs share.

use super::gates::between;
use super::{FLAGS_FIXED, Reg, Registers};

/// The registers of calls of the personality `alien`.
#[derive(Clone, Copy, Debug)]
pub struct AlienRegisters {
    /// The number, of which all bits count.
    pub number: Reg,
    /// The arguments. A new thread gets its argument in the first.
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
    between(sudbox_alien, sudbox_alien_end)
}

/// A program for `alien` that issues umask(0123) to Linux. Its third argument selects how: by a jump to
/// the function at its first argument (1), after setting the selector at its second argument to ALLOW
/// (2), or in the ordinary way, which is emulated (0).
#[must_use]
pub fn escape_program() -> &'static [u8] {
    between(sudbox_escape, sudbox_escape_end)
}

/// Sets the thread register of a foreign thread, if it is not a general register. Here it is one, and
/// the personality sets it.
///
/// # Errors
/// None.
///
/// # Safety
/// Always safe on this architecture.
#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn set_block(_: u64) -> crate::sys::Result<()> {
    Ok(())
}

impl Registers {
    /// The registers of a program that begins at this address with this stack pointer.
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

    /// Replaces these registers of a task by `start`, except [`Reg::THREAD`].
    pub fn become_start(&mut self, start: &Registers) {
        let thread = Reg::THREAD.map(|reg| (reg, self[reg]));
        *self = *start;
        if let Some((reg, value)) = thread {
            self[reg] = value;
        }
    }
}
