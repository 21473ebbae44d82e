// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The features that a kernel should offer and the recorded bugs that it should have, by its
//! release, configuration and headers.
//!
//! Comments name the kernel source file or commit of each rule.

use crate::arch;
use crate::known_bugs::{KNOWN_BUGS, KnownBug, Presence};
use crate::version::Version;
use std::collections::HashSet;
use sudbox_images::Arch;
use sudbox_protocol::Feature;
use sudbox_report::{CaseReport, Outcome};

/// Whether a kernel should offer a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Present,
    Absent,
    /// The feature depends on something else, or release or configuration are not known.
    Unknown,
}

/// The facts about a kernel from which its features and bugs are predicted.
#[derive(Clone, Debug)]
pub(crate) struct Expectations {
    arch: Arch,
    version: Option<Version>,
    /// Symbols set to `y` in the final configuration.
    enabled_symbols: Option<HashSet<String>>,
    /// Text of the UAPI headers, if the source is available. A tree between two releases may have
    /// features that its version number does not show, but its headers do.
    headers: Option<String>,
    /// Whether a guest of this kernel offered dispatch.
    guest_offered_dispatch: bool,
}

impl Expectations {
    /// Expectations by the release string, the final `.config`, and the text of
    /// `include/uapi/linux/{prctl,ptrace}.h`.
    pub(crate) fn new(
        arch: Arch,
        release: Option<&str>,
        config: Option<&str>,
        headers: Option<String>,
    ) -> Self {
        Expectations {
            arch,
            version: release.and_then(Version::parse),
            enabled_symbols: config.map(|text| {
                text.lines().filter_map(|line| line.strip_suffix("=y")).map(str::to_owned).collect()
            }),
            headers,
            guest_offered_dispatch: false,
        }
    }

    /// The architecture of the kernel.
    pub(crate) fn arch(&self) -> Arch {
        self.arch
    }

    /// Adds facts from a running guest: the release if it was not known, and whether the guest
    /// offers dispatch.
    pub(crate) fn update(&mut self, release: &str, features: &[Feature]) {
        self.version = self.version.or_else(|| Version::parse(release));
        self.guest_offered_dispatch |= features.contains(&Feature::Dispatch);
    }

    /// Whether the kernel should offer `feature`.
    pub(crate) fn expected_feature(&self, feature: Feature) -> Expected {
        match feature {
            // kernel/entry/Makefile: depends on GENERIC_ENTRY until 7.2, and on
            // SYSCALL_USER_DISPATCH from 7.3 (8383e05af734).
            Feature::Dispatch => match (self.expected_dispatch(), self.guest_offered_dispatch) {
                (Expected::Unknown, true) => Expected::Present,
                (expected, _) => expected,
            },
            // a2fc422ed757, include/uapi/linux/prctl.h.
            Feature::Inclusive => expected_both(
                self.expected_feature(Feature::Dispatch),
                self.by_header("PR_SYS_DISPATCH_INCLUSIVE_ON", Version(6, 17, 0)),
            ),
            // include/uapi/linux/ptrace.h.
            Feature::PtraceConfig => expected_both(
                self.expected_feature(Feature::Dispatch),
                self.by_header("PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG", Version(6, 4, 0)),
            ),
            Feature::Sysctl => expected_both(
                self.expected_feature(Feature::Dispatch),
                expected_both(self.by_release(Version(7, 3, 0)), self.by_config("CONFIG_SYSCTL")),
            ),
            Feature::SeccompFilter => self.by_config("CONFIG_SECCOMP_FILTER"),
            Feature::Userfaultfd => self.by_config("CONFIG_USERFAULTFD"),
            Feature::Ia32 => self.by_config("CONFIG_IA32_EMULATION"),
            Feature::X32 => self.by_config("CONFIG_X86_X32_ABI"),
            // A boot argument may still switch vsyscalls off.
            Feature::Vsyscall => match self.by_config("CONFIG_LEGACY_VSYSCALL_NONE") {
                Expected::Present => Expected::Absent,
                _ => self.by_config("CONFIG_X86_VSYSCALL_EMULATION"),
            },
            // Protection keys depend also on the CPU, so their absence is no failure.
            Feature::Pkeys => Expected::Unknown,
            Feature::Rseq => self.by_config("CONFIG_RSEQ"),
            Feature::SyscallTracepoints => self.by_config("CONFIG_FTRACE_SYSCALLS"),
            Feature::Uprobes => self.by_config("CONFIG_UPROBE_EVENTS"),
            Feature::Audit => self.by_config("CONFIG_AUDIT"),
            Feature::Swap => self.by_config("CONFIG_SWAP"),
            Feature::PidNamespace => self.by_config("CONFIG_PID_NS"),
            // include/uapi/linux/ptrace.h (26bb32768fe6).
            Feature::PtraceSetCallInfo => {
                self.by_header("PTRACE_SET_SYSCALL_INFO", Version(6, 16, 0))
            }
            // kernel/rseq.c: a boot argument from 6.19 on.
            Feature::RseqChecks => expected_either(
                self.by_release(Version(6, 19, 0)),
                self.by_config("CONFIG_DEBUG_RSEQ"),
            ),
            // kernel/rseq.c.
            Feature::RseqSlices => expected_both(
                self.by_release(Version(7, 0, 0)),
                self.by_config("CONFIG_RSEQ_SLICE_EXTENSION"),
            ),
        }
    }

