// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What may differ in a comparison, each row with its reason, and which function of the kernel writes
//! what.

use super::record::Moment;

/// A part of a field that may differ.
pub(super) struct MayDiffer {
    /// Names of the ways, without `compare/` and without who looks; none: all.
    pub(super) ways: &'static [&'static str],
    /// The scene, or "" for all.
    pub(super) scene: &'static str,
    /// The step, or "" for all.
    pub(super) step: &'static str,
    /// The field, or "" for all.
    pub(super) field: &'static str,
    /// Names of parts; without any, all of the field, and whether there is one.
    pub(super) parts: &'static [&'static str],
    /// Why; for people who read the table.
    #[allow(dead_code, reason = "a row without a reason is no row")]
    pub(super) reason: &'static str,
}

impl MayDiffer {
    /// Whether this row is about that part of that field.
    pub(super) fn allows(&self, moment: Moment, field: &str, part: &str) -> bool {
        (self.scene.is_empty() || self.scene == moment.scene)
            && (self.step.is_empty() || self.step == moment.step)
            && (self.field.is_empty() || self.field == field)
            && (self.parts.is_empty() || self.parts.contains(&part))
    }
}

/// How the name of a way ends that somebody else than the program looks at.
const LOOKS: [&str; 2] = ["-stops", "-death"];

/// What may differ between two moments of one call: what it was given, what the frame holds, what there
/// is behind it.
pub(super) const RETURNED: &[MayDiffer] = &[
    MayDiffer {
        field: "registers",
        parts: &["Ip", "Cx", "R11", "Sp", "Pc", "Pswa", "Psw"],
        ..row(&[], "the next instruction; syscall leaves it and the flags in rcx and r11")
    },
    MayDiffer {
        step: "behind",
        field: "registers",
        parts: &["Flags"],
        scene: "trap-flag",
        ..row(&[], "the handler of the trap switches traps off")
    },
    MayDiffer {
        step: "behind",
        field: "registers",
        parts: &["Flags"],
        scene: "alternate-disarming",
        ..row(&[], "the handler of the trap switches traps off")
    },
];

/// Parts of the XSAVE area that are not state of the floating point unit.
pub(super) const NO_STATE: MayDiffer = MayDiffer {
    field: "floating",
    parts: &[
        "x87 opcode",
        "x87 instruction pointer",
        "x87 data pointer",
        "mxcsr mask",
        "reserved bytes",
        "xstate_bv",
        "other components",
    ],
    ..row(
        &[],
        "where the x87 last stood is lost where no exception is pending, and what is no state",
    )
};

/// Values with which a handler begins in place of the initial state.
pub(super) const DEFAULT_KEYS: MayDiffer = MayDiffer {
    field: "floating",
    parts: &["pkru"],
    ..row(&[], "what is allowed by default is for the administrator to say: init_pkru")
};

/// The same of a call that is executed.
pub(super) const EXECUTED_RETURNED: MayDiffer =
    MayDiffer { field: "registers", parts: &["Ax", "X0", "A0", "R2"], ..row(&[], EXECUTED) };

/// The rows of a case.
pub(super) fn rows(id: &str) -> Vec<&'static MayDiffer> {
    let name = id.split_once('/').map_or(id, |(_, name)| name);
    let name = LOOKS.iter().find_map(|look| name.strip_suffix(look)).unwrap_or(name);
    TABLE.iter().filter(|row| row.ways.is_empty() || row.ways.contains(&name)).collect()
}

