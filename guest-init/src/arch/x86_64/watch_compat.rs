// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Watched calls in 32-bit code, and handlers with 32-bit signal frames, in a 64-bit program. Both
//! are entered through a page of 32-bit code below 4 GiB.

use super::{FLAG_TRAP, Reg, USER_CS, USER32_CS, UserContext};
use crate::arch::gates::symbol_address;
use crate::arch::{CpuState, FrameFormat};
use crate::sys;
use std::sync::atomic::{AtomicU32, Ordering};

unsafe extern "C" {
    fn sudbox_watch_code32_back();
    fn sudbox_watch_code32_stop_back();
    fn sudbox_watch_handler32();
    fn sudbox_compat_syscall(number: u32, a: u32, b: u32, c: u32, d: u32) -> i32;
    static sudbox_watch_code32_call_target: [AtomicU32; 2];
    static sudbox_watch_code32_stop_target: [AtomicU32; 2];
}

/// The address of the page of 32-bit code.
const CODE_PAGE: u32 = 0x7000_0000;
/// Offsets in the page: a system call instruction, the same after a breakpoint, the entry of handlers, the
/// return address of handlers, and the structure for `rt_sigaction(2)`.
const CALL_OFFSET: u32 = 0;
const BREAKPOINT_CALL_OFFSET: u32 = 0x40;
const HANDLER_OFFSET: u32 = 0x80;
const RESTORER_OFFSET: u32 = 0xc0;
const SIGACTION_OFFSET: u32 = 0x100;

/// `rt_sigaction` in the table of `int 0x80` (arch/x86/entry/syscalls/syscall_32.tbl).
const COMPAT_SIGACTION: u32 = 174;
/// `SA_RESTORER` (arch/x86/include/uapi/asm/signal.h).
const SA_RESTORER: u32 = 0x0400_0000;

/// Whether this architecture has frames in [`FrameFormat::Compat`] and calls in 32-bit code.
pub const HAS_COMPAT_CODE: bool = true;

/// Prepares calls in 32-bit code, and handlers with frames in [`FrameFormat::Compat`].
///
/// # Errors
/// The error of `mmap(2)`.
pub fn map_compat_code() -> sys::Result<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let [protection, flags] = [protection, flags].map(|value| u64::from(value.cast_unsigned()));
    // SAFETY: MAP_FIXED_NOREPLACE replaces no mapping.
    let page = unsafe { sys::mmap(&[CODE_PAGE.into(), 4096, protection, flags, u64::MAX, 0]) }?;
    let int80 = [0xcd, 0x80];
    let int3_int80 = [0xcc, 0xcd, 0x80];
    // The 32-bit instructions at each offset, and the 64-bit code to which they continue.
    let entries = [
        (CALL_OFFSET, &int80[..], symbol_address(sudbox_watch_code32_back)),
        (BREAKPOINT_CALL_OFFSET, &int3_int80[..], symbol_address(sudbox_watch_code32_stop_back)),
        (HANDLER_OFFSET, &[][..], symbol_address(sudbox_watch_handler32)),
    ];
    for (offset, instructions, target) in entries {
        let code64_offset = offset + 0x10;
        let mut code = instructions.to_vec();
        // A far jump to the 64-bit code at `code64_offset`: jmp 0x33:address.
        code.push(0xea);
        code.extend_from_slice(&(CODE_PAGE + code64_offset).to_le_bytes());
        code.extend_from_slice(&USER_CS.to_le_bytes());
        code.resize(0x10, 0xcc);
        // jmp [rip + 2]. The word with the address is aligned, since the program may run with AC set.
        code.extend_from_slice(&[0xff, 0x25, 2, 0, 0, 0, 0xcc, 0xcc]);
        code.extend_from_slice(&target.to_le_bytes());
        // SAFETY: the page is new and writable, and longer than the code.
        unsafe {
            let destination = page.add(offset as usize);
            std::ptr::copy_nonoverlapping(code.as_ptr(), destination, code.len());
        }
    }
    // The operands of the far jumps of `watch.s`: address and code segment.
    // SAFETY: words that only this function writes.
    let far_pointers = unsafe {
        [
            (&raw const sudbox_watch_code32_call_target, CODE_PAGE + CALL_OFFSET),
            (&raw const sudbox_watch_code32_stop_target, CODE_PAGE + BREAKPOINT_CALL_OFFSET),
        ]
        .map(|(pointer, address)| (&*pointer, address))
    };
    for (pointer, address) in far_pointers {
        pointer[0].store(address, Ordering::SeqCst);
        pointer[1].store(USER32_CS.into(), Ordering::SeqCst);
    }
    Ok(())
}

