// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The general registers: their order in [`Registers`], in signal frames, and in ptrace(2).

use crate::arch::registers::{Registers, declare_registers};

declare_registers! {
    /// Index of a register in [`Registers`]: the order of `struct sigcontext_64`
    /// (arch/x86/include/uapi/asm/sigcontext.h).
    pub enum Reg {
        R8, R9, R10, R11, R12, R13, R14, R15, Di, Si, Bp, Bx, Dx, Ax, Cx, Sp, Ip, Flags
    }
}

impl Reg {
    /// The register of a call's number.
    pub const NUMBER: Reg = Reg::Ax;
    /// The register of a call's result. Before the call the register holds the number.
    pub const RESULT: Reg = Reg::Ax;
    /// The register with the address of the next instruction.
    pub const INSTRUCTION_POINTER: Reg = Reg::Ip;
    /// The registers of a call's six arguments.
    pub const ARGUMENTS: [Reg; 6] = [Reg::Di, Reg::Si, Reg::Dx, Reg::R10, Reg::R8, Reg::R9];
    /// The registers that the system call instruction itself may overwrite.
    pub const CLOBBERED_BY_CALL: [Reg; 2] = [Reg::Cx, Reg::R11];
    /// The flags register.
    pub const FLAGS: Option<Reg> = Some(Reg::Flags);
    /// The thread pointer, if it is a general register: not on this architecture.
    pub const THREAD_POINTER: Option<Reg> = None;
}

/// The arithmetic flags and the direction flag. A program may set these flags, and the return of a handler
/// restores them (`FIX_EFLAGS`, arch/x86/kernel/signal_64.c). AC and TF are left out, since a gate cannot run
/// with them.
pub const SETTABLE_FLAGS: u64 = 0xcd5;
/// The direction flag, which the kernel clears before it enters a handler.
pub const FLAG_DIRECTION: u64 = 0x400;
/// The trap flag, with which every instruction is followed by a SIGTRAP.
pub const FLAG_TRAP: u64 = 0x100;
/// The flag of alignment checks.
pub const FLAG_ALIGNMENT: u64 = 0x4_0000;
/// The flags that are always set in user mode: bit 1, and IF.
pub const ALWAYS_SET_FLAGS: u64 = 0x202;

/// The flags, the only register in which [`Registers::for_call`] cannot put a pattern value, with the value that
/// it puts there.
pub fn registers_without_pattern() -> [(Reg, u64); 1] {
    [(Reg::Flags, ALWAYS_SET_FLAGS)]
}

impl Registers {
    /// These registers with the given bits of [`SETTABLE_FLAGS`] set, and the others clear.
    #[must_use]
    pub fn with_flags(mut self, flags: u64) -> Registers {
        self[Reg::Flags] = ALWAYS_SET_FLAGS | flags & SETTABLE_FLAGS;
        self
    }

    /// The permitted values of [`Reg::CLOBBERED_BY_CALL`] after a call with this compared address:
    /// `syscall` sets RCX to the compared address and R11 to the flags; with FRED it preserves both registers.
    #[must_use]
    pub fn clobbered_values(&self, compared_address: u64) -> [[u64; 2]; 2] {
        [[compared_address, self[Reg::Flags]], [self[Reg::Cx], self[Reg::R11]]]
    }
}

/// The signal frame that a handler gets: `struct ucontext` with a `struct sigcontext_64` in it
/// (arch/x86/include/uapi/asm/{ucontext,sigcontext}.h).
#[derive(Debug)]
#[repr(C)]
pub struct UserContext {
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
    floating_address: u64,
    reserved: [u64; 8],
    /// The signal mask that the handler's return restores.
    pub mask: u64,
}

impl UserContext {
    /// Sets the code segment with which the handler's return continues.
    pub fn set_code_segment(&mut self, selector: u16) {
        self.segments[0] = selector;
    }

    /// The stack segment of the interrupted program.
    #[must_use]
    pub fn stack_segment(&self) -> u16 {
        self.segments[3]
    }

    /// Sets the stack segment with which the handler's return continues.
    pub fn set_stack_segment(&mut self, selector: u16) {
        self.segments[3] = selector;
    }

    /// Lets the handler's return replace a stack segment that cannot be loaded (`UC_STRICT_RESTORE_SS`,
    /// arch/x86/include/uapi/asm/ucontext.h).
    pub fn clear_strict_restore_ss(&mut self) {
        self.flags &= !4;
    }

    /// Sets the address from which the handler's return restores the floating point state.
    pub fn set_floating_address(&mut self, address: u64) {
        self.floating_address = address;
    }

    /// The bytes of the context.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: the structure consists of integers without padding.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

/// The flags register. Clears the flag of alignment checks (AC) in it, since compiled code must not run with
/// it.
#[inline]
#[must_use]
pub fn take_flags() -> u64 {
    let flags: u64;
    // SAFETY: reads the flags through the stack, and clears AC, which compilers never set or test.
    unsafe {
        std::arch::asm!(
            "pushfq",
            "mov {flags}, [rsp]",
            "and qword ptr [rsp], {keep}",
            "popfq",
            flags = out(reg) flags,
            keep = const -0x4_0001i32, // All bits but AC.
        );
    }
    flags
}

/// The current stack pointer.
#[inline]
#[must_use]
pub fn current_stack_pointer() -> u64 {
    let sp: u64;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack)) };
    sp
}

/// The general registers of a stopped tracee: `struct user_regs_struct`
/// (arch/x86/include/asm/user_64.h).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct TraceeRegisters {
    callee_saved: [u64; 6],
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
    pub instruction_pointer: u64,
    cs: u64,
    flags: u64,
    sp: u64,
    rest: [u64; 7],
}

impl TraceeRegisters {
    /// Makes the tracee continue at the system call instruction at `instruction`, with this call
    /// number.
    pub fn set_call(&mut self, instruction: u64, number: u64) {
        self.instruction_pointer = instruction;
        self.result = number;
        // With -1 the tracee is in no call, so the kernel restarts no call.
        self.number = u64::MAX;
    }

    /// The registers of a tracee that stopped at the entry of a call.
    #[must_use]
    pub fn general_at_call(&self) -> Registers {
        let mut registers = self.general();
        registers[Reg::NUMBER] = self.number;
        registers
    }

    /// The registers of a tracee that is in no call.
    #[must_use]
    pub fn general(&self) -> Registers {
        let [r15, r14, r13, r12, bp, bx] = self.callee_saved;
        Registers::from_values([
            self.r8,
            self.r9,
            self.r10,
            self.r11,
            r12,
            r13,
            r14,
            r15,
            self.di,
            self.si,
            bp,
            bx,
            self.dx,
            self.result,
            self.cx,
            self.sp,
            self.instruction_pointer,
            self.flags,
        ])
    }

    /// Sets the registers. The tracee is then in no call.
    pub fn set_general(&mut self, registers: &Registers) {
        let [r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, flags] =
            registers.values();
        *self = TraceeRegisters {
            callee_saved: [r15, r14, r13, r12, bp, bx],
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
            instruction_pointer: ip,
            flags,
            sp,
            ..*self
        };
    }

    /// Whether the tracee is stopped in a sleep that will be restarted. Until the restart the
    /// result register holds `ERESTART_RESTARTBLOCK` (include/linux/errno.h).
    #[must_use]
    pub fn is_sleep_restart_pending(&self, _compared_address: u64) -> bool {
        self.result.cast_signed() == -516
    }
}
