// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The layout of a signal frame and of the floating point state in it.

use super::frame_deviations::{self, FP_XSTATE_MAGIC1, StateInFrame};
use super::watch::{
    CpuState, Floating, PKRU_COMPONENT, XSAVE_HEADER, component_range, supported_components,
};
use super::watch_compat::{FSAVE_LENGTH, low_half, read_compat_frame};
use crate::arch::{FrameFormat, Part, Reg, Registers};
use std::sync::OnceLock;

/// `struct rt_sigframe` (arch/x86/include/asm/sigframe.h).
pub const SIGNAL_FRAME: &[Part] = &[
    Part("pretcode", 8),
    Part("uc_flags", 8),
    Part("uc_link", 8),
    Part("uc_stack.ss_sp", 8),
    Part("uc_stack.ss_flags", 4),
    Part("padding after ss_flags", 4),
    Part("uc_stack.ss_size", 8),
    Part("r8", 8),
    Part("r9", 8),
    Part("r10", 8),
    Part("r11", 8),
    Part("r12", 8),
    Part("r13", 8),
    Part("r14", 8),
    Part("r15", 8),
    Part("di", 8),
    Part("si", 8),
    Part("bp", 8),
    Part("bx", 8),
    Part("dx", 8),
    Part("ax", 8),
    Part("cx", 8),
    Part("sp", 8),
    Part("ip", 8),
    Part("flags", 8),
    Part("cs", 2),
    Part("gs", 2),
    Part("fs", 2),
    Part("ss", 2),
    Part("err", 8),
    Part("trapno", 8),
    Part("oldmask", 8),
    Part("cr2", 8),
    Part("fpstate", 8),
    Part("reserved1", 64),
    Part("uc_sigmask", 8),
    Part("si_signo", 4),
    Part("si_errno", 4),
    Part("si_code", 4),
    Part("padding after si_code", 4),
    Part("si_call_addr", 8),
    Part("si_syscall", 4),
    Part("si_arch", 4),
    Part("rest of siginfo", 96),
];

/// The length of [`SIGNAL_FRAME`] in bytes.
pub const FRAME_LENGTH: usize = 440;
/// The offset of the general registers in the frame.
const FRAME_REGISTERS: usize = 48;
/// The offset of the segment registers in the frame: cs, gs, fs, ss.
const FRAME_SEGMENTS: usize = FRAME_REGISTERS + 18 * 8;
/// The offset of the address of the floating point state in the frame.
const FRAME_FLOATING: usize = 48 + 18 * 8 + 8 + 4 * 8;
/// The offset of the mask in the frame.
const FRAME_MASK: usize = FRAME_FLOATING + 8 + 64;

/// `struct _xstate` (arch/x86/include/uapi/asm/sigcontext.h), the legacy format first.
const LEGACY: &[Part] = &[
    Part("x87 control", 2),
    Part("x87 status", 2),
    Part("x87 tags", 2),
    Part("x87 opcode", 2),
    Part("x87 instruction pointer", 8),
    Part("x87 data pointer", 8),
    Part("mxcsr", 4),
    Part("mxcsr mask", 4),
    Part("x87 registers", 128),
    Part("xmm registers", 256),
    Part("reserved bytes", 48),
    Part("sw_reserved.magic1", 4),
    Part("sw_reserved.extended_size", 4),
    Part("sw_reserved.xfeatures", 8),
    Part("sw_reserved.xstate_size", 4),
    Part("sw_reserved.padding", 28),
    Part("xstate_bv", 8),
    Part("xcomp_bv", 8),
    Part("reserved header", 48),
    Part("ymm registers, upper halves", 256),
];

/// The layout of the floating point state: [`LEGACY`], then the further components of this CPU.
#[must_use]
pub fn floating_parts() -> &'static [Part] {
    static PARTS: OnceLock<Vec<Part>> = OnceLock::new();
    PARTS.get_or_init(|| {
        let names = [
            (5, "opmask registers"),
            (6, "zmm registers, upper halves"),
            (7, "zmm registers 16 to 31"),
            (PKRU_COMPONENT, "pkru"),
        ];
        let supported =
            names.into_iter().filter(|(index, _)| supported_components() & 1 << index != 0);
        let mut components: Vec<_> =
            supported.map(|(index, name)| (component_range(index), name)).collect();
        components.sort_by_key(|(range, _)| range.start);
        let mut parts = LEGACY.to_vec();
        let mut offset: usize = LEGACY.iter().map(|Part(_, length)| length).sum();
        for (range, name) in components {
            parts.push(Part("other components", range.start.saturating_sub(offset)));
            parts.push(Part(name, range.len()));
            offset = range.end;
        }
        parts
    })
}

