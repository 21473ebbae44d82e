// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What may differ in a comparison, each row with its reason, and which function of the kernel writes
//! what.

use super::record::Moment;

/// A part of a field that may differ.
pub(super) struct MayDiffer {
    /// Names of the ways, without `compare/`.
    pub(super) ways: &'static [&'static str],
    /// The step, or "" for all.
    pub(super) step: &'static str,
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
        (self.step.is_empty() || self.step == moment.step)
            && self.field == field
            && (self.parts.is_empty() || self.parts.contains(&part))
    }
}

/// The rows of a case.
pub(super) fn rows(id: &str) -> Vec<&'static MayDiffer> {
    let name = id.split_once('/').map_or(id, |(_, name)| name);
    TABLE.iter().filter(|row| row.ways.contains(&name)).collect()
}

const TABLE: &[MayDiffer] = &[
    MayDiffer {
        ways: &["trap", "int80-trap"],
        step: "handler",
        field: "frame",
        parts: &["si_code"],
        reason: "SYS_SECCOMP in place of SYS_USER_DISPATCH: force_sig_seccomp()",
    },
    MayDiffer {
        ways: &["queued"],
        step: "handler",
        field: "frame",
        parts: &["ax"],
        reason: "the call that queues the signal is executed and leaves its result",
    },
    MayDiffer {
        ways: &["queued"],
        step: "behind",
        field: "registers",
        parts: &["Ax"],
        reason: "the call that queues the signal is executed and leaves its result",
    },
    MayDiffer {
        ways: &["filtered"],
        step: "status",
        field: "NoNewPrivs",
        parts: &[],
        reason: "who installs a filter without privileges must not gain any",
    },
    MayDiffer {
        ways: &["filtered"],
        step: "status",
        field: "Seccomp",
        parts: &[],
        reason: "the mode is that of filters",
    },
    MayDiffer {
        ways: &["filtered"],
        step: "status",
        field: "Seccomp_filters",
        parts: &[],
        reason: "there is one",
    },
    MayDiffer {
        ways: &["thread"],
        step: "status",
        field: "Threads",
        parts: &[],
        reason: "the first thread waits",
    },
    MayDiffer {
        ways: &["int80"],
        step: "",
        field: "registers",
        parts: &["Cx", "R11", "Ip"],
        reason: "syscall leaves the next address and the flags there, int 0x80 nothing; another place",
    },
    MayDiffer {
        ways: &["int80"],
        step: "handler",
        field: "frame",
        parts: &["cx", "r11", "ip", "si_call_addr", "si_arch"],
        reason: "the same, as the frame has it; si_arch says which of the two it was",
    },
];

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