/// The address of the system call instruction in 32-bit code: of the instruction after the breakpoint, or of
/// the one without a breakpoint.
pub(super) fn call_in_compat_code(has_breakpoint: bool) -> u64 {
    // The breakpoint is one byte.
    u64::from(if has_breakpoint {
        CODE_PAGE + BREAKPOINT_CALL_OFFSET + 1
    } else {
        CODE_PAGE + CALL_OFFSET
    })
}

/// The return address in frames in [`FrameFormat::Compat`].
pub(super) const COMPAT_RESTORER: u32 = CODE_PAGE + RESTORER_OFFSET;

/// Installs the recording handler with frames in [`FrameFormat::Compat`]. Returns whether the
/// kernel accepted the handler.
#[must_use]
pub fn install_compat_recording_handler(signal: i32, flags: i32, mask: u64) -> bool {
    let [low, high] = [mask, mask >> 32].map(low_half);
    let action = [
        CODE_PAGE + HANDLER_OFFSET,
        flags.cast_unsigned() | SA_RESTORER,
        COMPAT_RESTORER,
        low,
        high,
    ];
    let address = CODE_PAGE + SIGACTION_OFFSET;
    // SAFETY: the page is mapped, and the handler is that of `watch.s`.
    unsafe {
        (address as usize as *mut [u32; 5]).write(action);
        sudbox_compat_syscall(COMPAT_SIGACTION, signal.cast_unsigned(), address, 0, 8) == 0
    }
}

/// Clears TF in a handler's frame, which ends the program's single-step traps.
///
/// # Safety
/// The frame must be the handler's own, and `state` the state at its entry.
pub unsafe fn clear_trap_flag(format: FrameFormat, state: &CpuState, context: *mut UserContext) {
    // SAFETY: by the contract of this function.
    unsafe {
        match format {
            FrameFormat::Native => (&mut (*context).registers)[Reg::Flags] &= !FLAG_TRAP,
            FrameFormat::Compat => {
                let context = compat_context(state);
                let flags = (context + SC_FLAGS as u64) as *mut u32;
                flags.write(flags.read() & !low_half(FLAG_TRAP));
            }
        }
    }
}

/// The offset of the flags in `struct sigcontext_32` (arch/x86/include/uapi/asm/sigcontext.h).
const SC_FLAGS: usize = 64;
/// The offset of `struct sigcontext_32` in `struct rt_sigframe_ia32` and `struct sigframe_ia32`
/// (arch/x86/include/asm/sigframe.h).
const RT_CONTEXT_OFFSET: usize = 164;
const PLAIN_CONTEXT_OFFSET: usize = 8;
/// The lengths of `struct rt_sigframe_ia32` and `struct sigframe_ia32` in bytes.
const RT_LENGTH: usize = 268;
const PLAIN_LENGTH: usize = 732;
/// The length in bytes of the state in the format of `fsave` (`struct fregs_state`), which a 32-bit
/// frame has before the state in the format of `fxsave` or `xsave`.
pub(super) const FSAVE_LENGTH: u64 = 112;

/// The low half of a register.
pub(super) fn low_half(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Whether the handler has `SA_SIGINFO`. Only such a handler gets the address of the siginfo.
fn has_siginfo(state: &CpuState) -> bool {
    low_half(state.registers[Reg::Dx]) != 0
}

/// The address of `struct sigcontext_32`, the saved registers, in a handler's frame.
fn compat_context(state: &CpuState) -> u64 {
    let offset = if has_siginfo(state) { RT_CONTEXT_OFFSET } else { PLAIN_CONTEXT_OFFSET };
    state.registers[Reg::Sp] + offset as u64
}

/// The content of a 32-bit frame, in the layout of a 64-bit frame.
pub(super) struct CompatFrame {
    /// `struct rt_sigframe` with the values of the 32-bit frame. Registers that the frame lacks
    /// have their values at the entry of the handler.
    pub(super) native: [u8; super::FRAME_LENGTH],
    /// The first eight of [`FRAME_DEVIATIONS`](super::FRAME_DEVIATIONS), which are 0 in a correct
    /// frame.
    pub(super) deviations: [u64; 8],
    /// The offset of the mask's two halves in the frame.
    pub(super) mask: [usize; 2],
    /// Whether the frame has a `struct ucontext_ia32`: only with `SA_SIGINFO`.
    pub(super) has_context: bool,
    /// The length of the frame without floating point state.
    pub(super) length: usize,
}

/// Writes values one after the other to a frame in 64-bit layout.
struct Writer {
    bytes: [u8; super::FRAME_LENGTH],
    position: usize,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.position..self.position + bytes.len()].copy_from_slice(bytes);
        self.position += bytes.len();
    }

    fn put_word(&mut self, value: u64) {
        self.put(&value.to_ne_bytes());
    }
}

