// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Watched calls in 32-bit code, and handlers with 32-bit signal frames, in a 64-bit program. Both are
//! entered through a page of 32-bit code below 4 GiB.

use super::watch::TRAP_FLAG;
use super::{Context, Reg};
use crate::arch::gates::symbol_address;
use crate::arch::{CpuState, FrameFormat};
use crate::sys;
use std::sync::atomic::{AtomicU32, Ordering};

unsafe extern "C" {
    fn sudbox_watch_code32_back();
    fn sudbox_watch_code32_stop_back();
    fn sudbox_watch_handler32();
    fn sudbox_compat_syscall(n: u32, a: u32, b: u32, c: u32, d: u32) -> i32;
    static sudbox_watch_code32_call_target: [AtomicU32; 2];
    static sudbox_watch_code32_stop_target: [AtomicU32; 2];
}

/// The address of the page of 32-bit code.
const CODE: u32 = 0x7000_0000;
/// Offsets in the page: a call, a call after a breakpoint, the entry of handlers, the return address of
/// handlers, and the structure of `rt_sigaction(2)`.
const CALL: u32 = 0;
const STOP: u32 = 0x40;
const HANDLER: u32 = 0x80;
const RESTORER: u32 = 0xc0;
const ACTION: u32 = 0x100;

/// Code segments of 32-bit and of 64-bit mode (arch/x86/include/asm/segment.h).
const USER32_CS: u32 = 0x23;
const USER_CS: u8 = 0x33;
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
    let word = |value: i32| u64::from(value.cast_unsigned());
    // SAFETY: with MAP_FIXED_NOREPLACE nothing is replaced.
    let page =
        unsafe { sys::mmap(&[CODE.into(), 4096, word(protection), word(flags), u64::MAX, 0]) }?;
    let int80 = [0xcd, 0x80];
    let int3_int80 = [0xcc, 0xcd, 0x80];
    let places = [
        (CALL, &int80[..], symbol_address(sudbox_watch_code32_back)),
        (STOP, &int3_int80[..], symbol_address(sudbox_watch_code32_stop_back)),
        (HANDLER, &[][..], symbol_address(sudbox_watch_handler32)),
    ];
    for (place, instructions, target) in places {
        let long = place + 0x10;
        let mut code = instructions.to_vec();
        // jmp 0x33:long
        code.push(0xea);
        code.extend_from_slice(&(CODE + long).to_le_bytes());
        code.extend_from_slice(&[USER_CS, 0]);
        code.resize(0x10, 0xcc);
        // jmp [rip + 2], since the flag of alignment checks may be set.
        code.extend_from_slice(&[0xff, 0x25, 2, 0, 0, 0, 0xcc, 0xcc]);
        code.extend_from_slice(&target.to_le_bytes());
        // SAFETY: the page is new and writable, and longer than the code.
        unsafe {
            let place = page.add(place as usize);
            std::ptr::copy_nonoverlapping(code.as_ptr(), place, code.len());
        }
    }
    // SAFETY: words that only this function writes.
    let targets = unsafe {
        [
            (&raw const sudbox_watch_code32_call_target, CODE + CALL),
            (&raw const sudbox_watch_code32_stop_target, CODE + STOP),
        ]
        .map(|(target, place)| (&*target, place))
    };
    for (target, place) in targets {
        target[0].store(place, Ordering::SeqCst);
        target[1].store(USER32_CS, Ordering::SeqCst);
    }
    Ok(())
}

/// The address of the call in 32-bit code, after a breakpoint or without one.
pub(super) fn call_in_compat_code(breakpoint: bool) -> u64 {
    // The breakpoint is one byte.
    u64::from(if breakpoint { CODE + STOP + 1 } else { CODE + CALL })
}

/// The return address in frames in [`FrameFormat::Compat`].
pub(super) const COMPAT_RESTORER: u32 = CODE + RESTORER;

/// Installs the recording handler with frames in [`FrameFormat::Compat`]. Returns whether the kernel
/// accepted it.
#[must_use]
pub fn set_compat_handler(signal: i32, flags: i32, mask: u64) -> bool {
    let [low, high] = [mask, mask >> 32].map(low_half);
    let action = [CODE + HANDLER, flags.cast_unsigned() | SA_RESTORER, COMPAT_RESTORER, low, high];
    let place = CODE + ACTION;
    // SAFETY: the page is mapped, and the handler is that of `watch.s`.
    unsafe {
        (place as usize as *mut [u32; 5]).write(action);
        sudbox_compat_syscall(COMPAT_SIGACTION, signal.cast_unsigned(), place, 0, 8) == 0
    }
}

/// Clears TF in a handler's frame, which ends the program's single-step traps.
///
/// # Safety
/// The frame must be the handler's own, and `state` the state at its entry.
pub unsafe fn clear_trap_flag(format: FrameFormat, state: &CpuState, context: *mut Context) {
    // SAFETY: by the contract of this function.
    unsafe {
        match format {
            FrameFormat::Native => (&mut (*context).registers)[Reg::Flags] &= !TRAP_FLAG,
            FrameFormat::Compat => {
                let context = compat_context(state);
                let flags = (context + SC_FLAGS as u64) as *mut u32;
                flags.write(flags.read() & !low_half(TRAP_FLAG));
            }
        }
    }
}

