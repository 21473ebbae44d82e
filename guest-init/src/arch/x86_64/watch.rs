// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Watched calls, which run on a stack that the caller chooses. The assembly (`watch.s`) stores all general
//! registers, flags, segment registers and the floating point state twice: at the entry of the handler, and
//! after the call.

use super::watch_compat::call_in_compat_code;
use crate::arch::gates::symbol_address;
use crate::arch::{CallInstruction, Part, Reg, Registers, WatchedCallSite};
use crate::case::Need;
use std::arch::x86_64::__cpuid_count;
use std::fmt::Write as _;
use std::ops::Range;

std::arch::global_asm!(include_str!("watch.s"));

unsafe extern "C" {
    fn sudbox_watch_native(registers: *const Registers, floating: *const Floating);
    fn sudbox_watch_compat(registers: *const Registers, floating: *const Floating);
    fn sudbox_watch_native_stop(registers: *const Registers, floating: *const Floating);
    fn sudbox_watch_compat_stop(registers: *const Registers, floating: *const Floating);
    fn sudbox_watch_code32(registers: *const Registers, floating: *const Floating);
    fn sudbox_watch_code32_stop(registers: *const Registers, floating: *const Floating);
    fn sudbox_watch_native_stop_call();
    fn sudbox_watch_compat_stop_call();
    fn sudbox_watch_native_call();
    fn sudbox_watch_compat_call();
    fn sudbox_watch_start();
    fn sudbox_watch_end();
    fn sudbox_watch_handler();
    static mut sudbox_watch_after_registers: Registers;
    static mut sudbox_watch_after_segments: [u8; 12];
    static mut sudbox_watch_after_floating: Floating;
    static mut sudbox_watch_entered_registers: Registers;
    static mut sudbox_watch_entered_segments: [u8; 12];
    static mut sudbox_watch_entered_floating: Floating;
}

/// x87, SSE, AVX, AVX-512 and PKRU state as `xsave64` stores it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Floating([u8; 4096]);

/// The XSAVE components that the gates load: x87, SSE, AVX, AVX-512 (three), PKRU.
const LOADED_COMPONENTS: u64 = 0x2e7;
/// Offset of the XSAVE header in an XSAVE area, in bytes.
pub(super) const XSAVE_HEADER: usize = 512;
/// Index of the XSAVE component PKRU.
pub(super) const PKRU_COMPONENT: u32 = 9;
/// A value of PKRU that differs from the kernel's default for all keys but key 0. Key 0, which the program's
/// memory has, permits all accesses.
const PKRU_PATTERN: u32 = 0x1b1b_1b18;

/// The requirements of watched calls on the machine.
pub const WATCH_NEEDS: &[Need] = &[Need::CpuFeature("xsave")];
/// Whether calls and handlers can run on a stack that the caller chooses.
pub const CAN_CHOOSE_STACK: bool = true;

/// Processor flags that a program can set without effect on its further instructions: the arithmetic flags,
/// DF, AC and ID.
pub const HARMLESS_FLAGS: u64 = 0x24_0cd5;
/// The trap flag (TF), with which every instruction is followed by a SIGTRAP.
pub const TRAP_FLAG: u64 = super::FLAG_TRAP;

/// A bit mask of those [`LOADED_COMPONENTS`] that this CPU and kernel support.
pub(super) fn supported_components() -> u64 {
    let low: u32;
    // SAFETY: the cases need the CPU feature `xsave`, which includes `xgetbv`.
    unsafe { std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _) };
    u64::from(low) & LOADED_COMPONENTS
}

/// The byte range of a component in an XSAVE area of the standard format (Intel SDM volume 1, 13.4.3).
pub(super) fn component_range(index: u32) -> Range<usize> {
    let leaf = __cpuid_count(0xd, index);
    let (offset, size) = (leaf.ebx as usize, leaf.eax as usize);
    offset..offset + size
}

/// The components of the XSAVE area that the kernel enabled (XCR0), and the offset and size of each after
/// SSE. Empty without XSAVE.
#[must_use]
pub fn floating_state_layout() -> String {
    const OSXSAVE: u32 = 1 << 27;
    if __cpuid_count(1, 0).ecx & OSXSAVE == 0 {
        return String::new();
    }
    let (low, high): (u32, u32);
    // SAFETY: with OSXSAVE the kernel has enabled `xgetbv`.
    unsafe { std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high) };
    let enabled = u64::from(high) << 32 | u64::from(low);
    let mut text = format!("xcr0 {enabled:#x}");
    for index in (2..63).filter(|index| enabled & 1 << index != 0) {
        let range = component_range(index);
        let _ = write!(text, " {index}:{}+{}", range.start, range.len());
    }
    text
}

