// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Watched calls on architectures without assembly for them. A watched call returns the general
//! registers and the floating point state after the call; the handler can copy its signal frame.
//! Call and handler run on the caller's stack.

use super::{
    CallInstruction, FloatState, FrameFormat, Part, Reg, Registers, UserContext, WatchedCallSite,
    issue_with_floats,
};
use crate::case::Need;
use std::ops::Range;

/// The floating point state to load before a call.
pub type Floating = FloatState;

/// The requirements of watched calls on the machine.
pub const WATCH_NEEDS: &[Need] = &[];
/// Processor flags that a program can set without effect on its further instructions.
pub const HARMLESS_FLAGS: u64 = super::SETTABLE_FLAGS;
/// The flag with which every instruction is followed by a SIGTRAP: there is none.
pub const TRAP_FLAG: u64 = 0;
/// Whether calls and handlers can run on a stack that the caller chooses.
pub const CAN_CHOOSE_STACK: bool = false;

/// The CPU state at one moment.
#[derive(Clone, Debug)]
pub struct CpuState {
    /// General registers and flags; zero at the entry of a handler.
    pub registers: Registers,
    floating: Option<FloatState>,
}

impl CpuState {
    /// The segment registers: there are none.
    #[must_use]
    pub fn segments(&self) -> &[u8] {
        &[]
    }

    /// The floating point state; empty at the entry of a handler.
    #[must_use]
    pub fn floating(&self) -> &[u8] {
        self.floating.as_ref().map_or(&[], FloatState::bytes)
    }
}

/// Issues a call with these registers, except the stack pointer, and this floating point state.
/// Returns the state after the call.
///
/// # Safety
/// Always safe on this architecture.
#[must_use]
pub unsafe fn watched_call(
    _: WatchedCallSite,
    registers: &Registers,
    floating: &Floating,
) -> CpuState {
    let (registers, floating) = issue_with_floats(registers, floating);
    CpuState { registers, floating: Some(floating) }
}

/// The state at the entry of the handler: empty, since this state is not recorded on this architecture.
#[must_use]
pub fn state_at_handler_entry() -> CpuState {
    CpuState { registers: Registers::default(), floating: None }
}

/// The compared address of a watched call: the address after the system call instruction.
#[must_use]
pub fn watched_call_compared_address(_: WatchedCallSite) -> u64 {
    super::float_call_address() + super::CALL_LENGTH
}

/// The address range of watched calls.
#[must_use]
pub fn watched_call_range() -> Range<u64> {
    super::float_call_address()..watched_call_compared_address(WatchedCallSite {
        instruction: CallInstruction::Native,
        has_breakpoint: false,
    }) + 1
}

unsafe extern "C" {
    /// The Rust part of the handler, in `compare`.
    fn sudbox_record_signal(signal: i32, info: *const [u8; 128], context: *mut UserContext);
}

/// The address of a handler that calls `sudbox_record_signal` with its arguments.
#[must_use]
pub fn recording_handler() -> u64 {
    sudbox_record_signal as *const () as u64
}

const CONTEXT_LENGTH: usize = size_of::<UserContext>();

/// The layout of a [`Frame`]: siginfo, then `struct ucontext` up to the mask or the registers,
/// whichever comes last.
pub const SIGNAL_FRAME: &[Part] = &[
    Part("si_signo", 4),
    Part("si_errno", 4),
    Part("si_code", 4),
    Part("padding after si_code", 4),
    Part("si_call_addr", 8),
    Part("si_syscall", 4),
    Part("si_arch", 4),
    Part("rest of siginfo", 96),
    Part("uc_flags", 8),
    Part("uc_link", 8),
    Part("uc_stack.ss_sp", 8),
    Part("uc_stack.ss_flags", 8),
    Part("uc_stack.ss_size", 8),
];

/// The layout of the floating point state: its parts have no names.
#[must_use]
pub fn floating_parts() -> &'static [Part] {
    &[]
}

/// Empty: the size of signal frames does not depend on the CPU, or no comparison observes frames.
#[must_use]
pub fn floating_state_layout() -> String {
    String::new()
}

/// The signal frame of a handler.
#[derive(Debug)]
pub struct Frame {
    /// A copy of the frame, laid out as [`SIGNAL_FRAME`].
    pub bytes: [u8; 128 + CONTEXT_LENGTH],
}

const REGISTERS_OFFSET: usize = 128 + std::mem::offset_of!(UserContext, registers);

impl Frame {
    /// Copies the frame of a handler with these arguments.
    ///
    /// # Safety
    /// The arguments must be those of a handler that has not returned.
    #[must_use]
    pub unsafe fn copy_of(
        _: FrameFormat,
        _: &CpuState,
        info: *const [u8; 128],
        context: *const UserContext,
    ) -> Frame {
        let mut bytes = [0; 128 + CONTEXT_LENGTH];
        // SAFETY: by the contract of this function.
        unsafe {
            bytes[..128].copy_from_slice(&*info);
            bytes[128..].copy_from_slice(&*context.cast::<[u8; CONTEXT_LENGTH]>());
        }
        Frame { bytes }
    }