/// The offset of the flags in `struct sigcontext_32` (arch/x86/include/uapi/asm/sigcontext.h).
const SC_FLAGS: usize = 64;
/// The offset of `struct sigcontext_32` in `struct rt_sigframe_ia32` and `struct sigframe_ia32`
/// (arch/x86/include/asm/sigframe.h).
const RT_CONTEXT: usize = 164;
const PLAIN_CONTEXT: usize = 8;
/// The lengths of these structures.
const RT_LENGTH: usize = 268;
const PLAIN_LENGTH: usize = 732;
/// The length of the state in the format of `fsave` that comes before that of `fxsave` or `xsave`
/// (`struct fregs_state`).
pub(super) const FSAVE_LENGTH: u64 = 112;

/// The low half of a register.
pub(super) fn low_half(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Whether the handler has `SA_SIGINFO`: it then gets the address of the siginfo.
fn has_siginfo(state: &CpuState) -> bool {
    low_half(state.registers[Reg::Dx]) != 0
}

/// The address of the saved registers.
fn compat_context(state: &CpuState) -> u64 {
    let offset = if has_siginfo(state) { RT_CONTEXT } else { PLAIN_CONTEXT };
    state.registers[Reg::Sp] + offset as u64
}

/// A 32-bit frame, in the layout of a 64-bit one.
pub(super) struct CompatFrame {
    /// `struct rt_sigframe` with the values of the 32-bit frame. Registers that the frame lacks have their
    /// values at the entry of the handler.
    pub(super) native: [u8; super::FRAME_LENGTH],
    /// The first of [`DEVIATIONS`](super::DEVIATIONS), which are 0 in a correct frame.
    pub(super) deviations: [u64; 8],
    /// The offset of the mask's two halves in the frame.
    pub(super) mask: [usize; 2],
    /// Whether the frame has a context.
    pub(super) has_context: bool,
    /// The length of the frame without floating point state.
    pub(super) length: usize,
}

/// Writes values one after the other.
struct Writer {
    bytes: [u8; super::FRAME_LENGTH],
    at: usize,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn word(&mut self, value: u64) {
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
    let word =
        |at: usize| u32::from_ne_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let at = if with_siginfo { RT_CONTEXT } else { PLAIN_CONTEXT };
    let context = |offset: usize| u64::from(word(at + offset));
    // gs, fs, es, ds, di, si, bp, sp, bx, dx, cx, ax, trapno, err, ip, cs, flags, sp_at_signal, ss, fpstate,
    // oldmask, cr2: four bytes each.
    let low_mask = context(80);
    let high_mask = u64::from(word(length - 12)) << 32;
    let mask =
        if with_siginfo { u64::from(word(length - 16)) | high_mask } else { low_mask | high_mask };
    let mut native = Writer { bytes: [0; super::FRAME_LENGTH], at: 0 };
    let only_with_siginfo = |value: u32| if with_siginfo { u64::from(value) } else { 0 };
    native.word(crate::arch::restorer());
    // uc_flags, uc_link, uc_stack.
    for offset in [144, 148, 152, 156, 160] {
        native.word(only_with_siginfo(word(offset)));
    }
    for reg in [Reg::R8, Reg::R9, Reg::R10, Reg::R11, Reg::R12, Reg::R13, Reg::R14, Reg::R15] {
        native.word(state.registers[reg]);
    }
    // di, si, bp, bx, dx, ax, cx, sp, ip, flags.
    for offset in [16, 20, 24, 32, 36, 44, 40, 28, 56, 64] {
        native.word(context(offset));
    }
    // cs, gs, fs, ss.
    native.word(context(60) & 0xffff | context(0) << 16 | context(4) << 32 | context(72) << 48);
    // err, trapno, oldmask, cr2, fpstate.
    for value in [context(52), context(48), low_mask | high_mask, context(84), context(76)] {
        native.word(value);
    }
    native.at += 64;
    native.word(mask);
    let mut end_of_siginfo = [0; 8];
    if with_siginfo {
        // struct compat_siginfo has no padding, and an address of four bytes.
        let info = &frame[16..16 + 128];
        native.put(&info[..12]);
        native.at += 4;
        native.put(&info[12..16]);
        native.at += 4;
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
        u64::from(word(at + 68).wrapping_sub(word(at + 28))),
        u64::from(word(length - 8) ^ retcode[0]) | u64::from(word(length - 4) ^ retcode[1]) << 32,
        u64::from_ne_bytes(end_of_siginfo),
        // At the entry of a function the stack pointer is 4 below a multiple of 16.
        u64::from((start + 4) & 15),
    ];
    let mask = if with_siginfo { [length - 16, length - 12] } else { [at + 80, length - 12] };
    CompatFrame { native, deviations, mask, has_context: with_siginfo, length }
}

/// The code at the end of a frame (`ia32_setup_rt_frame()`, `ia32_setup_frame()`): `mov eax, 173; int 0x80`
/// and `pop eax; mov eax, 119; int 0x80`.
const RT_RETCODE: [u32; 2] =
    [u32::from_le_bytes([0xb8, 173, 0, 0]), u32::from_le_bytes([0, 0xcd, 0x80, 0])];
const PLAIN_RETCODE: [u32; 2] =
    [u32::from_le_bytes([0x58, 0xb8, 119, 0]), u32::from_le_bytes([0, 0, 0xcd, 0x80])];