/// The signal frame of a handler.
#[derive(Debug)]
pub struct Frame {
    /// The content of the frame, laid out as [`SIGNAL_FRAME`]. A 32-bit frame lacks some of these fields:
    /// registers then have their values at the entry of the handler, and other fields are 0.
    pub bytes: [u8; FRAME_LENGTH],
    /// The address of the frame.
    start: u64,
    /// The length of the frame without its floating point state.
    length: usize,
    /// The number of bytes from the address in `fpstate` to the state in the format of `xsave`.
    floating_offset: u64,
    /// The offsets of the low and the high half of the mask that sigreturn restores.
    mask: [usize; 2],
    /// [`FRAME_DEVIATIONS`](super::FRAME_DEVIATIONS)
    deviations: [u64; frame_deviations::DEVIATION_COUNT],
}

impl Frame {
    /// Copies the frame of a handler that was entered with this stack pointer.
    ///
    /// # Safety
    /// The handler must not have returned.
    #[must_use]
    pub unsafe fn copy_of(
        format: FrameFormat,
        state: &CpuState,
        _: *const [u8; 128],
        _: *const super::UserContext,
    ) -> Frame {
        let start = state.registers[Reg::Sp];
        let mut frame = Frame {
            bytes: [0; FRAME_LENGTH],
            start,
            length: FRAME_LENGTH,
            floating_offset: 0,
            mask: [FRAME_MASK, FRAME_MASK + 4],
            deviations: [0; frame_deviations::DEVIATION_COUNT],
        };
        let (format_deviations, state_deviations) =
            frame.deviations.split_at_mut(frame_deviations::FORMAT_DEVIATION_COUNT);
        let mut has_uc_flags = true;
        // SAFETY: by the contract of this function.
        unsafe {
            match format {
                FrameFormat::Native => {
                    frame.bytes = *(start as *const [u8; FRAME_LENGTH]);
                    let return_address = (start as *const u64).read_unaligned();
                    format_deviations.copy_from_slice(&frame_deviations::native_format_deviations(
                        state,
                        return_address,
                    ));
                }
                FrameFormat::Compat => {
                    let compat = read_compat_frame(state);
                    frame.bytes = compat.native;
                    format_deviations.copy_from_slice(&compat.deviations);
                    frame.mask = compat.mask;
                    has_uc_flags = compat.has_context;
                    frame.length = compat.length;
                    frame.floating_offset = FSAVE_LENGTH;
                }
            }
            let word = |offset: usize| {
                u64::from_ne_bytes(std::array::from_fn(|i| frame.bytes[offset + i]))
            };
            let code_segment =
                u16::from_ne_bytes(std::array::from_fn(|i| frame.bytes[FRAME_SEGMENTS + i]));
            let floating = word(FRAME_FLOATING);
            if floating != 0 {
                let state_in_frame = StateInFrame {
                    format,
                    start,
                    stack: word(FRAME_REGISTERS + 8 * Reg::Sp as usize),
                    code_segment,
                    uc_flags: has_uc_flags.then(|| word(8)),
                    floating: floating + frame.floating_offset,
                    fsave_length: frame.floating_offset,
                };
                state_deviations
                    .copy_from_slice(&frame_deviations::state_deviations(&state_in_frame));
            }
        }
        frame
    }

    /// Changes the mask and the floating point state in the frame. Returns the floating point state
    /// that the handler's return then restores.
    ///
    /// # Safety
    /// The handler must not have returned, and nothing else may use its frame.
    #[must_use]
    pub unsafe fn edit(&self, mask: u64) -> Option<Floating> {
        let floating = u64::from_ne_bytes(std::array::from_fn(|i| self.bytes[FRAME_FLOATING + i]));
        // SAFETY: by the contract of this function.
        unsafe {
            for (offset, half) in self.mask.into_iter().zip([mask, mask >> 32]) {
                ((self.start + offset as u64) as *mut u32).write_unaligned(low_half(half));
            }
            Some(edit_state((floating + self.floating_offset) as *mut u8))
        }
    }

