// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The table of known kernel bugs, with the releases and the symptoms of each bug.
//!
//! A failure that does not match the symptom of a known bug is reported as a failure.

use crate::version::Version;
use sudbox_protocol::Arch;

/// A kernel bug with a report, a fix or a comment upstream.
#[derive(Debug)]
pub(crate) struct KnownBug {
    /// The id that the case table uses.
    pub(crate) id: &'static str,
    /// A description with its source, as reports show it.
    pub(crate) citation: &'static str,
    /// The architectures that have the bug.
    archs: &'static [Arch],
    /// The first release that has the bug.
    first_affected: Version,
    /// The first releases with the fix: the mainline release, whose last number is 0, and the first
    /// release of each stable series with a backport.
    fixed_in: &'static [Version],
    /// Stable series that may have a backport of the fix in an unknown release.
    maybe_fixed_in: &'static [Version],
    /// The cases that fail because of the bug: the id of each case, and a pattern for the actual
    /// result, in which `*` matches any text.
    symptoms: &'static [(&'static str, &'static str)],
}

/// The certainty with which a release has a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The release has the bug.
    Certain,
    /// The release may contain a backport of the fix.
    Possible,
}

impl KnownBug {
    /// The certainty that a release has the bug; `None` if the release does not have it.
    pub(crate) fn presence(&self, arch: Arch, version: Version) -> Option<Presence> {
        let has_fix =
            |fix: &Version| version >= *fix && (fix.is_mainline() || fix.is_same_series(version));
        if !self.archs.contains(&arch)
            || version < self.first_affected
            || self.fixed_in.iter().any(has_fix)
        {
            return None;
        }
        let maybe_fixed = self.maybe_fixed_in.iter().any(|series| series.is_same_series(version));
        Some(if maybe_fixed { Presence::Possible } else { Presence::Certain })
    }

    /// Whether the bug has a symptom in this case.
    #[cfg(test)]
    pub(crate) fn has_symptom_in(&self, case: &str) -> bool {
        self.symptoms.iter().any(|(id, _)| *id == case)
    }

    /// Whether the actual result of a failed case matches a symptom of the bug.
    pub(crate) fn matches_failure(&self, case: &str, actual: &str) -> bool {
        self.symptoms.iter().any(|(id, pattern)| *id == case && matches_pattern(pattern, actual))
    }
}

