// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The recorded bugs of kernels: which releases have each, and what is seen of it.
//!
//! A failure that does not look like the recorded bug is a failure.

use crate::expectations::Version;
use sudbox_protocol::Arch;

/// A bug of the kernel that is recorded upstream or in its own source.
#[derive(Debug)]
pub(crate) struct KnownBug {
    /// The id that the case table uses.
    pub(crate) id: &'static str,
    /// What is wrong and where it can be read.
    pub(crate) citation: &'static str,
    /// The architectures that have it.
    archs: &'static [Arch],
    /// First release that has it.
    since: Version,
    /// First releases that do not have it any more: one of the mainline, whose last number is 0, and
    /// one of each stable series that was given the cure.
    fixed: &'static [Version],
    /// Stable series that were given the cure with a release that is not recorded, or may have been.
    unsure: &'static [Version],
    /// What the cases say that show it: the id of each, and its `got`, in which `*` stands for
    /// anything.
    signs: &'static [(&'static str, &'static str)],
}

/// Whether a release has a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Certain,
    /// It may have been given the cure.
    Possible,
}

impl KnownBug {
    /// Whether a release has it; `None` if it does not.
    pub(crate) fn presence(&self, arch: Arch, version: Version) -> Option<Presence> {
        let same_series = |other: &Version| (other.0, other.1) == (version.0, version.1);
        let fixed = |cure: &Version| version >= *cure && (cure.2 == 0 || same_series(cure));
        if !self.archs.contains(&arch) || version < self.since || self.fixed.iter().any(fixed) {
            return None;
        }
        let unsure = self.unsure.iter().any(same_series);
        Some(if unsure { Presence::Possible } else { Presence::Certain })
    }

    /// Whether this case shows it.
    #[cfg(test)]
    pub(crate) fn is_seen_in(&self, case: &str) -> bool {
        self.signs.iter().any(|(of, _)| *of == case)
    }

    /// Whether what a case got is what it gets when this bug shows.
    pub(crate) fn looks_like(&self, case: &str, got: &str) -> bool {
        self.signs.iter().any(|(of, pattern)| *of == case && matches(pattern, got))
    }
}

/// Whether a text is this pattern, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, mut rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    while let Some((part, behind)) = rest.split_once('*') {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
        rest = behind;
    }
    text.ends_with(rest)
}

/// Every architecture whose entry is the generic one.
const GENERIC: &[Arch] = &[Arch::X86_64, Arch::Riscv64, Arch::S390x];