/// A pattern byte that depends on its offset.
fn pattern_byte(offset: usize) -> u8 {
    let [low, high, ..] = offset.to_le_bytes();
    low ^ high << 3
}

impl Floating {
    /// The initial state of a process.
    #[must_use]
    pub fn initial() -> Floating {
        let mut state = Floating([0; 4096]);
        // x87 control word and MXCSR: rounding to nearest, exceptions masked.
        state.0[0..2].copy_from_slice(&0x037fu16.to_le_bytes());
        state.0[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        state
    }

    /// A state in which each byte of a component depends on its offset.
    #[must_use]
    pub fn pattern() -> Floating {
        let mut state = Floating::initial();
        let components = supported_components();
        // The x87 and XMM registers.
        for (offset, byte) in state.0[32..416].iter_mut().enumerate() {
            *byte = 0x41 ^ pattern_byte(offset);
        }
        state.clear_x87_padding();
        // x87 control word and MXCSR: rounding up, exceptions masked. Tag word: all x87 registers in use.
        state.0[0..2].copy_from_slice(&0x0b7fu16.to_le_bytes());
        state.0[4] = 0xff;
        state.0[24..28].copy_from_slice(&0x5f80u32.to_le_bytes());
        for index in (2..8).filter(|index| components & 1 << index != 0) {
            for offset in component_range(index) {
                state.0[offset] = 0x90 ^ pattern_byte(offset);
            }
        }
        if components & 1 << PKRU_COMPONENT != 0 {
            let offset = component_range(PKRU_COMPONENT).start;
            state.0[offset..offset + 4].copy_from_slice(&PKRU_PATTERN.to_le_bytes());
        }
        state.0[XSAVE_HEADER..XSAVE_HEADER + 8].copy_from_slice(&components.to_le_bytes());
        state
    }

    /// Clears the unused bytes after each x87 register, which has ten of sixteen bytes.
    fn clear_x87_padding(&mut self) {
        for slot in self.0[32..160].as_chunks_mut::<16>().0 {
            slot[10..].fill(0);
        }
    }

    /// The state that `xsave` stored at an address. Bytes that no register uses are 0.
    ///
    /// # Safety
    /// The state must be readable.
    pub(super) unsafe fn stored_at(state: *const u8) -> Floating {
        let mut copy = Floating::initial();
        let length = copy.bytes().len();
        // SAFETY: by the contract of this function.
        unsafe { std::ptr::copy_nonoverlapping(state, copy.0.as_mut_ptr(), length) };
        copy.clear_x87_padding();
        // The reserved bytes after XMM15.
        copy.0[416..512].fill(0);
        // PKRU has 32 bits, and the other half of its component is unused (Intel SDM volume 1, 13.5.7). Some
        // processors of AMD store there what was loaded last.
        if supported_components() & 1 << PKRU_COMPONENT != 0 {
            copy.0[component_range(PKRU_COMPONENT)][4..].fill(0);
        }
        copy
    }

    /// The bytes up to the end of the last supported component.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let end = (0..=PKRU_COMPONENT).filter(|index| supported_components() & 1 << index != 0);
        let end = end.filter(|index| *index > 1).map(|index| component_range(index).end).max();
        &self.0[..end.unwrap_or(XSAVE_HEADER + 64)]
    }
}

/// The CPU state at one moment.
#[derive(Clone, Copy, Debug)]
pub struct CpuState {
    /// The general registers and flags.
    pub registers: Registers,
    segments: &'static [u8],
    floating: &'static [u8],
}

impl CpuState {
    /// `cs`, `ss`, `ds`, `es`, `fs`, `gs`, two bytes each.
    #[must_use]
    pub fn segments(&self) -> &[u8] {
        self.segments
    }

    /// The floating point state.
    #[must_use]
    pub fn floating(&self) -> &[u8] {
        self.floating
    }
}