    /// The signal mask that the handler's return restores.
    #[must_use]
    pub fn mask(&self) -> u64 {
        u64::from_ne_bytes(std::array::from_fn(|i| self.bytes[FRAME_MASK + i]))
    }

    /// Differences between values of the frame and their correct values; all are 0 in a correct frame.
    #[must_use]
    pub fn deviations(&self) -> &[u8] {
        let (start, length) = (self.deviations.as_ptr(), size_of_val(&self.deviations));
        // SAFETY: the array consists of integers, which have no padding.
        unsafe { std::slice::from_raw_parts(start.cast(), length) }
    }

    /// The general registers in the frame.
    #[must_use]
    pub fn registers(&self) -> Registers {
        let (words, _) = self.bytes[FRAME_REGISTERS..].as_chunks::<8>();
        Registers::from_values(std::array::from_fn(|i| u64::from_ne_bytes(words[i])))
    }

    /// Replaces the general registers in the copy.
    pub fn set_registers(&mut self, registers: &Registers) {
        let slots = self.bytes[FRAME_REGISTERS..].as_chunks_mut::<8>().0;
        for (slot, value) in slots.iter_mut().zip(registers.values()) {
            *slot = value.to_ne_bytes();
        }
    }

    /// Splits the memory that holds the frame into four parts: below the frame, between the frame
    /// and its floating point state, the floating point state, and above. `None` if the frame is
    /// not in this memory.
    #[must_use]
    pub fn split_area<'a>(&self, area: &'a [u8]) -> Option<[&'a [u8]; 4]> {
        let start = usize::try_from(self.start).ok()?.checked_sub(area.as_ptr() as usize)?;
        let floating = u64::from_ne_bytes(std::array::from_fn(|i| self.bytes[FRAME_FLOATING + i]));
        let floating = floating.checked_add(self.floating_offset)?;
        let floating = usize::try_from(floating).ok()?.checked_sub(area.as_ptr() as usize)?;
        let end = start + self.length;
        let state = area.get(floating..)?;
        let word = |offset: usize| {
            let bytes = state.get(offset..offset + 4)?;
            Some(u32::from_ne_bytes(std::array::from_fn(|i| bytes[i])))
        };
        let has_xsave_format = word(frame_deviations::MAGIC1_OFFSET)? == FP_XSTATE_MAGIC1;
        // FP_XSTATE_MAGIC2, four bytes long, follows a state in this format.
        let length = if has_xsave_format {
            word(frame_deviations::XSTATE_SIZE_OFFSET)? as usize + 4
        } else {
            XSAVE_HEADER
        };
        Some([
            area.get(..start)?,
            area.get(end..floating)?,
            state.get(..length)?,
            state.get(length..)?,
        ])
    }
}

/// The bits of SSE and AVX in `xstate_bv`.
const SSE_BIT: u64 = 1 << 1;
const AVX_BIT: u64 = 1 << 2;

/// Changes MXCSR, the SSE registers and the upper halves of the AVX registers in a state that
/// `xsave` wrote. Returns the changed state.
///
/// # Safety
/// The state must be writable, and nothing else may use it.
unsafe fn edit_state(state: *mut u8) -> Floating {
    // SAFETY: by the contract of this function; the components follow the header.
    unsafe {
        // MXCSR: rounds down, all exceptions masked.
        state.add(24).cast::<u32>().write_unaligned(0x3f80);
        // The XMM registers.
        for offset in 160..416 {
            state.add(offset).write(!state.add(offset).read());
        }
        let xstate_bv = state.add(XSAVE_HEADER).cast::<u64>();
        let mut present = xstate_bv.read_unaligned() | SSE_BIT;
        if supported_components() & AVX_BIT != 0 {
            for offset in component_range(AVX_BIT.trailing_zeros()) {
                // The memory of a component that is not present has no defined content.
                let byte = if present & AVX_BIT != 0 { !state.add(offset).read() } else { 0x3c };
                state.add(offset).write(byte);
            }
            present |= AVX_BIT;
        }
        xstate_bv.write_unaligned(present);
        Floating::stored_at(state)
    }
}