    /// The reason why the kernel cannot be judged by these cases: it offers no dispatch, and it is
    /// unknown whether it should. `None` if the kernel can be judged.
    pub(crate) fn unjudged_reason(&self, cases: &[CaseReport]) -> Option<String> {
        let lacks_dispatch = |case: &CaseReport| {
            case.outcome == Outcome::Absent && case.detail == Feature::Dispatch.as_str()
        };
        let has_failure = cases.iter().any(|case| case.outcome.is_failure());
        let is_unknown = self.expected_feature(Feature::Dispatch) == Expected::Unknown;
        (is_unknown && !has_failure && cases.iter().any(lacks_dispatch)).then(|| {
            "it offers no dispatch, and its release alone does not tell whether it should: name its \
             configuration with --config FILE (CONFIG=FILE)"
                .to_owned()
        })
    }

    /// Whether the kernel should offer dispatch, by its release and configuration.
    fn expected_dispatch(&self) -> Expected {
        match self.by_release(Version(7, 3, 0)) {
            // From 7.3 on, dispatch is a configuration option: "Syscall User Dispatch" in
            // arch/Kconfig.
            Expected::Present => self.by_config("CONFIG_SYSCALL_USER_DISPATCH"),
            Expected::Absent if self.enabled_symbols.is_none() => self.dispatch_by_release(),
            // The patches of sudbox add CONFIG_SYSCALL_USER_DISPATCH to older kernels.
            Expected::Absent => expected_both(
                self.by_release(Version(5, 11, 0)),
                expected_either(
                    self.by_config("CONFIG_GENERIC_ENTRY"),
                    self.by_config("CONFIG_SYSCALL_USER_DISPATCH"),
                ),
            ),
            Expected::Unknown => Expected::Unknown,
        }
    }

    /// Whether a kernel before 7.3 with unknown configuration should offer dispatch.
    fn dispatch_by_release(&self) -> Expected {
        let first_release = arch::target_of(self.arch).dispatch_since;
        first_release.map_or(Expected::Unknown, |release| self.by_release(release))
    }

    /// Whether `name` is a feature that the kernel should not offer.
    pub(crate) fn should_lack(&self, name: &str) -> bool {
        let feature = Feature::from_name(name);
        feature.is_some_and(|feature| self.expected_feature(feature) == Expected::Absent)
    }

    /// The recorded bug with this id, if this kernel has it or may have it.
    pub(crate) fn known_bug(&self, id: &str) -> Option<(&'static KnownBug, Presence)> {
        let version = self.version?;
        KNOWN_BUGS
            .iter()
            .filter(|bug| bug.id == id)
            .find_map(|bug| Some((bug, bug.presence(self.arch, version)?)))
    }

    /// `Present` if the kernel has the version `first_release` or a later one.
    fn by_release(&self, first_release: Version) -> Expected {
        match self.version {
            None => Expected::Unknown,
            Some(version) if version >= first_release => Expected::Present,
            Some(_) => Expected::Absent,
        }
    }

    /// `Present` if the configuration of the kernel sets `symbol` to `y`.
    fn by_config(&self, symbol: &str) -> Expected {
        match &self.enabled_symbols {
            None => Expected::Unknown,
            Some(symbols) if symbols.contains(symbol) => Expected::Present,
            Some(_) => Expected::Absent,
        }
    }