    /// The signal mask that the handler's return restores.
    #[must_use]
    pub fn mask(&self) -> u64 {
        let offset = 128 + std::mem::offset_of!(UserContext, mask);
        u64::from_ne_bytes(std::array::from_fn(|i| self.bytes[offset + i]))
    }

    /// Does nothing: on this architecture the layout of the floating point state in the frame is not known.
    ///
    /// # Safety
    /// Always safe on this architecture.
    #[must_use]
    pub unsafe fn edit(&self, _: u64) -> Option<Floating> {
        None
    }

    /// Differences between values of the frame and their correct values: none are known on this
    /// architecture.
    #[must_use]
    pub fn deviations(&self) -> &[u8] {
        &[]
    }

    /// The general registers in the frame.
    #[must_use]
    pub fn registers(&self) -> Registers {
        let words = self.bytes[REGISTERS_OFFSET..].as_chunks::<8>().0;
        Registers::from_values(std::array::from_fn(|i| u64::from_ne_bytes(words[i])))
    }

    /// Replaces the general registers in the copy.
    pub fn set_registers(&mut self, registers: &Registers) {
        let words = self.bytes[REGISTERS_OFFSET..].as_chunks_mut::<8>().0;
        for (word, value) in words.iter_mut().zip(registers.values()) {
            *word = value.to_ne_bytes();
        }
    }

    /// Returns `None`: on this architecture the frame is not in memory that the caller chose.
    #[must_use]
    pub fn split_area<'a>(&self, _: &'a [u8]) -> Option<[&'a [u8]; 4]> {
        None
    }
}

/// Does nothing: there is no trap flag on this architecture.
///
/// # Safety
/// Always safe on this architecture.
pub unsafe fn clear_trap_flag(_: FrameFormat, _: &CpuState, _: *mut UserContext) {}

/// Whether this architecture has frames in [`FrameFormat::Compat`] and calls in 32-bit code.
pub const HAS_COMPAT_CODE: bool = false;

/// Prepares calls in 32-bit code.
///
/// # Errors
/// Always `ENOSYS`: this architecture has no such calls.
pub fn map_compat_code() -> crate::sys::Result<()> {
    Err(crate::sys::Errno(libc::ENOSYS))
}

/// Installs the recording handler with frames in [`FrameFormat::Compat`]. Returns whether the
/// kernel accepted the handler: never, as this architecture has no such frames.
#[must_use]
pub fn install_compat_recording_handler(_: i32, _: i32, _: u64) -> bool {
    false
}

/// The parts of [`Frame::deviations`].
pub const FRAME_DEVIATIONS: &[Part] = &[];

/// The registers of a handler's arguments: none, since the registers at its entry are not recorded.
pub const HANDLER_ARGUMENTS: [Reg; 0] = [];

/// The registers of a `rt_tgsigqueueinfo(2)` with these arguments, and the `si_arch` when this call is
/// dispatched.
#[must_use]
pub fn queue_signal_call(_: CallInstruction, arguments: [u64; 4]) -> (Registers, u32) {
    let [a, b, c, d] = arguments;
    let number = libc::SYS_rt_tgsigqueueinfo.cast_unsigned();
    (Registers::for_call(number, [a, b, c, d, !0, !0]), super::AUDIT_ARCH)
}

/// The registers of the first two arguments of a call.
#[must_use]
pub const fn first_argument_registers(_: CallInstruction) -> [Reg; 2] {
    [Reg::ARGUMENTS[0], Reg::ARGUMENTS[1]]
}

/// The base addresses of segments: there are none.
#[must_use]
pub fn segment_bases() -> [u64; 0] {
    []
}

/// Whether a [`WatchedCallSite`] can have a breakpoint.
pub const HAS_CALL_BREAKPOINTS: bool = false;

/// The register sets that a tracer can read and write and a core dump contains: name and number
/// (include/uapi/linux/elf.h).
pub const REGISTER_SETS: &[(&str, i32)] = &[("NT_PRSTATUS", 1), ("NT_PRFPREG", 2)];

/// The byte ranges of the first two arguments of a call in an `NT_PRSTATUS` of this length.
#[must_use]
pub fn first_argument_ranges(_: CallInstruction, _: usize) -> [Range<usize>; 2] {
    [0, 1].map(|argument| Reg::ARGUMENTS[argument] as usize).map(|index| 8 * index..8 * index + 8)
}

/// The layout of `NT_PRSTATUS`: its parts have no names.
pub const PRSTATUS_REGISTERS: &[Part] = &[];

/// Indices of the words of `struct user` that only `PTRACE_PEEKUSER` reads: none.
#[must_use]
pub fn debug_register_words() -> Range<u64> {
    0..0
}
