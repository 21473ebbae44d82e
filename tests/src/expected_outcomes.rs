// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cases that do not end with `pass` on the kernels that tests judge, and their outcomes.

use crate::Ran;
use std::collections::BTreeMap;

/// An outcome of some cases on some kernels.
struct Exception {
    outcome: &'static str,
    /// Architectures; all if empty.
    archs: &'static [&'static str],
    /// First series; any if `None`.
    since: Option<&'static str>,
    /// First series that it is not about; none if `None`.
    before: Option<&'static str>,
    /// Flavours; all if empty.
    flavours: &'static [&'static str],
    cases: &'static [&'static str],
}

/// An exception about all kernels and no case, to fill in.
const ANY: Exception =
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
            "ptrace/inclusive-restores",
            "ptrace/reads-configuration",
            "ptrace/set-at-entry",
            "ptrace/tracee-32",
            "ptrace/tracer-32",
            "ptrace/validates-configuration",
            "stress/tracer-sets",
            "tagged/refused-to-tracer",
            "users/checkpoint",
        ],
        ..ANY
    },
    Exception {
        outcome: "absent",
        archs: &["x86_64"],
        before: Some("6.4"),
        cases: &["compare/armed-by-tracer", "compare/armed-by-tracer-stops"],
        ..ANY
    },
    // PTRACE_SET_SYSCALL_INFO.
    Exception { outcome: "absent", before: Some("6.16"), cases: &["ptrace/call-info-set"], ..ANY },
    // PR_SYS_DISPATCH_INCLUSIVE_ON.
    Exception {
        outcome: "absent",
        archs: &["x86_64"],
        before: Some("6.17"),
        cases: &["compare/inclusive"],
        ..ANY
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
        ..ANY
    },
    Exception {
        outcome: "absent",
        archs: &["x86_64", "aarch64", "riscv64"],
        before: Some("6.17"),
        cases: &["sandbox/alien-inclusive"],
        ..ANY
    },
    Exception {
        outcome: "absent",
        archs: &["x86_64", "aarch64"],
        before: Some("6.17"),
        cases: &["sandbox/nt-inclusive"],
        ..ANY
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
        ..ANY
    },
    // CONFIG_X86_X32_ABI and CONFIG_SWAP are of flavour full.
    Exception {
        outcome: "absent",
        archs: &["x86_64"],
        flavours: &["default", "debug"],
        cases: &["entries/x32"],
        ..ANY
    },
    Exception {
        outcome: "absent",
        flavours: &["default", "debug"],
        cases: &["selector/swapped-out"],
        ..ANY
    },
    // The boot argument ia32_emulation= came later.
    Exception {
        outcome: "unmet",
        archs: &["x86_64"],
        before: Some("6.7"),
        cases: &["entries/int80-refused"],
        ..ANY
    },
    // The longer area of rseq(2).
    Exception { outcome: "absent", before: Some("7.0"), cases: &["rseq/optimized-section"], ..ANY },
    // Either one or the other: DEBUG_RSEQ kills who issues calls in critical sections. From 6.19 on it is a
    // boot argument, with which a VM is booted.
    Exception {
        outcome: "absent",
        before: Some("6.19"),
        flavours: &["default", "full"],
        cases: &["rseq/section-checked"],
        ..ANY
    },
    Exception { outcome: "unmet", flavours: &["debug"], cases: &["rseq/section-aborted"], ..ANY },
    Exception {
        outcome: "known",
        cases: &[
            "ptrace/killed-without-stops",
            "registers/restart-numbers-kept",
            "restart/suppressed-number-kept",
            "tracing/killed-without-events",
        ],
        ..ANY
    },
    Exception {
        outcome: "known",
        since: Some("6.4"),
        cases: &["inheritance/child-reads-nothing-stale"],
        ..ANY
    },
    Exception {
        outcome: "known",
        archs: &["x86_64"],
        since: Some("6.11"),
        cases: &["uprobes/return-probe-unseen"],
        ..ANY
    },
    Exception {
        outcome: "known",
        since: Some("6.17"),
        cases: &["ptrace/inclusive-restores"],
        ..ANY
    },
    Exception {
        outcome: "known",
        archs: &["x86_64"],
        since: Some("6.18"),
        cases: &["uprobes/entry-probe-unseen"],
        ..ANY
    },
    Exception {
        outcome: "known",
        archs: &["riscv64", "s390x"],
        cases: &["signals/vdso-return-exempt"],
        ..ANY
    },
    // The result's register is lost.
    Exception {
        outcome: "known",
        archs: &["s390x"],
        cases: &[
            "ptrace/suppressed-signal",
            "registers/call-reissued",
            "registers/general-kept",
            "restart/dispatched-anew",
        ],
        ..ANY
    },
];

fn number(release: &str) -> (u32, u32) {
    let (major, minor) = release.split_once('.').expect("X.Y");
    (major.parse().expect("a number"), minor.parse().expect("a number"))
}

impl Exception {
    fn is_about(&self, arch: &str, release: &str, flavour: &str) -> bool {
        let among = |all: &[&str], one: &str| all.is_empty() || all.contains(&one);
        self.since.is_none_or(|since| number(since) <= number(release))
            && self.before.is_none_or(|before| number(release) < number(before))
            && among(self.archs, arch)
            && among(self.flavours, flavour)
    }
}

/// The cases of a kernel that must not end with `pass`, with their outcomes.
///
/// # Panics
/// If the release is not a series such as `6.12`.
#[must_use]
pub fn expected(arch: &str, release: &str, flavour: &str) -> BTreeMap<String, String> {
    let about = EXCEPTIONS.iter().filter(|exception| exception.is_about(arch, release, flavour));
    let each =
        about.flat_map(|exception| exception.cases.iter().map(|case| (case, exception.outcome)));
    each.map(|(case, outcome)| ((*case).to_owned(), outcome.to_owned())).collect()
}

/// The cases of a run that did not end with `pass`, with their outcomes.
///
/// # Panics
/// If there is no report.
#[must_use]
pub fn found(ran: &Ran) -> BTreeMap<String, String> {
    let mut outcomes = ran.outcomes();
    outcomes.retain(|_, outcome| outcome != "pass");
    outcomes
}