pub(crate) const KNOWN_BUGS: &[KnownBug] = &[
    KnownBug {
        id: "inclusive-get-set",
        citation: "task_set_syscall_user_dispatch() stores the inclusive range inverted and \
                   syscall_user_dispatch_get_config() reports it as exclusive; setting that back \
                   is EINVAL (since a2fc422ed757, reported on 2026-07-09, unfixed in 7.3)",
        archs: &Arch::ALL,
        since: Version(6, 17, 0),
        fixed: &[],
        unsure: &[],
        signs: &[("ptrace/inclusive-restores", "setting what was read: Err(EINVAL)")],
    },
    KnownBug {
        id: "phantom-exit-stop",
        citation: "syscall_user_dispatch() leaves on_dispatch false on its force_exit_sig() paths, \
                   so syscall_exit_work() reports an exit that had no entry (unfixed in 7.3)",
        archs: &Arch::ALL,
        since: Version(5, 11, 0),
        fixed: &[],
        unsure: &[],
        signs: &[
            ("ptrace/killed-without-stops", "it stopped with signal 133"),
            (
                "tracing/killed-without-events",
                "[\"sys_enter: NR *\", \"sys_exit: NR * = 18\", \"sys_exit: NR * = *\"]",
            ),
        ],
    },
    KnownBug {
        id: "restart-number",
        citation: "handle_signal() reads a dispatched call number of -512, -513, -514 or -516 in \
                   the rolled back register as a restart code (unfixed in 7.3)",
        archs: &[Arch::X86_64, Arch::Riscv64, Arch::Aarch64],
        since: Version(5, 11, 0),
        fixed: &[],
        unsure: &[],
        signs: &[
            ("registers/restart-numbers-kept", "* of -512 with flags 0x0 in the frame: -4"),
            ("restart/suppressed-number-kept", "the child: \"stopped with SIGSYS\""),
        ],
    },
    KnownBug {
        id: "rseq-ignores-signals-of-calls",
        citation: "rseq_signal_deliver() looks at the critical section only on the way back from \
                   an interrupt; the rules of rseq(2) forbid calls there, but before and after \
                   these releases a signal aborts it at a call too, but for areas longer than the \
                   first",
        archs: &Arch::ALL,
        since: Version(6, 19, 0),
        fixed: &[Version(7, 0, 10), Version(7, 1, 0)],
        unsure: &[Version(6, 19, 0)],
        signs: &[("rseq/section-aborted", "next instruction in the frame: 0x*")],
    },
    KnownBug {
        id: "tagged-selector-accepted",
        citation: "access_ok() of x86-64 asks for the sign bit alone (6.4) until it compares with \
                   USER_PTR_MAX (86e6b1547b3d in 6.12 and 6.11.6)",
        archs: &[Arch::X86_64],
        since: Version(6, 4, 0),
        fixed: &[Version(6, 11, 6), Version(6, 12, 0)],
        unsure: &[],
        signs: &[
            ("tagged/refused", "success"),
            ("tagged/refused-to-tracer", "setting selector 0x*: Ok(())"),
        ],
    },
    KnownBug {
        id: "tsync-bypassed",
        citation: "syscall_trace_enter() does not look at its flags again behind the stop for a \
                   tracer, so a filter that came by TSYNC meanwhile is not asked (since 5.9, fixed by \
                   4a3591287fb7 in 7.3, 6.12.110 and 6.1.188)",
        archs: GENERIC,
        since: Version(5, 9, 0),
        // The last as read in 7.2.13.
        fixed: &[Version(6, 1, 188), Version(6, 12, 110), Version(7, 2, 13), Version(7, 3, 0)],
        unsure: &[
            Version(5, 10, 0),
            Version(5, 15, 0),
            Version(6, 6, 0),
            Version(6, 18, 0),
            Version(7, 1, 0),
            Version(7, 2, 0),
        ],
        // What umask(2) gives when it is executed.
        signs: &[("seccomp/tsync-at-entry-stop", "result of the call that was held: 0x12")],
    },
    KnownBug {
        id: "uprobe-dispatched",
        citation: "syscall_user_dispatch() does not except the system call of the trampoline that \
                   replaces a probed nop, uprobe(), as seccomp does (since 6.18, seen in 7.3.4)",
        archs: &[Arch::X86_64],
        since: Version(6, 18, 0),
        fixed: &[],
        unsure: &[],
        signs: &[("uprobes/entry-probe-unseen", "SIGSYS handled: *")],
    },
    KnownBug {
        id: "uretprobe-dispatched",
        citation: "syscall_user_dispatch() does not except the system call of the return probe's \
                   trampoline, uretprobe(), as seccomp_uprobe_exception() does (since \
                   ff474a78cef5 in 6.11, unfixed in 7.3)",
        archs: &[Arch::X86_64],
        since: Version(6, 11, 0),
        fixed: &[],
        unsure: &[],
        signs: &[("uprobes/return-probe-unseen", "SIGSYS handled: *")],
    },
    KnownBug {
        id: "vdso-sigreturn-dispatched",
        citation: "arch_syscall_is_vdso_sigreturn() of riscv is false, and every handler returns \
                   through the vDSO there; Documentation/admin-guide/syscall-user-dispatch.rst says \
                   that such a return is never intercepted (since 6.4, until 7.3 has no dispatch)",
        archs: &[Arch::Riscv64],
        since: Version(6, 4, 0),
        fixed: &[Version(7, 3, 0)],
        unsure: &[],
        signs: &[("signals/vdso-return-exempt", "SIGSYS handled: 1")],
    },
    KnownBug {
        id: "vdso-sigreturn-dispatched",
        citation: "arch_syscall_is_vdso_sigreturn() of s390 is false, and handlers without \
                   SA_RESTORER return through the vDSO there; \
                   Documentation/admin-guide/syscall-user-dispatch.rst says that such a return is \
                   never intercepted (since 5.12, until 7.3 has no dispatch)",
        archs: &[Arch::S390x],
        since: Version(5, 12, 0),
        fixed: &[Version(7, 3, 0)],
        unsure: &[],
        signs: &[("signals/vdso-return-exempt", "SIGSYS handled: 1")],
    },
    KnownBug {
        id: "result-register-lost",
        citation: "do_syscall() of s390 skips a dispatched call like one that does not exist: it \
                   sets gpr2, the first argument's register, to -ENOSYS over what \
                   syscall_rollback() put there, as PIF_SYSCALL_RET_SET is not set (since 5.12, \
                   until 7.3 has no dispatch)",
        archs: &[Arch::S390x],
        since: Version(5, 12, 0),
        fixed: &[Version(7, 3, 0)],
        unsure: &[],
        signs: &[
            ("registers/general-kept", "* in the frame: 0xffffffffffffffda"),
            ("registers/restart-numbers-kept", "* of -512 with flags 0x0 in the frame: -38"),
            ("registers/call-reissued", "it had none"),
            ("ptrace/suppressed-signal", "result's register at SIGSYS: -38"),
            ("restart/dispatched-anew", "the child: \"exited with 1\""),
            ("restart/suppressed-number-kept", "the child: \"exited with 1\""),
        ],
    },
    KnownBug {
        id: "stale-config-after-clear",
        citation: "clear_syscall_work_syscall_user_dispatch() on fork and exec clears the work \
                   flag alone: the configuration read by ptrace keeps range and selector \
                   (unfixed in 7.3)",
        archs: &Arch::ALL,
        since: Version(6, 4, 0),
        fixed: &[],
        unsure: &[],
        signs: &[(
            "inheritance/child-reads-nothing-stale",
            "the child's configuration: Config { mode: 0, selector: *, offset: *, length: * }",
        )],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_from_end_to_end() {
        for (pattern, text, due) in [
            ("SIGSYS handled: 1", "SIGSYS handled: 1", true),
            ("SIGSYS handled: 1", "SIGSYS handled: 12", false),
            ("a: *", "a: b", true),
            ("a: *", "b a: b", false),
            ("* of -512 in *: -4", "Ax of -512 in the frame: -4", true),
            ("* of -512 in *: -4", "Ax of -512 in the frame: -42", false),
            ("[*, *]", "[1, 2]", true),
            ("[*, *]", "[1]", false),
        ] {
            assert_eq!(matches(pattern, text), due, "{pattern} {text}");
        }
    }

    #[test]
    fn a_failure_of_another_look_is_not_the_recorded_bug() {
        let bug = KNOWN_BUGS.iter().find(|bug| bug.id == "inclusive-get-set").unwrap();
        let case = "ptrace/inclusive-restores";
        assert!(bug.looks_like(case, "setting what was read: Err(EINVAL)"));
        assert!(!bug.looks_like(case, "setting what was read: Err(EFAULT)"));
        assert!(!bug.looks_like("ptrace/arms-tracee", "setting what was read: Err(EINVAL)"));
    }
}