/// Issues the call with these registers, including stack pointer and flags, and this floating point state.
/// Returns the CPU state after the call.
///
/// # Safety
/// The 8 bytes below the stack pointer, and the space for signal frames, must be writable and unused. Only
/// one task may make watched calls at a time.
#[must_use]
pub unsafe fn watched_call(
    site: WatchedCallSite,
    registers: &Registers,
    floating: &Floating,
) -> CpuState {
    // SAFETY: the gate saves the callee-saved registers. Nothing else uses the memory that it stores to.
    unsafe {
        match site {
            WatchedCallSite { instruction: CallInstruction::Native, has_breakpoint: false } => {
                sudbox_watch_native(registers, floating)
            }
            WatchedCallSite { instruction: CallInstruction::Compat, has_breakpoint: false } => {
                sudbox_watch_compat(registers, floating)
            }
            WatchedCallSite { instruction: CallInstruction::Native, has_breakpoint: true } => {
                sudbox_watch_native_stop(registers, floating)
            }
            WatchedCallSite { instruction: CallInstruction::Compat, has_breakpoint: true } => {
                sudbox_watch_compat_stop(registers, floating)
            }
            WatchedCallSite { instruction: CallInstruction::CompatCode, has_breakpoint: false } => {
                sudbox_watch_code32(registers, floating)
            }
            WatchedCallSite { instruction: CallInstruction::CompatCode, has_breakpoint: true } => {
                sudbox_watch_code32_stop(registers, floating)
            }
        }
        let (segments, floating) =
            (&raw const sudbox_watch_after_segments, &raw const sudbox_watch_after_floating);
        CpuState {
            registers: sudbox_watch_after_registers,
            segments: &*segments,
            floating: (*floating).bytes(),
        }
    }
}

/// The CPU state at the entry of the handler. Only `sudbox_record_signal` may call this function.
#[must_use]
pub fn state_at_handler_entry() -> CpuState {
    // SAFETY: the handler has stored the state, and no other handler runs.
    unsafe {
        let (segments, floating) =
            (&raw const sudbox_watch_entered_segments, &raw const sudbox_watch_entered_floating);
        CpuState {
            registers: sudbox_watch_entered_registers,
            segments: &*segments,
            floating: (*floating).bytes(),
        }
    }
}

/// The compared address of a watched call: the address after the system call instruction.
#[must_use]
pub fn watched_call_compared_address(site: WatchedCallSite) -> u64 {
    super::CALL_LENGTH
        + match site {
            WatchedCallSite { instruction: CallInstruction::Native, has_breakpoint: false } => {
                symbol_address(sudbox_watch_native_call)
            }
            WatchedCallSite { instruction: CallInstruction::Compat, has_breakpoint: false } => {
                symbol_address(sudbox_watch_compat_call)
            }
            WatchedCallSite { instruction: CallInstruction::Native, has_breakpoint: true } => {
                symbol_address(sudbox_watch_native_stop_call)
            }
            WatchedCallSite { instruction: CallInstruction::Compat, has_breakpoint: true } => {
                symbol_address(sudbox_watch_compat_stop_call)
            }
            WatchedCallSite { instruction: CallInstruction::CompatCode, has_breakpoint } => {
                call_in_compat_code(has_breakpoint)
            }
        }
}

/// The address range of watched calls.
#[must_use]
pub fn watched_call_range() -> Range<u64> {
    symbol_address(sudbox_watch_start)..symbol_address(sudbox_watch_end)
}

/// The address of a handler that records its entry state and calls `sudbox_record_signal` with its
/// arguments, on a separate stack.
#[must_use]
pub fn recording_handler() -> u64 {
    symbol_address(sudbox_watch_handler)
}

/// The registers of a handler's arguments.
pub const HANDLER_ARGUMENTS: [Reg; 3] = [Reg::Di, Reg::Si, Reg::Dx];

/// `rt_tgsigqueueinfo` in the table of `int 0x80` (`arch/x86/entry/syscalls/syscall_32.tbl`).
const COMPAT_RT_TGSIGQUEUEINFO: u64 = 335;

