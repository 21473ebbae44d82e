// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The general registers: their order in [`Registers`], in signal frames, and in ptrace(2).

use crate::arch::registers::{Registers, declare_registers};

declare_registers! {
    /// Index of a register in [`Registers`]: the order of `struct user_pt_regs`
    /// (arch/arm64/include/uapi/asm/ptrace.h).
    pub enum Reg {
        X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15, X16, X17, X18, X19,
        X20, X21, X22, X23, X24, X25, X26, X27, X28, X29, X30, Sp, Pc, Pstate
    }
}

impl Reg {
    /// The register of a call's number.
    pub const NUMBER: Reg = Reg::X8;
    /// The register of a call's result. Before the call the register holds the first argument.
    pub const RESULT: Reg = Reg::X0;
    /// The register with the address of the next instruction.
    pub const INSTRUCTION_POINTER: Reg = Reg::Pc;
    /// The registers of a call's six arguments.
    pub const ARGUMENTS: [Reg; 6] = [Reg::X0, Reg::X1, Reg::X2, Reg::X3, Reg::X4, Reg::X5];
    /// The registers that the system call instruction itself may overwrite: none.
    pub const CLOBBERED_BY_CALL: [Reg; 0] = [];
    /// The flags register.
    pub const FLAGS: Option<Reg> = Some(Reg::Pstate);
    /// The thread pointer, if it is a general register: not on this architecture.
    pub const THREAD_POINTER: Option<Reg> = None;
}

/// The arithmetic flags N, Z, C and V. A gate loads no other part of the processor state.
pub const SETTABLE_FLAGS: u64 = 0xf000_0000;
/// The bits of [`Reg::FLAGS`] that are always set in user mode: none.
pub const ALWAYS_SET_FLAGS: u64 = 0;

/// The flags, the only register in which [`Registers::for_call`] cannot put a pattern value, with the value that
/// it puts there.
pub fn registers_without_pattern() -> [(Reg, u64); 1] {
    [(Reg::Pstate, 0)]
}

impl Registers {
    /// These registers with the given bits of [`SETTABLE_FLAGS`] set, and the others clear.
    #[must_use]
    pub fn with_flags(mut self, flags: u64) -> Registers {
        self[Reg::Pstate] = flags & SETTABLE_FLAGS;
        self
    }

    /// The permitted values of [`Reg::CLOBBERED_BY_CALL`] after a call: there are no such
    /// registers.
    #[must_use]
    pub fn clobbered_values(&self, _compared_address: u64) -> [[u64; 0]; 1] {
        [[]]
    }
}

/// The signal frame that a handler gets: `struct ucontext` with a `struct sigcontext` in it
/// (arch/arm64/include/uapi/asm/{ucontext,sigcontext}.h).
#[derive(Debug)]
#[repr(C, align(16))]
pub struct UserContext {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    /// The signal mask that the handler's return restores.
    pub mask: u64,
    // Space for masks of 1024 signals, and the alignment of what follows.
    reserved: [u64; 16],
    fault: u64,
    /// The registers that the handler's return restores.
    pub registers: Registers,
}

/// The current arithmetic flags.
#[inline]
#[must_use]
pub fn take_flags() -> u64 {
    let flags: u64;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mrs {}, nzcv", out(reg) flags, options(nomem, nostack)) };
    flags
}

/// Sets the arithmetic flags, which nothing may rely on afterwards.
#[inline]
pub fn set_flags(flags: u64) {
    // SAFETY: changes the flags, which an asm block may by default.
    unsafe {
        std::arch::asm!("msr nzcv, {}", in(reg) flags & SETTABLE_FLAGS, options(nomem, nostack))
    };
}

/// The current stack pointer.
#[inline]
#[must_use]
pub fn current_stack_pointer() -> u64 {
    let sp: u64;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mov {}, sp", out(reg) sp, options(nomem, nostack)) };
    sp
}

/// The general registers of a stopped tracee, `NT_PRSTATUS`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TraceeRegisters {
    /// The result of a call.
    pub result: u64,
    arguments: [u64; 7],
    /// The number of the call.
    pub number: u64,
    rest: [u64; 23],
    /// The address of the next instruction.
    pub instruction_pointer: u64,
    flags: u64,
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
        values[0] = self.result;
        values[1..8].copy_from_slice(&self.arguments);
        values[8] = self.number;
        values[9..32].copy_from_slice(&self.rest);
        values[32] = self.instruction_pointer;
        values[33] = self.flags;
        Registers::from_values(values)
    }

    /// Sets the registers. The tracee is then in no call.
    pub fn set_general(&mut self, registers: &Registers) {
        let values = registers.values();
        self.result = values[0];
        self.arguments.copy_from_slice(&values[1..8]);
        self.number = values[8];
        self.rest.copy_from_slice(&values[9..32]);
        self.instruction_pointer = values[32];
        self.flags = values[33];
    }

    /// Whether the tracee is stopped in a sleep that will be restarted: its next instruction is
    /// then the system call instruction again (`do_signal()`). `compared_address` is the address
    /// after that instruction.
    #[must_use]
    pub fn is_sleep_restart_pending(&self, compared_address: u64) -> bool {
        self.instruction_pointer + super::CALL_LENGTH == compared_address
    }
}
