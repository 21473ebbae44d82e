// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The registers as gates load and store them, and as signal frames and tracers show them.

use super::thread_pointer;
use crate::arch::registers::{Registers, registers};

registers! {
    /// Index of a register in [`Registers`]: the order of `struct user_regs_struct`
    /// (arch/riscv/include/uapi/asm/ptrace.h), in which the next instruction stands where x0 would.
    Pc, Ra, Sp, Gp, Tp, T0, T1, T2, S0, S1, A0, A1, A2, A3, A4, A5, A6, A7, S2, S3, S4, S5, S6,
    S7, S8, S9, S10, S11, T3, T4, T5, T6
}

impl Reg {
    /// Holds the number of a call.
    pub const NUMBER: Reg = Reg::A7;
    /// Holds the first argument of a call and then its result.
    pub const RESULT: Reg = Reg::A0;
    /// Holds the address of the next instruction.
    pub const NEXT: Reg = Reg::Pc;
    /// The six arguments of a call, in order.
    pub const ARGUMENTS: [Reg; 6] = [Reg::A0, Reg::A1, Reg::A2, Reg::A3, Reg::A4, Reg::A5];
    /// What the instruction that enters the kernel may itself overwrite: nothing.
    pub const SCRATCH: [Reg; 0] = [];
    /// Holds the flags: there are none.
    pub const STATE: Option<Reg> = None;
    /// Holds the address of this thread's own data, where that is a general register: handlers need it.
    pub const THREAD: Option<Reg> = Some(Reg::Tp);
}

/// The bits of [`Reg::STATE`] that a program may set at will.
pub const FLAGS: u64 = 0;
/// Set beside them always.
pub const FLAGS_FIXED: u64 = 0;

/// What must hold a value of its own in a call that is otherwise a pattern: the thread pointer,
/// which handlers need.
pub fn fixed() -> [(Reg, u64); 1] {
    [(Reg::Tp, thread_pointer())]
}

impl Registers {
    /// What [`Reg::SCRATCH`] may hold behind a call.
    #[must_use]
    pub fn scratch_behind(&self, _after: u64) -> [[u64; 0]; 1] {
        [[]]
    }
}

/// The signal frame as a handler gets it: `struct ucontext` with a `struct sigcontext` in it
/// (arch/riscv/include/uapi/asm/{ucontext,sigcontext}.h).
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Context {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    /// The signal mask that the handler's return puts back.
    pub mask: u64,
    // Room for masks of 1024 signals, and the alignment of the floating point state.
    reserved: [u64; 16],
    /// The registers that the handler's return puts back.
    pub registers: Registers,
}

/// The flags register as it is here: there is none.
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
    unsafe { std::arch::asm!("mv {}, sp", out(reg) sp, options(nomem, nostack)) };
    sp
}

/// Registers of a stopped tracee, `NT_PRSTATUS`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TraceeRegisters {
    /// Next instruction.
    pub next: u64,
    below: [u64; 9],
    /// Result of a call.
    pub result: u64,
    arguments: [u64; 6],
    /// Number of the call.
    pub number: u64,
    rest: [u64; 14],
}

impl TraceeRegisters {
    /// Lets the tracee go on with a call of this number from this place.
    pub fn set_call(&mut self, place: u64, number: u64) {
        self.next = place;
        self.number = number;
    }

    /// The registers as a signal frame would hold them.
    #[must_use]
    pub fn general(&self, _at_call: bool) -> Registers {
        let mut values = [0; Reg::ALL.len()];
        values[0] = self.next;
        values[1..10].copy_from_slice(&self.below);
        values[10] = self.result;
        values[11..17].copy_from_slice(&self.arguments);
        values[17] = self.number;
        values[18..32].copy_from_slice(&self.rest);
        Registers::of(values)
    }

    /// Lets the tracee go on with these, in no call.
    pub fn set_general(&mut self, registers: &Registers) {
        let values = registers.all();
        self.next = values[0];
        self.below.copy_from_slice(&values[1..10]);
        self.result = values[10];
        self.arguments.copy_from_slice(&values[11..17]);
        self.number = values[17];
        self.rest.copy_from_slice(&values[18..32]);
    }

    /// Whether the tracee is held in a sleep behind which `after` is, and which will be restarted:
    /// its registers are at the instruction again (`arch_do_signal_or_restart()`).
    #[must_use]
    pub fn restarts_sleep(&self, after: u64) -> bool {
        self.next + super::CALL_LENGTH == after
    }
}
