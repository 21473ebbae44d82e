// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The general registers: their order in [`Registers`], in signal frames, and in ptrace(2).

use super::thread_pointer;
use crate::arch::registers::{Registers, declare_registers};

declare_registers! {
    /// Index of a register in [`Registers`]: the order of `struct user_regs_struct`
    /// (arch/riscv/include/uapi/asm/ptrace.h), which has PC in the place of x0.
    pub enum Reg {
        Pc, Ra, Sp, Gp, Tp, T0, T1, T2, S0, S1, A0, A1, A2, A3, A4, A5, A6, A7, S2, S3, S4, S5, S6,
        S7, S8, S9, S10, S11, T3, T4, T5, T6
    }
}

impl Reg {
    /// The register of a call's number.
    pub const NUMBER: Reg = Reg::A7;
    /// The register of a call's result. Before the call the register holds the first argument.
    pub const RESULT: Reg = Reg::A0;
    /// The register with the address of the next instruction.
    pub const INSTRUCTION_POINTER: Reg = Reg::Pc;
    /// The registers of a call's six arguments.
    pub const ARGUMENTS: [Reg; 6] = [Reg::A0, Reg::A1, Reg::A2, Reg::A3, Reg::A4, Reg::A5];
    /// The registers that the system call instruction itself may overwrite: none.
    pub const CLOBBERED_BY_CALL: [Reg; 0] = [];
    /// The flags register: there is none.
    pub const FLAGS: Option<Reg> = None;
    /// The thread pointer, if it is a general register. Handlers need it.
    pub const THREAD_POINTER: Option<Reg> = Some(Reg::Tp);
}

/// The bits of [`Reg::FLAGS`] that a program may set freely.
pub const SETTABLE_FLAGS: u64 = 0;
/// The bits of [`Reg::FLAGS`] that are always set in user mode.
pub const ALWAYS_SET_FLAGS: u64 = 0;

/// The thread pointer, the only register in which [`Registers::for_call`] cannot put a pattern value, since
/// handlers need it, with the value that it puts there.
pub fn registers_without_pattern() -> [(Reg, u64); 1] {
    [(Reg::Tp, thread_pointer())]
}

impl Registers {
    /// The permitted values of [`Reg::CLOBBERED_BY_CALL`] after a call: there are no such
    /// registers.
    #[must_use]
    pub fn clobbered_values(&self, _compared_address: u64) -> [[u64; 0]; 1] {
        [[]]
    }
}

/// The signal frame that a handler gets: `struct ucontext` with a `struct sigcontext` in it
/// (arch/riscv/include/uapi/asm/{ucontext,sigcontext}.h).
#[derive(Debug)]
#[repr(C, align(16))]
pub struct UserContext {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    /// The signal mask that the handler's return restores.
    pub mask: u64,
    // Space for masks of 1024 signals, and the alignment of the floating point state.
    reserved: [u64; 16],
    /// The registers that the handler's return restores.
    pub registers: Registers,
}

/// The current flags register: there is none.
#[inline]
#[must_use]
pub fn take_flags() -> u64 {
    0
}

/// The current stack pointer.
#[inline]
#[must_use]
pub fn current_stack_pointer() -> u64 {
    let sp: u64;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mv {}, sp", out(reg) sp, options(nomem, nostack)) };
    sp
}

/// The general registers of a stopped tracee, `NT_PRSTATUS`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TraceeRegisters {
    /// The address of the next instruction.
    pub instruction_pointer: u64,
    ra_to_s1: [u64; 9],
    /// The result of a call.
    pub result: u64,
    arguments: [u64; 6],
    /// The number of the call.
    pub number: u64,
    rest: [u64; 14],
}

impl TraceeRegisters {
    /// Makes the tracee continue at the system call instruction at `instruction`, with this call
    /// number.
    pub fn set_call(&mut self, instruction: u64, number: u64) {
        self.instruction_pointer = instruction;
        self.number = number;
    }

    /// The registers of a tracee that stopped at the entry of a call.
    #[must_use]
    pub fn general_at_call(&self) -> Registers {
        self.general()
    }

    /// The registers of the tracee.
    #[must_use]
    pub fn general(&self) -> Registers {
        let mut values = [0; Reg::ALL.len()];
        values[0] = self.instruction_pointer;
        values[1..10].copy_from_slice(&self.ra_to_s1);
        values[10] = self.result;
        values[11..17].copy_from_slice(&self.arguments);
        values[17] = self.number;
        values[18..32].copy_from_slice(&self.rest);
        Registers::from_values(values)
    }

    /// Sets the registers. The tracee is then in no call.
    pub fn set_general(&mut self, registers: &Registers) {
        let values = registers.values();
        self.instruction_pointer = values[0];
        self.ra_to_s1.copy_from_slice(&values[1..10]);
        self.result = values[10];
        self.arguments.copy_from_slice(&values[11..17]);
        self.number = values[17];
        self.rest.copy_from_slice(&values[18..32]);
    }

    /// Whether the tracee is stopped in a sleep that will be restarted: its next instruction is
    /// then the system call instruction again (`arch_do_signal_or_restart()`). `compared_address`
    /// is the address after that instruction.
    #[must_use]
    pub fn is_sleep_restart_pending(&self, compared_address: u64) -> bool {
        self.instruction_pointer + super::CALL_LENGTH == compared_address
    }
}