/// The registers of a `rt_tgsigqueueinfo(2)` with these arguments, and the `si_arch` when this call is
/// dispatched.
#[must_use]
pub fn queue_signal_call(instruction: CallInstruction, arguments: [u64; 4]) -> (Registers, u32) {
    let number = libc::SYS_rt_tgsigqueueinfo.cast_unsigned();
    let [a, b, c, d] = arguments;
    match instruction {
        CallInstruction::Native => {
            (Registers::for_call(number, [a, b, c, d, !0, !0]), super::AUDIT_ARCH)
        }
        CallInstruction::Compat | CallInstruction::CompatCode => {
            let mut registers = Registers::for_call(COMPAT_RT_TGSIGQUEUEINFO, [!0; 6]);
            for (reg, value) in [Reg::Bx, Reg::Cx, Reg::Dx, Reg::Si].into_iter().zip(arguments) {
                registers[reg] = value;
            }
            if instruction == CallInstruction::CompatCode {
                // 32-bit code has only the lower halves of these registers.
                use Reg::{Ax, Bp, Bx, Cx, Di, Dx, Si};
                for reg in [Ax, Bx, Cx, Dx, Si, Di, Bp] {
                    registers[reg] &= u64::from(u32::MAX);
                }
            }
            (registers, super::AUDIT_ARCH_COMPAT)
        }
    }
}

/// The registers of the first two arguments of a call.
#[must_use]
pub const fn first_argument_registers(instruction: CallInstruction) -> [Reg; 2] {
    match instruction {
        CallInstruction::Native => [Reg::Di, Reg::Si],
        CallInstruction::Compat | CallInstruction::CompatCode => [Reg::Bx, Reg::Cx],
    }
}

/// The base addresses of the segments FS and GS.
#[must_use]
pub fn segment_bases() -> [u64; 2] {
    let mut bases = [0u64; 2];
    for (request, base) in
        [super::GET_THREAD_POINTER, super::GET_SECOND_THREAD_POINTER].into_iter().zip(&mut bases)
    {
        // SAFETY: writes the base.
        let _ = unsafe {
            crate::sys::call(libc::SYS_arch_prctl, &[request, std::ptr::from_mut(base) as u64])
        };
    }
    bases
}

/// Whether a [`WatchedCallSite`] can have a breakpoint.
pub const HAS_CALL_BREAKPOINTS: bool = true;

/// The register sets that a tracer can read and write and a core dump contains: name and number
/// (include/uapi/linux/elf.h).
pub const REGISTER_SETS: &[(&str, i32)] =
    &[("NT_PRSTATUS", 1), ("NT_PRFPREG", 2), ("NT_386_TLS", 0x200), ("NT_X86_XSTATE", 0x202)];

/// The byte ranges of the first two arguments of a call in an `NT_PRSTATUS` of this length. A task in 32-bit
/// code has the shorter form, `struct user_regs_struct32` (`task_user_regset_view()`).
#[must_use]
pub fn first_argument_ranges(instruction: CallInstruction, length: usize) -> [Range<usize>; 2] {
    const COMPAT_LENGTH: usize = 17 * 4;
    // The indices of ebx and ecx; of rdi and rsi; of rbx and rcx.
    let (indices, width) = match instruction {
        _ if length == COMPAT_LENGTH => ([0, 1], 4),
        CallInstruction::Native => ([14, 13], 8),
        CallInstruction::Compat | CallInstruction::CompatCode => ([5, 11], 8),
    };
    indices.map(|index| index * width..(index + 1) * width)
}

/// `struct user_regs_struct` (arch/x86/include/asm/user_64.h).
pub const PRSTATUS_REGISTERS: &[Part] = &[
    Part("r15", 8),
    Part("r14", 8),
    Part("r13", 8),
    Part("r12", 8),
    Part("bp", 8),
    Part("bx", 8),
    Part("r11", 8),
    Part("r10", 8),
    Part("r9", 8),
    Part("r8", 8),
    Part("ax", 8),
    Part("cx", 8),
    Part("dx", 8),
    Part("si", 8),
    Part("di", 8),
    Part("orig_ax", 8),
    Part("ip", 8),
    Part("cs", 8),
    Part("flags", 8),
    Part("sp", 8),
    Part("ss", 8),
    Part("fs_base", 8),
    Part("gs_base", 8),
    Part("ds", 8),
    Part("es", 8),
    Part("fs", 8),
    Part("gs", 8),
];

/// Indices of the words of `struct user` that only `PTRACE_PEEKUSER` reads: the debug registers (`u_debugreg`).
#[must_use]
pub fn debug_register_words() -> Range<u64> {
    106..114
}
