// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The layouts of registers: of gates, of signal frames, and of ptrace(2).

use crate::arch::registers::{Registers, registers};

registers! {
    /// Index of a register in [`Registers`]: the order of `struct sigcontext_64`
    /// (arch/x86/include/uapi/asm/sigcontext.h).
    R8, R9, R10, R11, R12, R13, R14, R15, Di, Si, Bp, Bx, Dx, Ax, Cx, Sp, Ip, Flags
}

impl Reg {
    /// The register of a call's number.
    pub const NUMBER: Reg = Reg::Ax;
    /// The register of a call's result, which holds the number before.
    pub const RESULT: Reg = Reg::Ax;
    /// The register of the next instruction's address.
    pub const NEXT: Reg = Reg::Ip;
    /// The registers of a call's six arguments.
    pub const ARGUMENTS: [Reg; 6] = [Reg::Di, Reg::Si, Reg::Dx, Reg::R10, Reg::R8, Reg::R9];
    /// The registers that the system call instruction itself may overwrite.
    pub const SCRATCH: [Reg; 2] = [Reg::Cx, Reg::R11];
    /// The flags register.
    pub const STATE: Option<Reg> = Some(Reg::Flags);
    /// The thread pointer, if it is a general register: it is none.
    pub const THREAD: Option<Reg> = None;
}

/// The arithmetic flags and the direction flag. These are the flags that a program may set and that a
/// handler's return restores (`FIX_EFLAGS`, arch/x86/kernel/signal_64.c), except AC and TF, with which a
/// gate could not continue.
pub const FLAGS: u64 = 0xcd5;
/// The direction flag, which the kernel clears before it enters a handler.
pub const FLAG_DIRECTION: u64 = 0x400;
/// The trap flag, with which every instruction is followed by a SIGTRAP.
pub const FLAG_TRAP: u64 = 0x100;
/// The flag of alignment checks.
pub const FLAG_ALIGNMENT: u64 = 0x4_0000;
/// The flags that are always set in user mode: bit 1, and IF.
pub const FLAGS_FIXED: u64 = 0x202;

/// The registers that cannot hold a pattern value, and their values: the flags.
pub fn fixed() -> [(Reg, u64); 1] {
    [(Reg::Flags, FLAGS_FIXED)]
}

impl Registers {
    /// These registers with the given bits of [`FLAGS`] set, and the others clear.
    #[must_use]
    pub fn with_flags(mut self, flags: u64) -> Registers {
        self[Reg::Flags] = FLAGS_FIXED | flags & FLAGS;
        self
    }

    /// The permitted values of [`Reg::SCRATCH`] after a call; `after` is the address after its
    /// instruction. `syscall` sets RCX to that address and R11 to the flags; with FRED both are preserved.
    #[must_use]
    pub fn scratch_after(&self, after: u64) -> [[u64; 2]; 2] {
        [[after, self[Reg::Flags]], [self[Reg::Cx], self[Reg::R11]]]
    }
}

/// The signal frame that a handler gets: `struct ucontext` with a `struct sigcontext_64` in it
/// (arch/x86/include/uapi/asm/{ucontext,sigcontext}.h).
#[derive(Debug)]
#[repr(C)]
pub struct Context {
    flags: u64,
    link: u64,
    stack: [u64; 3],
    /// The registers that the handler's return restores.
    pub registers: Registers,
    segments: [u16; 4],
    error: u64,
    trap: u64,
    old_mask: u64,
    cr2: u64,
    floating: u64,
    reserved: [u64; 8],
    /// The signal mask that the handler's return restores.
    pub mask: u64,
}

impl Context {
    /// Sets the code segment with which the handler's return continues.
    pub fn set_code_segment(&mut self, selector: u16) {
        self.segments[0] = selector;
    }
}

/// The flags register at the start of a handler. Clears the flag of alignment checks, with which
/// compiled code must not run.
#[inline]
#[must_use]
pub fn current_flags() -> u64 {
    let flags: u64;
    // SAFETY: reads the flags through the stack and clears one that no compiler knows of.
    unsafe {
        std::arch::asm!(
            "pushfq",
            "mov {flags}, [rsp]",
            "and qword ptr [rsp], {keep}",
            "popfq",
            flags = out(reg) flags,
            keep = const -0x4_0001i32,
        );
    }
    flags
}

/// The current stack pointer.
#[inline]
#[must_use]
pub fn current_stack() -> u64 {
    let sp: u64;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack)) };
    sp
}

/// The general registers of a stopped tracee: `struct user_regs_struct` (arch/x86/include/asm/user_64.h).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TraceeRegisters {
    kept: [u64; 6],
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    /// The result of a call.
    pub result: u64,
    cx: u64,
    dx: u64,
    si: u64,
    di: u64,
    /// The number of the call in progress.
    pub number: u64,
    /// The address of the next instruction.
    pub next: u64,
    cs: u64,
    flags: u64,
    sp: u64,
    rest: [u64; 7],
}

impl TraceeRegisters {
    /// Makes the tracee issue a call of this number by the instruction at this address.
    pub fn set_call(&mut self, place: u64, number: u64) {
        self.next = place;
        self.result = number;
        // In no call, so that none is restarted.
        self.number = u64::MAX;
    }

    /// The registers in the layout of gates. `at_call`: the tracee stopped at a call.
    #[must_use]
    pub fn general(&self, at_call: bool) -> Registers {
        let [r15, r14, r13, r12, bp, bx] = self.kept;
        let ax = if at_call { self.number } else { self.result };
        Registers::of([
            self.r8, self.r9, self.r10, self.r11, r12, r13, r14, r15, self.di, self.si, bp, bx,
            self.dx, ax, self.cx, self.sp, self.next, self.flags,
        ])
    }

    /// Sets the registers; the tracee is then in no call.
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

    /// Whether the tracee is stopped in a sleep that will be restarted. Until the restart the result register
    /// holds `ERESTART_RESTARTBLOCK` (include/linux/errno.h).
    #[must_use]
    pub fn restarts_sleep(&self, _after: u64) -> bool {
        self.result.cast_signed() == -516
    }
}
