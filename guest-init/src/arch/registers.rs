// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The values of all general registers, in the layout in which gates load and store them.

use super::{Reg, SETTABLE_FLAGS, registers_without_pattern};
use std::ops::{Index, IndexMut};

/// Declares the registers of an architecture as the enum `Reg`, in the order of the kernel's signal frame, so that
/// a frame contains a [`Registers`].
macro_rules! declare_registers {
    ($(#[$doc:meta])* pub enum Reg { $($name:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        #[allow(missing_docs)]
        pub enum Reg { $($name),* }

        impl Reg {
            /// Every register.
            pub const ALL: [Reg; [$(Reg::$name),*].len()] = [$(Reg::$name),*];
            /// The names of the registers, and their length in bytes.
            pub const NAMES: &'static [$crate::arch::Part] =
                &[$($crate::arch::Part(stringify!($name), 8)),*];
        }
    };
}
pub(super) use declare_registers;

impl Reg {
    /// The registers that have no role in a call and that no call may change: all but the registers of
    /// number, arguments, result, instruction pointer and flags, and [`Reg::CLOBBERED_BY_CALL`].
    pub fn preserved_by_calls() -> impl Iterator<Item = Reg> {
        let excluded = [Reg::NUMBER, Reg::RESULT, Reg::INSTRUCTION_POINTER];
        Reg::ALL.into_iter().filter(move |reg| {
            !excluded.contains(reg)
                && !Reg::ARGUMENTS.contains(reg)
                && !Reg::CLOBBERED_BY_CALL.contains(reg)
                && Reg::FLAGS != Some(*reg)
        })
    }

    /// The bits of this register that a handler may change without breaking the gate.
    #[must_use]
    pub fn changeable_bits(self) -> u64 {
        match self {
            Reg::INSTRUCTION_POINTER | Reg::Sp => 0,
            reg if Reg::FLAGS == Some(reg) => SETTABLE_FLAGS,
            _ => u64::MAX,
        }
    }
}

/// The value of each register, in the order of [`Reg`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Registers([u64; Reg::ALL.len()]);

impl Default for Registers {
    fn default() -> Registers {
        Registers([0; Reg::ALL.len()])
    }
}

impl Index<Reg> for Registers {
    type Output = u64;
    fn index(&self, reg: Reg) -> &u64 {
        &self.0[reg as usize]
    }
}

impl IndexMut<Reg> for Registers {
    fn index_mut(&mut self, reg: Reg) -> &mut u64 {
        &mut self.0[reg as usize]
    }
}

impl Registers {
    /// Registers with these values, in the order of [`Reg`].
    #[must_use]
    pub const fn from_values(values: [u64; Reg::ALL.len()]) -> Registers {
        Registers(values)
    }

    /// The values, in the order of [`Reg`].
    #[must_use]
    pub const fn values(&self) -> [u64; Reg::ALL.len()] {
        self.0
    }

    /// The registers for a call with this number and these arguments. All registers without a role in
    /// the call hold a pattern value that contains their index; all flags are clear.
    #[must_use]
    pub fn for_call(number: u64, arguments: [u64; 6]) -> Registers {
        let mut regs = Registers::default();
        for (value, reg) in regs.0.iter_mut().zip(0x11u64..) {
            *value = 0x5e1f_0000_dead_0000 | reg << 32 | reg;
        }
        let arguments = Reg::ARGUMENTS.into_iter().zip(arguments);
        for (reg, value) in
            arguments.chain([(Reg::NUMBER, number)]).chain(registers_without_pattern())
        {
            regs[reg] = value;
        }
        regs
    }

    /// The value of the result register as a signed number.
    #[must_use]
    pub fn result(&self) -> i64 {
        self[Reg::RESULT].cast_signed()
    }
}