/// Reads the frame of a handler that was entered with this state.
///
/// # Safety
/// The handler must not have returned.
pub(super) unsafe fn read_compat_frame(state: &CpuState) -> CompatFrame {
    let start = state.registers[Reg::Sp];
    let with_siginfo = has_siginfo(state);
    let length = if with_siginfo { RT_LENGTH } else { PLAIN_LENGTH };
    // SAFETY: by the contract of this function.
    let frame = unsafe { std::slice::from_raw_parts(start as *const u8, length) };
    let word = |offset: usize| u32::from_ne_bytes(std::array::from_fn(|i| frame[offset + i]));
    let context_start = if with_siginfo { RT_CONTEXT_OFFSET } else { PLAIN_CONTEXT_OFFSET };
    let context = |offset: usize| u64::from(word(context_start + offset));
    // The fields of `struct sigcontext_32`, four bytes each: gs, fs, es, ds, di, si, bp, sp, bx, dx, cx, ax,
    // trapno, err, ip, cs, flags, sp_at_signal, ss, fpstate, oldmask, cr2. The frame ends with the mask (or
    // its high half) and eight bytes of code.
    let low_mask = context(80);
    let high_mask = u64::from(word(length - 12)) << 32;
    let mask =
        if with_siginfo { u64::from(word(length - 16)) | high_mask } else { low_mask | high_mask };
    let mut native = Writer { bytes: [0; super::FRAME_LENGTH], position: 0 };
    let only_with_siginfo = |value: u32| if with_siginfo { u64::from(value) } else { 0 };
    native.put_word(crate::arch::restorer());
    // uc_flags, uc_link, uc_stack.
    for offset in [144, 148, 152, 156, 160] {
        native.put_word(only_with_siginfo(word(offset)));
    }
    for reg in [Reg::R8, Reg::R9, Reg::R10, Reg::R11, Reg::R12, Reg::R13, Reg::R14, Reg::R15] {
        native.put_word(state.registers[reg]);
    }
    // di, si, bp, bx, dx, ax, cx, sp, ip, flags.
    for offset in [16, 20, 24, 32, 36, 44, 40, 28, 56, 64] {
        native.put_word(context(offset));
    }
    // cs, gs, fs, ss.
    native.put_word(context(60) & 0xffff | context(0) << 16 | context(4) << 32 | context(72) << 48);
    // err, trapno, oldmask, cr2, fpstate.
    for value in [context(52), context(48), low_mask | high_mask, context(84), context(76)] {
        native.put_word(value);
    }
    native.position += 64;
    native.put_word(mask);
    let mut end_of_siginfo = [0; 8];
    if with_siginfo {
        // `struct compat_siginfo` has no padding, and its address has four bytes.
        let info = &frame[16..16 + 128];
        native.put(&info[..12]);
        native.position += 4;
        native.put(&info[12..16]);
        native.position += 4;
        native.put(&info[16..120]);
        end_of_siginfo.copy_from_slice(&info[120..]);
    }
    let native = native.bytes;
    let start = low_half(start);
    let signal = low_half(state.registers[Reg::Ax]);
    let (info, context_address, retcode) = if with_siginfo {
        (word(8).wrapping_sub(start + 16), word(12).wrapping_sub(start + 144), RT_RETCODE)
    } else {
        (0, 0, PLAIN_RETCODE)
    };
    let deviations = [
        u64::from(word(0).wrapping_sub(COMPAT_RESTORER)),
        u64::from(word(4).wrapping_sub(signal)),
        u64::from(info),
        u64::from(context_address),
        u64::from(word(context_start + 68).wrapping_sub(word(context_start + 28))),
        u64::from(word(length - 8) ^ retcode[0]) | u64::from(word(length - 4) ^ retcode[1]) << 32,
        u64::from_ne_bytes(end_of_siginfo),
        // At the entry of a function the stack pointer is 4 below a multiple of 16.
        u64::from((start + 4) & 15),
    ];
    let mask =
        if with_siginfo { [length - 16, length - 12] } else { [context_start + 80, length - 12] };
    CompatFrame { native, deviations, mask, has_context: with_siginfo, length }
}

/// The code at the end of a frame: `mov eax, 173; int 0x80` (`ia32_setup_rt_frame()`) and `pop eax;
/// mov eax, 119; int 0x80` (`ia32_setup_frame()`).
const RT_RETCODE: [u32; 2] =
    [u32::from_le_bytes([0xb8, 173, 0, 0]), u32::from_le_bytes([0, 0xcd, 0x80, 0])];
const PLAIN_RETCODE: [u32; 2] =
    [u32::from_le_bytes([0x58, 0xb8, 119, 0]), u32::from_le_bytes([0, 0, 0xcd, 0x80])];
