// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The deviations of a signal frame. Some values of a frame are known in advance or follow from other values:
//! pointers, sizes, constants and alignment. Each of them is recorded as its difference from the correct value,
//! so that a wrong value shows even if all frames have it.

use super::USER_CS;
use super::watch::{CpuState, XSAVE_HEADER, component_range};
use crate::arch::{FrameFormat, Part, Reg};

/// The deviations of a frame, eight bytes each. All are 0 in a correct frame.
pub const FRAME_DEVIATIONS: &[Part] = &[
    Part("return address", 8),
    Part("signal", 8),
    Part("address of the siginfo", 8),
    Part("address of the context", 8),
    // The difference of sp_at_signal to sp in a 32-bit frame; the result register of a 64-bit handler.
    Part("sp_at_signal, or the result register", 8),
    Part("retcode", 8),
    Part("end of the siginfo", 8),
    Part("alignment", 8),
    Part("uc_flags", 8),
    Part("bytes in the red zone", 8),
    Part("sw_reserved.magic1", 8),
    Part("sw_reserved.extended_size", 8),
    Part("sw_reserved.xfeatures", 8),
    Part("sw_reserved.xstate_size", 8),
    Part("magic2", 8),
    Part("x87 and SSE missing in xstate_bv", 8),
    Part("alignment of the floating point state", 8),
];

/// The values of `sw_reserved.magic1` and of the word after the state in the format of `xsave`
/// (arch/x86/include/uapi/asm/sigcontext.h).
pub(super) const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u64 = 0x4650_5845;
/// Offsets of `sw_reserved.magic1` and `sw_reserved.xstate_size` in the floating point state.
pub(super) const MAGIC1_OFFSET: usize = 464;
pub(super) const XSTATE_SIZE_OFFSET: usize = 480;

/// The number of [`FRAME_DEVIATIONS`].
pub(super) const DEVIATION_COUNT: usize = 17;

/// The number of deviations that depend on the format of the frame. These are the first ones.
pub(super) const FORMAT_DEVIATION_COUNT: usize = 8;

/// `struct rt_sigframe` (arch/x86/include/asm/sigframe.h): offsets of the context and of the siginfo.
const CONTEXT_OFFSET: u64 = 8;
const SIGINFO_OFFSET: u64 = 312;

/// The first deviations of a 64-bit frame, whose handler was entered with this state.
pub(super) fn native_format_deviations(
    state: &CpuState,
    return_address: u64,
) -> [u64; FORMAT_DEVIATION_COUNT] {
    let start = state.registers[Reg::Sp];
    let signal = state.registers[Reg::Di];
    [
        return_address.wrapping_sub(crate::arch::restorer()),
        u64::from(!(1..=64).contains(&signal)),
        state.registers[Reg::Si].wrapping_sub(start + SIGINFO_OFFSET),
        state.registers[Reg::Dx].wrapping_sub(start + CONTEXT_OFFSET),
        state.registers[Reg::Ax],
        // A 64-bit frame has no retcode, and its whole siginfo is recorded with the frame.
        0,
        0,
        // At the entry of a function the stack pointer is 8 below a multiple of 16.
        (start + 8) & 15,
    ]
}

/// The correct value of `uc_flags` (arch/x86/include/uapi/asm/ucontext.h, `frame_uc_flags()`):
/// `UC_FP_XSTATE`; in a 64-bit frame also `UC_SIGCONTEXT_SS` and, if the code segment is that of 64-bit
/// code, `UC_STRICT_RESTORE_SS`.
fn correct_uc_flags(format: FrameFormat, code_segment: u16) -> u64 {
    match format {
        FrameFormat::Compat => 1,
        FrameFormat::Native if code_segment == USER_CS => 7,
        FrameFormat::Native => 3,
    }
}

/// The values of a frame from which [`state_deviations`] computes the deviations.
pub(super) struct StateInFrame {
    pub(super) format: FrameFormat,
    /// The address of the frame.
    pub(super) start: u64,
    /// The program's stack pointer.
    pub(super) stack: u64,
    pub(super) code_segment: u16,
    /// `None` if the frame has no context.
    pub(super) uc_flags: Option<u64>,
    /// The address of the state that `xsave` wrote.
    pub(super) floating: u64,
    /// The length in bytes of the `fsave` state right before `floating`.
    pub(super) fsave_length: u64,
}

/// The deviations of the floating point state, of `uc_flags` and of the frame's distance from the stack
/// pointer.
///
/// # Safety
/// The state must be readable.
pub(super) unsafe fn state_deviations(
    frame: &StateInFrame,
) -> [u64; DEVIATION_COUNT - FORMAT_DEVIATION_COUNT] {
    let word = |offset: u64| {
        let address = (frame.floating + offset) as *const u32;
        // SAFETY: by the contract of this function.
        u64::from(unsafe { address.read_unaligned() })
    };
    let double_word = |offset: u64| word(offset) | word(offset + 4) << 32;
    let features = default_user_features();
    let size = standard_format_size(features);
    let end = frame.floating + size + 4;
    let red_zone = if frame.format == FrameFormat::Native { 128 } else { 0 };
    // Otherwise the frame is on another stack than the program's.
    let is_on_program_stack = frame.stack.wrapping_sub(frame.start) < 1 << 16;
    let overlap =
        if is_on_program_stack { (end + red_zone).saturating_sub(frame.stack) } else { 0 };
    let expected_flags = correct_uc_flags(frame.format, frame.code_segment);
    [
        frame.uc_flags.map_or(0, |flags| flags ^ expected_flags),
        overlap,
        // The fields of `struct _fpx_sw_bytes`, from byte 464 of the state on: magic1, extended_size,
        // xfeatures, xstate_size.
        word(MAGIC1_OFFSET as u64) ^ u64::from(FP_XSTATE_MAGIC1),
        word(468) ^ (size + 4 + frame.fsave_length),
        double_word(472) ^ features,
        word(XSTATE_SIZE_OFFSET as u64) ^ size,
        word(size) ^ FP_XSTATE_MAGIC2,
        // The header begins with xstate_bv, whose bits 0 and 1 are x87 and SSE.
        !word(XSAVE_HEADER as u64) & 3,
        frame.floating % 64,
    ]
}

/// The XSAVE components of a program that has not asked for dynamic ones (AMX):
/// `fpu_user_cfg.default_features`.
fn default_user_features() -> u64 {
    const AMX_COMPONENTS: u32 = 3 << 17;
    let low: u32;
    // SAFETY: watched calls need the CPU feature `xsave`, which includes `xgetbv`.
    unsafe { std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _) };
    u64::from(low & !AMX_COMPONENTS)
}

/// The size of an XSAVE area of the standard format with these features, in bytes.
fn standard_format_size(features: u64) -> u64 {
    let ends =
        (2..32).filter(|index| features & 1 << index != 0).map(|index| component_range(index).end);
    ends.max().unwrap_or(XSAVE_HEADER + 64).max(XSAVE_HEADER + 64) as u64
}
