// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The registers as gates load and store them, and as signal frames and tracers show them.

use crate::arch::registers::{Registers, registers};

registers! {
    /// Index of a register in [`Registers`]: the order of `_s390_regs_common`
    /// (arch/s390/include/uapi/asm/sigcontext.h), in which the program status word comes first: its
    /// mask, of which gates load and store the condition code and which arithmetic exceptions are
    /// wanted, and the next instruction.
    Mask, Next, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, R11, R12, R13, R14, Sp
}

impl Reg {
    /// Holds the number of a call.
    pub const NUMBER: Reg = Reg::R1;
    /// Holds the first argument of a call and then its result.
    pub const RESULT: Reg = Reg::R2;
    /// Holds the address of the next instruction.
    pub const NEXT: Reg = Reg::Next;
    /// The six arguments of a call, in order.
    pub const ARGUMENTS: [Reg; 6] = [Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R6, Reg::R7];
    /// What the instruction that enters the kernel may itself overwrite: nothing.
    pub const SCRATCH: [Reg; 0] = [];
    /// Holds the flags.
    pub const STATE: Option<Reg> = Some(Reg::Mask);
}

/// The condition code in the mask of the program status word (`PSW_MASK_CC`,
/// arch/s390/include/uapi/asm/ptrace.h).
pub const FLAGS: u64 = 3 << 44;

/// What must hold a value of its own in a call that is otherwise a pattern: the condition code.
pub fn fixed() -> [(Reg, u64); 1] {
    [(Reg::Mask, 0)]
}

impl Registers {
    /// What [`Reg::SCRATCH`] may hold behind a call.
    #[must_use]
    pub fn scratch_behind(&self, _after: u64) -> [[u64; 0]; 1] {
        [[]]
    }
}

/// The signal frame as a handler gets it: `struct ucontext_extended`
/// (arch/s390/include/uapi/asm/{ucontext,sigcontext}.h).
#[derive(Debug)]
#[repr(C)]
pub struct Context {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    /// The registers that the handler's return puts back.
    pub registers: Registers,
    // Access registers, then floating point registers behind their control register.
    access: [u32; 16],
    floating: [u64; 17],
    /// The signal mask that the handler's return puts back.
    pub mask: u64,
}

/// The flags register as it is here: the condition code is not one to be set for a handler.
#[inline]
#[must_use]
pub fn current_flags() -> u64 {
    0
}

/// The stack pointer as it is here.
#[inline]
#[must_use]
pub fn current_stack() -> u64 {
    let sp: u64;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("lgr {}, %r15", out(reg) sp, options(nomem, nostack)) };
    sp
}

/// Registers of a stopped tracee, `NT_PRSTATUS`: `s390_regs`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TraceeRegisters {
    mask: u64,
    /// Next instruction.
    pub next: u64,
    first: u64,
    /// Number of the call.
    pub number: u64,
    /// Result of a call.
    pub result: u64,
    rest: [u64; 13],
    access: [u32; 16],
    first_argument: u64,
}

impl TraceeRegisters {
    /// Lets the tracee go on with a call of this number from this place.
    pub fn set_call(&mut self, place: u64, number: u64) {
        self.next = place;
        self.number = number;
    }

    /// Whether the tracee is held in a sleep behind which `after` is, and which will be restarted:
    /// until then its register holds `ERESTART_RESTARTBLOCK` (include/linux/errno.h).
    #[must_use]
    pub fn restarts_sleep(&self, _after: u64) -> bool {
        self.result.cast_signed() == -516
    }
}