const TABLE: &[MayDiffer] = &[
    MayDiffer {
        field: "floating",
        parts: &["xstate_bv"],
        ..row(&[], "of a component in its initial state the processor says what it likes (XINUSE)")
    },
    MayDiffer {
        field: "NT_X86_XSTATE",
        parts: &["xstate_bv"],
        ..row(&[], "the same, as a tracer is told")
    },
    MayDiffer {
        scene: "initial-state",
        field: "floating point frame",
        parts: &["xstate_bv"],
        ..row(&[], "the same, as the frame has it")
    },
    MayDiffer {
        field: "frame",
        parts: &["si_code"],
        ..row(TRAPPED, "SYS_SECCOMP in place of SYS_USER_DISPATCH: force_sig_seccomp()")
    },
    MayDiffer {
        field: "siginfo",
        parts: &["si_code"],
        ..row(TRAPPED, "SYS_SECCOMP in place of SYS_USER_DISPATCH: force_sig_seccomp()")
    },
    MayDiffer {
        field: "core's NT_SIGINFO",
        parts: &["si_code"],
        ..row(TRAPPED, "SYS_SECCOMP in place of SYS_USER_DISPATCH: force_sig_seccomp()")
    },
    MayDiffer {
        field: "core's NT_X86_XSTATE",
        parts: &["pkru", "xstate_bv"],
        ..row(&[], "a core has what was saved when the task was last switched: thread.pkru")
    },
    MayDiffer { field: "core's NT_PRSTATUS", parts: &["ax"], ..row(&["queued"], EXECUTED) },
    MayDiffer {
        field: "segments of the core",
        ..row(&["thread"], "the stack of the thread is one more")
    },
    MayDiffer {
        field: "core's NT_PRPSINFO",
        parts: &["pr_state", "pr_sname", "pr_flag"],
        ..row(&["thread"], "these are the first thread's, which waits: fill_psinfo()")
    },
    MayDiffer { step: "other thread", ..row(&["thread"], "there is one more thread in the core") },
    MayDiffer { field: "frame", parts: &["ax"], ..row(&["queued"], EXECUTED) },
    MayDiffer { field: "registers", parts: &["Ax"], ..row(&["queued"], EXECUTED) },
    MayDiffer { field: "NT_PRSTATUS", parts: &["ax"], ..row(&["queued"], EXECUTED) },
    MayDiffer {
        field: "NoNewPrivs",
        ..row(&["filtered"], "who installs a filter without privileges must not gain any")
    },
    MayDiffer { field: "Seccomp", ..row(&["filtered"], "the mode is that of filters") },
    MayDiffer { field: "Seccomp_filters", ..row(&["filtered"], "there is one") },
    MayDiffer { field: "Threads", ..row(&["thread"], "the first thread waits") },
    MayDiffer {
        field: "frame",
        parts: &["trapno"],
        ..row(&["born-of-stepped"], "a copy of the parent's, whose last trap was its breakpoint")
    },
    MayDiffer {
        field: "dispatch",
        ..row(
            &["trap", "queued", "allowed", "disarmed", "allowed-trap"],
            "one of the two is not armed",
        )
    },
    MayDiffer {
        field: "dispatch",
        parts: &["selector"],
        ..row(&["no-selector"], "there is none, and a tracer is told so")
    },
    MayDiffer {
        field: "registers",
        parts: &["Cx", "R11", "Ip"],
        ..row(&["int80"], "syscall leaves the next address and the flags there; another place")
    },
    MayDiffer {
        field: "frame",
        parts: &["cx", "r11", "ip", "si_call_addr", "si_arch"],
        ..row(&["int80"], "the same, as the frame has it; si_arch says which of the two it was")
    },
];

const TRAPPED: &[&str] = &["trap", "int80-trap"];
const EXECUTED: &str = "the call that queues the signal is executed and leaves its result";

/// A row about all of these ways, or of all ways.
const fn row(ways: &'static [&'static str], reason: &'static str) -> MayDiffer {
    MayDiffer { ways, scene: "", step: "", field: "", parts: &[], reason }
}

/// The function of the kernel that makes a field what it is.
pub(super) fn function(field: &str) -> &'static str {
    match field {
        "registers" | "segments" => "x64_setup_rt_frame(), restore_sigcontext()",
        "floating" => "fpu__clear_user_states(), fpu__restore_sig()",
        "floating point frame" => "copy_fpstate_to_sigframe()",
        "frame" => "x64_setup_rt_frame(), trigger_sigsys()",
        "mask" | "pending" => "signal_setup_done(), set_current_blocked()",
        "alternate stack" => "save_altstack_ex(), restore_altstack()",
        "the frame's stack"
        | "below the frame"
        | "behind the frame"
        | "above the frame"
        | "the stack"
        | "the alternate stack" => "get_sigframe()",
        _ => "proc_pid_status()",
    }
}