/// Whether a text matches a pattern, in which `*` matches any text.
pub(crate) fn matches_pattern(pattern: &str, text: &str) -> bool {
    let Some((prefix, mut pattern)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(prefix) else { return false };
    while let Some((literal, later_pattern)) = pattern.split_once('*') {
        let Some(position) = text.find(literal) else { return false };
        text = &text[position + literal.len()..];
        pattern = later_pattern;
    }
    text.ends_with(pattern)
}

/// The architectures with GENERIC_ENTRY.
const GENERIC_ENTRY_ARCHS: &[Arch] = &[Arch::X86_64, Arch::Riscv64, Arch::S390x];

/// The known bugs. Bugs of different architectures may have the same id.
pub(crate) const KNOWN_BUGS: &[KnownBug] = &[
    KnownBug {
        id: "inclusive-get-set",
        citation: "task_set_syscall_user_dispatch() stores the inclusive range inverted and \
                   syscall_user_dispatch_get_config() reports it as exclusive; setting that back \
                   is EINVAL (since a2fc422ed757, reported on 2026-07-09, unfixed in 7.3)",
        archs: &Arch::ALL,
        first_affected: Version(6, 17, 0),
        fixed_in: &[],
        maybe_fixed_in: &[],
        symptoms: &[("ptrace/inclusive-restores", "setting what was read: Err(EINVAL)")],
    },
    KnownBug {
        id: "keys-opened-without-frame",
        citation: "get_sigframe() permits access by all protection keys, and x64_setup_rt_frame() does \
                   not restore PKRU if the rest of the frame cannot be written: SIGSEGV's handler \
                   returns to a program with access by all keys (since 6.12, unfixed in 7.3)",
        archs: &[Arch::X86_64],
        first_affected: Version(6, 12, 0),
        fixed_in: &[],
        maybe_fixed_in: &[],
        symptoms: &[(
            "signals/keys-kept-without-frame",
            "PKRU after a frame whose Lower part cannot be written: 0x0",
        )],
    },
    KnownBug {
        id: "legacy-stack-refused",
        citation: "get_sigframe() takes the legacy switch of stacks by sa_restorer for one to the alternate \
                   stack, and refuses the frame if it is not there, so that SIGSEGV kills (since 5.14 on \
                   32-bit kernels, and since 9c36e592b3f8 in 6.2 for 32-bit programs; unfixed in 7.3)",
        archs: &[Arch::X86_64],
        first_affected: Version(6, 2, 0),
        fixed_in: &[],
        maybe_fixed_in: &[],
        symptoms: &[("signals/legacy-stack-32", "the 32-bit program: \"killed by SIGSEGV\"")],
    },
    KnownBug {
        id: "phantom-exit-stop",
        citation: "syscall_user_dispatch() leaves on_dispatch false on its force_exit_sig() paths, \
                   so syscall_exit_work() reports an exit that had no entry (unfixed in 7.3)",
        archs: &Arch::ALL,
        first_affected: Version(5, 11, 0),
        fixed_in: &[],
        maybe_fixed_in: &[],
        symptoms: &[
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
        first_affected: Version(5, 11, 0),
        fixed_in: &[],
        maybe_fixed_in: &[],
        symptoms: &[
            ("registers/restart-numbers-kept", "* of -512 with flags 0x0 in the frame: -4"),
            ("restart/suppressed-number-kept", "the child: \"stopped with SIGSYS\""),
        ],
    },
    KnownBug {
        id: "rseq-ignores-signals-of-calls",
        citation: "rseq_signal_deliver() checks the critical section only on return from an \
                   interrupt; rseq(2) forbids system calls in it, but before and after these \
                   releases a signal aborts it at a call too, except with areas longer than the \
                   original one",
        archs: &Arch::ALL,
        first_affected: Version(6, 19, 0),
        fixed_in: &[Version(7, 0, 10), Version(7, 1, 0)],
        maybe_fixed_in: &[Version(6, 19, 0)],
        symptoms: &[("rseq/section-aborted", "next instruction in the frame: 0x*")],
    },
    KnownBug {
        id: "tagged-selector-accepted",
        citation: "access_ok() of x86-64 checks only the sign bit (since 6.4), until it compares with \
                   USER_PTR_MAX (86e6b1547b3d in 6.12 and 6.11.6)",
        archs: &[Arch::X86_64],
        first_affected: Version(6, 4, 0),
        fixed_in: &[Version(6, 11, 6), Version(6, 12, 0)],
        maybe_fixed_in: &[],
        symptoms: &[
            ("tagged/refused", "success"),
            ("tagged/refused-to-tracer", "setting selector 0x*: Ok(())"),
        ],
    },
    KnownBug {
        id: "tsync-bypassed",
        citation: "syscall_trace_enter() does not reload its flags after the ptrace entry stop, \
                   so a filter installed by TSYNC meanwhile is bypassed (since 5.9, fixed by \
                   4a3591287fb7 in 7.3, 6.12.110 and 6.1.188)",
        archs: GENERIC_ENTRY_ARCHS,
        first_affected: Version(5, 9, 0),
        // 7.2.13 is the oldest 7.2 release whose source was checked.
        fixed_in: &[Version(6, 1, 188), Version(6, 12, 110), Version(7, 2, 13), Version(7, 3, 0)],
        maybe_fixed_in: &[
            Version(5, 10, 0),
            Version(5, 15, 0),
            Version(6, 6, 0),
            Version(6, 18, 0),
            Version(7, 1, 0),
            Version(7, 2, 0),
        ],
        // umask(2) returns 0x12 if the kernel executes the call.
        symptoms: &[("seccomp/tsync-at-entry-stop", "result of the call that was held: 0x12")],
    },
    KnownBug {
        id: "exited-thread-filtered",
        citation: "seccomp_sync_threads() installs a filter for all threads in a thread group leader \
                   that has exited too (seen in 6.1.192, not in 6.12.117, whose \
                   seccomp_sync_threads() leaves out tasks with PF_EXITING)",
        archs: GENERIC_ENTRY_ARCHS,
        first_affected: Version(3, 17, 0),
        fixed_in: &[Version(6, 12, 0)],
        maybe_fixed_in: &[Version(6, 6, 0), Version(6, 11, 0)],
        symptoms: &[(
            "seccomp/tsync-decides",
            "the status of the leader that has exited: *\"Seccomp_filters:\\t4\"]",
        )],
    },
    KnownBug {
        id: "uprobe-dispatched",
        citation: "syscall_user_dispatch() does not except the system call of the trampoline that \
                   replaces a probed nop, uprobe(), as seccomp does (since 6.18, seen in 7.3.4)",
        archs: &[Arch::X86_64],
        first_affected: Version(6, 18, 0),
        fixed_in: &[],
        maybe_fixed_in: &[],
        symptoms: &[("uprobes/entry-probe-unseen", "SIGSYS handled: *")],
    },
    KnownBug {
        id: "uretprobe-dispatched",
        citation: "syscall_user_dispatch() does not except the system call of the return probe's \
                   trampoline, uretprobe(), as seccomp_uprobe_exception() does (since \
                   ff474a78cef5 in 6.11, unfixed in 7.3)",
        archs: &[Arch::X86_64],
        first_affected: Version(6, 11, 0),
        fixed_in: &[],
        maybe_fixed_in: &[],
        symptoms: &[("uprobes/return-probe-unseen", "SIGSYS handled: *")],
    },
    KnownBug {
        id: "vdso-sigreturn-dispatched",
        citation: "arch_syscall_is_vdso_sigreturn() of riscv is false, and every handler returns \
                   through the vDSO there; Documentation/admin-guide/syscall-user-dispatch.rst says \
                   that such a return is never intercepted (since 6.4, until 7.3 has no dispatch)",
        archs: &[Arch::Riscv64],
        first_affected: Version(6, 4, 0),
        fixed_in: &[Version(7, 3, 0)],
        maybe_fixed_in: &[],
        symptoms: &[("signals/vdso-return-exempt", "SIGSYS handled: 1")],
    },
    KnownBug {
        id: "vdso-sigreturn-dispatched",
        citation: "arch_syscall_is_vdso_sigreturn() of s390 is false, and handlers without \
                   SA_RESTORER return through the vDSO there; \
                   Documentation/admin-guide/syscall-user-dispatch.rst says that such a return is \
                   never intercepted (since 5.12, until 7.3 has no dispatch)",
        archs: &[Arch::S390x],
        first_affected: Version(5, 12, 0),
        fixed_in: &[Version(7, 3, 0)],
        maybe_fixed_in: &[],
        symptoms: &[("signals/vdso-return-exempt", "SIGSYS handled: 1")],
    },
    KnownBug {
        id: "result-register-lost",
        citation: "do_syscall() of s390 skips a dispatched call like one that does not exist: it \
                   sets gpr2, the first argument's register, to -ENOSYS over what \
                   syscall_rollback() put there, as PIF_SYSCALL_RET_SET is not set (since 5.12, \
                   until 7.3 has no dispatch)",
        archs: &[Arch::S390x],
        first_affected: Version(5, 12, 0),
        fixed_in: &[Version(7, 3, 0)],
        maybe_fixed_in: &[],
        symptoms: &[
            ("registers/general-kept", "* in the frame: 0xffffffffffffffda"),
            ("registers/restart-numbers-kept", "* of -512 with flags 0x0 in the frame: -38"),
            ("registers/call-reissued", "it had none"),
            ("ptrace/suppressed-signal", "result's register at SIGSYS: -38"),
            ("restart/dispatched-anew", "the child: \"exited with 1\""),
            ("restart/suppressed-number-kept", "the child: \"exited with 1\""),
        ],
    },
    KnownBug {
        id: "slice-kept-over-dispatch",
        citation: "syscall_trace_enter() returns for a dispatched call before \
                   rseq_syscall_enter_work(), so the time slice extension goes on in the handler; \
                   Documentation/userspace-api/rseq.rst says that any system call but \
                   rseq_slice_yield(2) revokes it (since 7.0, unfixed in 7.3)",
        archs: &[Arch::X86_64],
        first_affected: Version(7, 0, 0),
        fixed_in: &[],
        maybe_fixed_in: &[],
        symptoms: &[("rseq/slice-ended", "an extension goes on in the handler: true")],
    },
    KnownBug {
        id: "stale-config-after-clear",
        citation: "clear_syscall_work_syscall_user_dispatch() on fork and exec clears the work \
                   flag alone: the configuration read by ptrace keeps range and selector \
                   (unfixed in 7.3)",
        archs: &Arch::ALL,
        first_affected: Version(6, 4, 0),
        fixed_in: &[],
        maybe_fixed_in: &[],
        symptoms: &[(
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
        for (pattern, text, expected) in [
            ("SIGSYS handled: 1", "SIGSYS handled: 1", true),
            ("SIGSYS handled: 1", "SIGSYS handled: 12", false),
            ("a: *", "a: b", true),
            ("a: *", "b a: b", false),
            ("* of -512 in *: -4", "Ax of -512 in the frame: -4", true),
            ("* of -512 in *: -4", "Ax of -512 in the frame: -42", false),
            ("[*, *]", "[1, 2]", true),
            ("[*, *]", "[1]", false),
        ] {
            assert_eq!(matches_pattern(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn every_architecture_has_generic_entry_or_not() {
        for arch in Arch::ALL {
            let has_generic_entry = match arch {
                Arch::X86_64 | Arch::Riscv64 | Arch::S390x => true,
                Arch::Aarch64 => false,
            };
            assert_eq!(GENERIC_ENTRY_ARCHS.contains(&arch), has_generic_entry, "{arch}");
        }
    }

    #[test]
    fn a_failure_without_the_symptom_is_not_the_known_bug() {
        let bug = KNOWN_BUGS.iter().find(|bug| bug.id == "inclusive-get-set").unwrap();
        let case = "ptrace/inclusive-restores";
        assert!(bug.matches_failure(case, "setting what was read: Err(EINVAL)"));
        assert!(!bug.matches_failure(case, "setting what was read: Err(EFAULT)"));
        assert!(!bug.matches_failure("ptrace/arms-tracee", "setting what was read: Err(EINVAL)"));
    }
}
