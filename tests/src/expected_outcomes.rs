// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cases that do not pass on released kernels, and their expected outcomes.

use crate::RunOutput;
use std::collections::BTreeMap;

/// An outcome other than `pass` that some cases have on some kernels.
struct Exception {
    outcome: &'static str,
    /// Architectures; all if empty.
    archs: &'static [&'static str],
    /// First series with this outcome; unbounded if `None`.
    since: Option<&'static str>,
    /// First later series without this outcome; unbounded if `None`.
    before: Option<&'static str>,
    /// Flavours; all if empty.
    flavours: &'static [&'static str],
    cases: &'static [&'static str],
}

/// The defaults of the fields: every kernel, no case.
const EVERY_KERNEL: Exception =
    Exception { outcome: "", archs: &[], since: None, before: None, flavours: &[], cases: &[] };

const EXCEPTIONS: &[Exception] = &[
    // PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG.
    Exception {
        outcome: "absent",
        before: Some("6.4"),
        cases: &[
            "inheritance/child-reads-nothing-stale",
            "inheritance/child-reads-off",
            "ptrace/arms-tracee",
            "ptrace/checks-size-and-address",
            "ptrace/reads-configuration",
            "ptrace/set-at-entry",
            "ptrace/tracee-32",
            "ptrace/tracer-32",
            "ptrace/validates-configuration",
            "stress/tracer-sets",
            "tagged/refused-to-tracer",
            "users/checkpoint",
        ],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "absent",
        archs: &["x86_64"],
        before: Some("6.4"),
        cases: &["compare/armed-by-tracer", "compare/armed-by-tracer-stops"],
        ..EVERY_KERNEL
    },
    // PTRACE_SET_SYSCALL_INFO.
    Exception {
        outcome: "absent",
        before: Some("6.16"),
        cases: &["ptrace/call-info-set"],
        ..EVERY_KERNEL
    },
    // PR_SYS_DISPATCH_INCLUSIVE_ON.
    Exception {
        outcome: "absent",
        archs: &["x86_64"],
        before: Some("6.17"),
        cases: &["compare/inclusive"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "absent",
        before: Some("6.17"),
        cases: &[
            "arguments/inclusive-range-checked",
            "ptrace/inclusive-restores",
            "range/inclusive",
            "range/inclusive-outside-not-read",
        ],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "absent",
        archs: &["x86_64", "aarch64", "riscv64"],
        before: Some("6.17"),
        cases: &["sandbox/alien-inclusive"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "absent",
        archs: &["x86_64", "aarch64"],
        before: Some("6.17"),
        cases: &["sandbox/nt-inclusive"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "absent",
        before: Some("7.3"),
        cases: &[
            "sysctl/any-value-permits",
            "sysctl/armed-stay-armed",
            "sysctl/denies-arming",
            "sysctl/denies-tracer",
            "sysctl/on-at-boot",
            "sysctl/only-for-root",
        ],
        ..EVERY_KERNEL
    },
    // Only flavour full has CONFIG_X86_X32_ABI and CONFIG_SWAP.
    Exception {
        outcome: "absent",
        archs: &["x86_64"],
        flavours: &["default", "debug"],
        cases: &["entries/x32"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "absent",
        flavours: &["default", "debug"],
        cases: &["selector/swapped-out"],
        ..EVERY_KERNEL
    },
    // The boot argument ia32_emulation= exists since 6.7.
    Exception {
        outcome: "unmet",
        archs: &["x86_64"],
        before: Some("6.7"),
        cases: &["entries/int80-refused"],
        ..EVERY_KERNEL
    },
    // The extended area of rseq(2).
    Exception {
        outcome: "absent",
        before: Some("7.0"),
        cases: &["rseq/optimized-section"],
        ..EVERY_KERNEL
    },
    // Time slice extensions.
    Exception {
        outcome: "absent",
        archs: &["x86_64"],
        before: Some("7.0"),
        cases: &["rseq/slice-ended"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "known",
        archs: &["x86_64"],
        since: Some("7.0"),
        cases: &["rseq/slice-ended"],
        ..EVERY_KERNEL
    },
    // CONFIG_DEBUG_RSEQ kills a task that makes a system call in a critical section, so a kernel
    // supports only one of the two cases. From 6.19 on a boot argument enables this check.
    Exception {
        outcome: "absent",
        before: Some("6.19"),
        flavours: &["default", "full"],
        cases: &["rseq/section-checked"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "unmet",
        flavours: &["debug"],
        cases: &["rseq/section-aborted"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "known",
        cases: &[
            "ptrace/killed-without-stops",
            "registers/restart-numbers-kept",
            "restart/suppressed-number-kept",
            "tracing/killed-without-events",
        ],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "known",
        since: Some("6.4"),
        cases: &["inheritance/child-reads-nothing-stale"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "known",
        archs: &["x86_64"],
        since: Some("6.2"),
        cases: &["signals/legacy-stack-32"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "known",
        archs: &["x86_64"],
        since: Some("6.11"),
        cases: &["uprobes/return-probe-unseen"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "known",
        archs: &["x86_64"],
        since: Some("6.12"),
        cases: &["signals/keys-kept-without-frame"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "known",
        before: Some("6.11"),
        cases: &["seccomp/tsync-decides"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "known",
        since: Some("6.17"),
        cases: &["ptrace/inclusive-restores"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "known",
        archs: &["x86_64"],
        since: Some("6.18"),
        cases: &["uprobes/entry-probe-unseen"],
        ..EVERY_KERNEL
    },
    Exception {
        outcome: "known",
        archs: &["riscv64", "s390x"],
        cases: &["signals/vdso-return-exempt"],
        ..EVERY_KERNEL
    },
    // These kernels lose the result register.
    Exception {
        outcome: "known",
        archs: &["s390x"],
        cases: &[
            "ptrace/suppressed-signal",
            "registers/call-reissued",
            "registers/general-kept",
            "restart/dispatched-anew",
        ],
        ..EVERY_KERNEL
    },
];

/// Major and minor number of a series such as `6.12`.
fn parse_series(release: &str) -> (u32, u32) {
    let (major, minor) = release.split_once('.').expect("X.Y");
    (major.parse().expect("a number"), minor.parse().expect("a number"))
}

impl Exception {
    fn applies_to(&self, arch: &str, release: &str, flavour: &str) -> bool {
        let matches = |all: &[&str], one: &str| all.is_empty() || all.contains(&one);
        self.since.is_none_or(|since| parse_series(since) <= parse_series(release))
            && self.before.is_none_or(|before| parse_series(release) < parse_series(before))
            && matches(self.archs, arch)
            && matches(self.flavours, flavour)
    }
}

/// The cases that must not pass on a kernel, with their expected outcomes.
///
/// # Panics
/// If `release` is not a series such as `6.12`.
#[must_use]
pub fn expected(arch: &str, release: &str, flavour: &str) -> BTreeMap<String, String> {
    let exceptions =
        EXCEPTIONS.iter().filter(|exception| exception.applies_to(arch, release, flavour));
    let mut outcomes = BTreeMap::new();
    for exception in exceptions {
        for case in exception.cases {
            let earlier = outcomes.insert((*case).to_owned(), exception.outcome.to_owned());
            assert_eq!(earlier, None, "{case} has two rows for {release}");
        }
    }
    outcomes
}

/// The cases of a run that did not end with `pass`, with their outcomes.
///
/// # Panics
/// If there is no report.
#[must_use]
pub fn not_passed(result: &RunOutput) -> BTreeMap<String, String> {
    let mut outcomes = result.outcomes();
    outcomes.retain(|_, outcome| outcome != "pass");
    outcomes
}
