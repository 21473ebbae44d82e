// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The general registers: their order in [`Registers`], in signal frames, and in ptrace(2).

use crate::arch::registers::{Registers, declare_registers};

declare_registers! {
    /// Index of a register in [`Registers`]: the order of `_s390_regs_common`
    /// (arch/s390/include/uapi/asm/sigcontext.h). The program status word comes first: `Mask` is
    /// its mask, `Next` the address of the next instruction. Gates load and store only two fields
    /// of the mask: the condition code and the enabled arithmetic exceptions.
    pub enum Reg {
        Mask, Next, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, R11, R12, R13, R14, Sp
    }
}

impl Reg {
    /// The register of a call's number.
    pub const NUMBER: Reg = Reg::R1;
    /// The register of a call's result. Before the call the register holds the first argument.
    pub const RESULT: Reg = Reg::R2;
    /// The register with the address of the next instruction.
    pub const INSTRUCTION_POINTER: Reg = Reg::Next;
    /// The registers of a call's six arguments.
    pub const ARGUMENTS: [Reg; 6] = [Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R6, Reg::R7];
    /// The registers that the system call instruction itself may overwrite: none.
    pub const CLOBBERED_BY_CALL: [Reg; 0] = [];
    /// The flags register.
    pub const FLAGS: Option<Reg> = Some(Reg::Mask);
}

/// The flags that gates can set: the condition code in the mask of the program status word
/// (`PSW_MASK_CC`, arch/s390/include/uapi/asm/ptrace.h).
pub const SETTABLE_FLAGS: u64 = 3 << 44;

/// The mask, the only register in which [`Registers::for_call`] cannot put a pattern value, with the value that
/// it puts there: condition code 0.
pub fn registers_without_pattern() -> [(Reg, u64); 1] {
    [(Reg::Mask, 0)]
}

impl Registers {
    /// The permitted values of [`Reg::CLOBBERED_BY_CALL`] after a call: one empty list, because a
    /// call clobbers no registers.
    #[must_use]
    pub fn clobbered_values(&self, _compared_address: u64) -> [[u64; 0]; 1] {
        [[]]
    }
}

/// The part of the signal frame that a handler gets as its third argument: `struct
/// ucontext_extended` (arch/s390/include/uapi/asm/{ucontext,sigcontext}.h).
#[derive(Debug)]
#[repr(C)]
pub struct UserContext {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    /// The registers that the handler's return restores.
    pub registers: Registers,
    access_registers: [u32; 16],
    /// The floating point control register, then the 16 floating point registers.
    floating_registers: [u64; 17],
    /// The signal mask that the handler's return restores.
    pub mask: u64,
}

/// Returns 0: no case needs the condition code at the entry of a handler.
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
    unsafe { std::arch::asm!("lgr {}, %r15", out(reg) sp, options(nomem, nostack)) };
    sp
}

/// The general registers of a stopped tracee, `NT_PRSTATUS`: `s390_regs`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TraceeRegisters {
    mask: u64,
    /// The address of the next instruction.
    pub instruction_pointer: u64,
    r0: u64,
    /// Register 1: the number of the call.
    pub number: u64,
    /// Register 2: the result of a call.
    pub result: u64,
    r3_to_r15: [u64; 13],
    access_registers: [u32; 16],
    /// Register 2 at the entry of the call: the first argument (`orig_gpr2`).
    original_r2: u64,
}

/// `ERESTART_RESTARTBLOCK` of include/linux/errno.h.
const ERESTART_RESTARTBLOCK: i64 = 516;

impl TraceeRegisters {
    /// Changes the registers so that the tracee issues the call `number` at the system call
    /// instruction at address `instruction`.
    pub fn set_call(&mut self, instruction: u64, number: u64) {
        self.instruction_pointer = instruction;
        self.number = number;
    }

    /// The general registers in the layout that gates use.
    #[must_use]
    pub fn general(&self) -> Registers {
        let up_to_r2 = [self.mask, self.instruction_pointer, self.r0, self.number, self.result];
        let mut values = up_to_r2.into_iter().chain(self.r3_to_r15);
        Registers::from_values(std::array::from_fn(|_| values.next().unwrap_or(0)))
    }

    /// Whether a signal interrupted the tracee's sleep and the kernel will restart the sleep. Until
    /// the restart the result register holds -`ERESTART_RESTARTBLOCK`.
    #[must_use]
    pub fn is_sleep_restart_pending(&self, _compared_address: u64) -> bool {
        self.result.cast_signed() == -ERESTART_RESTARTBLOCK
    }
}