    /// `Present` if the headers define `name`. Without headers, `first_release` decides.
    fn by_header(&self, name: &str, first_release: Version) -> Expected {
        match &self.headers {
            Some(headers) if headers.contains(name) => Expected::Present,
            Some(_) => Expected::Absent,
            None => self.by_release(first_release),
        }
    }
}

/// The expectation for a feature that needs both.
fn expected_both(first: Expected, second: Expected) -> Expected {
    match (first, second) {
        (Expected::Absent, _) | (_, Expected::Absent) => Expected::Absent,
        (Expected::Unknown, _) | (_, Expected::Unknown) => Expected::Unknown,
        (Expected::Present, Expected::Present) => Expected::Present,
    }
}

/// The expectation for a feature that needs at least one of the two.
fn expected_either(first: Expected, second: Expected) -> Expected {
    match (first, second) {
        (Expected::Present, _) | (_, Expected::Present) => Expected::Present,
        (Expected::Unknown, _) | (_, Expected::Unknown) => Expected::Unknown,
        (Expected::Absent, Expected::Absent) => Expected::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str =
        "CONFIG_GENERIC_ENTRY=y\nCONFIG_SYSCTL=y\n# CONFIG_X86_X32_ABI is not set\n";

    #[test]
    fn features_are_expected_from_their_first_release_on() {
        let at = |release| Expectations::new(Arch::X86_64, Some(release), Some(ENTRY), None);
        assert_eq!(at("6.1.3").expected_feature(Feature::Dispatch), Expected::Present);
        assert_eq!(at("6.1.3").expected_feature(Feature::PtraceConfig), Expected::Absent);
        assert_eq!(at("6.12").expected_feature(Feature::PtraceConfig), Expected::Present);
        assert_eq!(at("6.12").expected_feature(Feature::Inclusive), Expected::Absent);
        assert_eq!(at("6.17").expected_feature(Feature::Inclusive), Expected::Present);
        assert_eq!(at("7.3").expected_feature(Feature::Dispatch), Expected::Absent);
        assert_eq!(at("6.12").expected_feature(Feature::X32), Expected::Absent);
    }

    #[test]
    fn arm64_has_dispatch_only_with_the_patches() {
        let at = |config| Expectations::new(Arch::Aarch64, Some("6.12.1"), Some(config), None);
        assert_eq!(at("CONFIG_ARM64=y\n").expected_feature(Feature::Dispatch), Expected::Absent);
        let patched = at("CONFIG_ARM64=y\nCONFIG_SYSCALL_USER_DISPATCH=y\n");
        assert_eq!(patched.expected_feature(Feature::Dispatch), Expected::Present);
    }

    #[test]
    fn headers_take_precedence_over_the_version_number() {
        let headers = Some("#define PR_SYS_DISPATCH_INCLUSIVE_ON 2".to_owned());
        let tree = Expectations::new(Arch::X86_64, Some("6.16.0"), Some(ENTRY), headers);
        assert_eq!(tree.expected_feature(Feature::Inclusive), Expected::Present);
        assert_eq!(tree.expected_feature(Feature::PtraceConfig), Expected::Absent);
    }

    #[test]
    fn without_a_configuration_the_version_decides_where_it_can() {
        let mut image = Expectations::new(Arch::X86_64, None, None, None);
        assert_eq!(image.expected_feature(Feature::Inclusive), Expected::Unknown);
        image.update("6.12.1", &[]);
        assert_eq!(image.expected_feature(Feature::Inclusive), Expected::Absent);
        assert_eq!(image.expected_feature(Feature::Dispatch), Expected::Present);
        assert_eq!(image.expected_feature(Feature::Userfaultfd), Expected::Unknown);
    }

    #[test]
    fn before_7_3_the_release_alone_decides_about_dispatch() {
        let at = |arch, release| Expectations::new(arch, Some(release), None, None);
        let dispatch = |arch, release| at(arch, release).expected_feature(Feature::Dispatch);
        for (arch, before, first) in [
            (Arch::X86_64, "5.10.9", "5.11.0"),
            (Arch::S390x, "5.11.9", "5.12.0"),
            (Arch::Riscv64, "6.3.9", "6.4.0"),
        ] {
            assert_eq!(dispatch(arch, before), Expected::Absent, "{before}");
            assert_eq!(dispatch(arch, first), Expected::Present, "{first}");
        }
        assert_eq!(dispatch(Arch::Aarch64, "6.12.1"), Expected::Unknown);
        // From 7.3 on, dispatch is a configuration option.
        let mut newer = at(Arch::X86_64, "7.3.4");
        assert_eq!(newer.expected_feature(Feature::Dispatch), Expected::Unknown);
        assert_eq!(newer.expected_feature(Feature::Inclusive), Expected::Unknown);
        newer.update("7.3.4", &[Feature::Dispatch]);
        assert_eq!(newer.expected_feature(Feature::Inclusive), Expected::Present);
    }

    #[test]
    fn a_kernel_that_may_be_configured_without_dispatch_is_not_judged() {
        let case = |outcome, got: &str| CaseReport {
            id: "range/empty".into(),
            promise: String::new(),
            kernel_function: String::new(),
            outcome,
            expected: String::new(),
            detail: got.into(),
            bug: None,
            log: vec![],
            console: None,
            rerun: String::new(),
            duration_micros: 0,
        };
        let at = |config| Expectations::new(Arch::X86_64, Some("7.3.4"), config, None);
        let absent = [case(Outcome::Absent, "dispatch"), case(Outcome::Pass, "")];
        let why = at(None).unjudged_reason(&absent).unwrap();
        assert!(why.contains("--config FILE"), "{why}");
        assert_eq!(at(Some("")).unjudged_reason(&absent), None, "it was switched off");
        let sysctl = [case(Outcome::Absent, "sysctl"), case(Outcome::Pass, "")];
        assert_eq!(at(None).unjudged_reason(&sysctl), None);
        let failed = [case(Outcome::Absent, "dispatch"), case(Outcome::Fail, "")];
        assert_eq!(at(None).unjudged_reason(&failed), None, "a failure is a verdict");
    }

    #[test]
    fn known_bugs_belong_to_releases_and_architectures() {
        let at = |release| Expectations::new(Arch::X86_64, Some(release), None, None);
        assert!(at("6.12").known_bug("inclusive-get-set").is_none());
        assert!(at("6.18").known_bug("inclusive-get-set").is_some());
        assert!(at("6.18").known_bug("no-such-bug").is_none());
        let riscv = Expectations::new(Arch::Riscv64, Some("6.18"), None, None);
        assert!(at("6.18").known_bug("uretprobe-dispatched").is_some());
        assert!(riscv.known_bug("uretprobe-dispatched").is_none());
        assert!(riscv.known_bug("restart-number").is_some());
        let s390 = |release| Expectations::new(Arch::S390x, Some(release), None, None);
        assert!(s390("6.12").known_bug("restart-number").is_none());
        assert!(s390("6.12").known_bug("result-register-lost").is_some());
        assert!(s390("7.3").known_bug("result-register-lost").is_none());
        assert!(riscv.known_bug("result-register-lost").is_none());
    }

    #[test]
    fn every_known_bug_of_a_case_has_a_symptom_in_that_case() {
        for case in crate::selection::all_cases() {
            for id in case.known_bugs {
                let mut bugs = KNOWN_BUGS.iter().filter(|bug| bug.id == *id);
                assert!(bugs.any(|bug| bug.has_symptom_in(case.id)), "{} names {id}", case.id);
            }
        }
    }

    #[test]
    fn mainline_and_each_stable_series_have_their_own_release_with_the_fix() {
        let at = |release| {
            let kernel = Expectations::new(Arch::X86_64, Some(release), None, None);
            kernel.known_bug("tsync-bypassed").map(|(_, presence)| presence)
        };
        for release in ["5.11", "6.1.187", "6.12.109", "6.13", "7.0.3"] {
            assert_eq!(at(release), Some(Presence::Certain), "{release}");
        }
        for release in ["6.6.1", "6.18.44", "7.2.3"] {
            assert_eq!(at(release), Some(Presence::Possible), "{release}");
        }
        for release in ["5.8", "6.1.188", "6.12.110", "7.2.13", "7.3", "7.4.1"] {
            assert_eq!(at(release), None, "{release}");
        }
    }
}
