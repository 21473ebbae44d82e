// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The registers as gates load and store them, and as signal frames and tracers show them.

use crate::arch::registers::{Registers, registers};

registers! {
    /// Index of a register in [`Registers`]: the order of `struct sigcontext_64`
    /// (arch/x86/include/uapi/asm/sigcontext.h).
    R8, R9, R10, R11, R12, R13, R14, R15, Di, Si, Bp, Bx, Dx, Ax, Cx, Sp, Ip, Flags
}

impl Reg {
    /// Holds the number of a call.
    pub const NUMBER: Reg = Reg::Ax;
    /// Holds the number of a call and then its result.
    pub const RESULT: Reg = Reg::Ax;
    /// Holds the address of the next instruction.
    pub const NEXT: Reg = Reg::Ip;
    /// The six arguments of a call, in order.
    pub const ARGUMENTS: [Reg; 6] = [Reg::Di, Reg::Si, Reg::Dx, Reg::R10, Reg::R8, Reg::R9];
    /// What the instruction that enters the kernel may itself overwrite.
    pub const SCRATCH: [Reg; 2] = [Reg::Cx, Reg::R11];
    /// Holds the flags.
    pub const STATE: Option<Reg> = Some(Reg::Flags);
    /// Holds the address of this thread's own data, where that is a general register: it is none.
    pub const THREAD: Option<Reg> = None;
}

/// The arithmetic flags and the direction flag: all that a program may set at will and that
/// `FIX_EFLAGS` (arch/x86/kernel/signal_64.c) lets a handler's return put back, but for
/// alignment checks and single steps, with which a gate could not go on.
pub const FLAGS: u64 = 0xcd5;
/// The direction flag, which the kernel clears before it enters a handler.
pub const FLAG_DIRECTION: u64 = 0x400;
/// Set in the flags always, and interrupts enabled: what user code sees beside [`FLAGS`].
pub const FLAGS_FIXED: u64 = 0x202;

/// What must hold a value of its own in a call that is otherwise a pattern: the flags.
pub fn fixed() -> [(Reg, u64); 1] {
    [(Reg::Flags, FLAGS_FIXED)]
}

impl Registers {
    /// The same with these flags of [`FLAGS`] set.
    #[must_use]
    pub fn with_flags(mut self, flags: u64) -> Registers {
        self[Reg::Flags] = FLAGS_FIXED | flags & FLAGS;
        self
    }

    /// What [`Reg::SCRATCH`] may hold behind a call whose next instruction is `after`: `syscall`
    /// leaves that address in RCX and the flags in R11; with FRED both keep what they were.
    #[must_use]
    pub fn scratch_behind(&self, after: u64) -> [[u64; 2]; 2] {
        [[after, self[Reg::Flags]], [self[Reg::Cx], self[Reg::R11]]]
    }
}

/// The signal frame as a handler gets it: `struct ucontext` with a `struct sigcontext_64` in it
/// (arch/x86/include/uapi/asm/{ucontext,sigcontext}.h).
#[derive(Debug)]
#[repr(C)]
pub struct Context {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    /// The registers that the handler's return puts back.
    pub registers: Registers,
    segments: [u16; 4],
    error: u64,
    trap: u64,
    old_mask: u64,
    cr2: u64,
    floating: u64,
    reserved: [u64; 8],
    /// The signal mask that the handler's return puts back.
    pub mask: u64,
}

/// The flags register as it is here.
#[inline]
#[must_use]
pub fn current_flags() -> u64 {
    let flags: u64;
    // SAFETY: reads the flags through the stack and changes nothing.
    unsafe { std::arch::asm!("pushfq", "pop {}", out(reg) flags) };
    flags
}

/// The stack pointer as it is here.
#[inline]
#[must_use]
pub fn current_stack() -> u64 {
    let sp: u64;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack)) };
    sp
}

/// Registers of a stopped tracee: `struct user_regs_struct` (arch/x86/include/asm/user_64.h).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TraceeRegisters {
    kept: [u64; 6],
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    /// Result of a call.
    pub result: u64,
    cx: u64,
    dx: u64,
    si: u64,
    di: u64,
    /// Number of the call in progress.
    pub number: u64,
    /// Next instruction.
    pub next: u64,
    cs: u64,
    flags: u64,
    sp: u64,
    rest: [u64; 7],
}

impl TraceeRegisters {
    /// Lets the tracee go on with a call of this number from this place.
    pub fn set_call(&mut self, place: u64, number: u64) {
        self.next = place;
        self.result = number;
        // It is in no call, so that none is restarted.
        self.number = u64::MAX;
    }

    /// The registers of a tracee that stopped at a call, or elsewhere, as a signal frame would hold
    /// them.
    #[must_use]
    pub fn general(&self, at_call: bool) -> Registers {
        let [r15, r14, r13, r12, bp, bx] = self.kept;
        let ax = if at_call { self.number } else { self.result };
        Registers::of([
            self.r8, self.r9, self.r10, self.r11, r12, r13, r14, r15, self.di, self.si, bp, bx,
            self.dx, ax, self.cx, self.sp, self.next, self.flags,
        ])
    }

    /// Lets the tracee go on with these, in no call.
    pub fn set_general(&mut self, registers: &Registers) {
        let [r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, next, flags] =
            registers.all();
        *self = TraceeRegisters {
            kept: [r15, r14, r13, r12, bp, bx],
            r11,
            r10,
            r9,
            r8,
            result: ax,
            cx,
            dx,
            si,
            di,
            number: u64::MAX,
            next,
            flags,
            sp,
            ..*self
        };
    }

    /// Whether the tracee is held in a sleep behind which `after` is, and which will be restarted:
    /// until then its register holds `ERESTART_RESTARTBLOCK` (include/linux/errno.h).
    #[must_use]
    pub fn restarts_sleep(&self, _after: u64) -> bool {
        self.result.cast_signed() == -516
    }
}
