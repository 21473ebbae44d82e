// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The layouts of registers: of gates, of signal frames, and of ptrace(2).

use crate::arch::registers::{Registers, declare_registers};

declare_registers! {
    /// Index of a register in [`Registers`]: the order of `_s390_regs_common`
    /// (arch/s390/include/uapi/asm/sigcontext.h). The program status word comes first: its mask, then
    /// the address of the next instruction. Of the mask, gates load and store the condition code and
    /// the enabled arithmetic exceptions.
    Mask, Next, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, R11, R12, R13, R14, Sp
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

/// The condition code in the mask of the program status word (`PSW_MASK_CC`,
/// arch/s390/include/uapi/asm/ptrace.h).
pub const SETTABLE_FLAGS: u64 = 3 << 44;

/// The registers that cannot hold a pattern value, and their values: the condition code.
pub fn registers_without_pattern() -> [(Reg, u64); 1] {
    [(Reg::Mask, 0)]
}

impl Registers {
    /// The permitted values of [`Reg::CLOBBERED_BY_CALL`] after a call: there are no such registers.
    #[must_use]
    pub fn clobbered_values(&self, _compared_address: u64) -> [[u64; 0]; 1] {
        [[]]
    }
}

/// The signal frame that a handler gets: `struct ucontext_extended`
/// (arch/s390/include/uapi/asm/{ucontext,sigcontext}.h).
#[derive(Debug)]
#[repr(C)]
pub struct Context {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    /// The registers that the handler's return restores.
    pub registers: Registers,
    // Access registers, then floating point registers after their control register.
    access: [u32; 16],
    floating: [u64; 17],
    /// The signal mask that the handler's return restores.
    pub mask: u64,
}

/// Returns 0: no case needs the condition code at the entry of a handler.
#[inline]
#[must_use]
pub fn current_flags() -> u64 {
    0
}

/// The current stack pointer.
#[inline]
#[must_use]
pub fn current_stack() -> u64 {
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
    first: u64,
    /// The number of the call.
    pub number: u64,
    /// The result of a call.
    pub result: u64,
    rest: [u64; 13],
    access: [u32; 16],
    first_argument: u64,
}

impl TraceeRegisters {
    /// Makes the tracee continue at the system call instruction at `instruction`, with this call number.
    pub fn set_call(&mut self, instruction: u64, number: u64) {
        self.instruction_pointer = instruction;
        self.number = number;
    }

    /// The registers in the layout of gates.
    #[must_use]
    pub fn general(&self) -> Registers {
        let first = [self.mask, self.instruction_pointer, self.first, self.number, self.result];
        Registers::from_values(std::array::from_fn(|i| match i.checked_sub(first.len()) {
            None => first[i],
            Some(at) => self.rest[at],
        }))
    }

    /// Whether the tracee is stopped in a sleep that will be restarted. Until the restart the result register
    /// holds `ERESTART_RESTARTBLOCK` (include/linux/errno.h).
    #[must_use]
    pub fn restarts_sleep(&self, _compared_address: u64) -> bool {
        self.result.cast_signed() == -516
    }
}
