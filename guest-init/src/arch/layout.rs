// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The types that describe a watched call, and the names and lengths of the parts of its recorded state.
//!
//! A *watched call* is the call under test of a comparison. The comparison records the registers, the signal
//! frame and the stacks around this call.

use super::{FRAME_DEVIATIONS, PRSTATUS_REGISTERS, Reg, SIGNAL_FRAME, floating_parts};
use std::sync::OnceLock;

/// The instruction that issues a watched call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallInstruction {
    /// The system call instruction of 64-bit programs.
    Native,
    /// The system call instruction of 32-bit programs, in 64-bit code.
    Compat,
    /// The system call instruction of 32-bit programs, in 32-bit code of a 64-bit program.
    CompatCode,
}

/// The format of a signal frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFormat {
    /// The frame of handlers that a 64-bit call installed.
    Native,
    /// The frame of handlers that a 32-bit call installed, with and without `SA_SIGINFO`.
    Compat,
}

/// The code that issues a watched call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedCallSite {
    /// The instruction of the call.
    pub instruction: CallInstruction,
    /// Whether a breakpoint right before the call stops a tracee.
    pub has_breakpoint: bool,
}

/// A part of a kernel structure: its name and its length in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Part(pub &'static str, pub usize);

/// The parts of the observation field with this name (`compare`); empty if the field is not divided.
#[must_use]
pub fn parts_of_field(field: &str) -> &'static [Part] {
    match field {
        "registers" => Reg::NAMES,
        "segments" => &[
            Part("cs", 2),
            Part("ss", 2),
            Part("ds", 2),
            Part("es", 2),
            Part("fs", 2),
            Part("gs", 2),
        ],
        "floating"
        | "floating point frame"
        | "NT_PRFPREG"
        | "NT_X86_XSTATE"
        | "core's NT_PRFPREG"
        | "core's NT_X86_XSTATE" => floating_parts(),
        "frame" => SIGNAL_FRAME,
        "deviations of the frame" => FRAME_DEVIATIONS,
        "NT_PRSTATUS" => PRSTATUS_REGISTERS,
        "alternate stack" => &[
            Part("ss_sp", 8),
            Part("ss_flags", 4),
            Part("padding after ss_flags", 4),
            Part("ss_size", 8),
        ],
        "siginfo" | "core's NT_SIGINFO" => &[
            Part("si_signo", 4),
            Part("si_errno", 4),
            Part("si_code", 4),
            Part("padding after si_code", 4),
            Part("si_call_addr", 8),
            Part("si_syscall", 4),
            Part("si_arch", 4),
            Part("rest", 96),
        ],
        "syscall info" => &[
            Part("op", 1),
            Part("padding", 3),
            Part("arch", 4),
            Part("instruction_pointer", 8),
            Part("stack_pointer", 8),
            Part("call", 104),
        ],
        "dispatch" => &[Part("mode", 8), Part("selector", 8), Part("offset", 8), Part("length", 8)],
        "core's NT_PRSTATUS" => core_status_parts(),
        "core's NT_PRPSINFO" => &[
            Part("pr_state", 1),
            Part("pr_sname", 1),
            Part("pr_zomb", 1),
            Part("pr_nice", 1),
            Part("padding", 4),
            Part("pr_flag", 8),
            Part("pr_uid", 4),
            Part("pr_gid", 4),
            Part("ids", 16),
            Part("pr_fname", 16),
            Part("pr_psargs", 80),
        ],
        "bases" => &[Part("fs", 8), Part("gs", 8)],
        _ => &[],
    }
}

/// The parts of `struct elf_prstatus` (include/linux/elfcore.h).
fn core_status_parts() -> &'static [Part] {
    static PARTS: OnceLock<Vec<Part>> = OnceLock::new();
    PARTS.get_or_init(|| {
        let mut parts = vec![
            Part("si_signo", 4),
            Part("si_code", 4),
            Part("si_errno", 4),
            Part("pr_cursig", 2),
            Part("padding", 2),
            Part("pr_sigpend", 8),
            Part("pr_sighold", 8),
            Part("ids and times", 80),
        ];
        parts.extend_from_slice(PRSTATUS_REGISTERS);
        parts
    })
}
