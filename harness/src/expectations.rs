//! What each kernel is expected to offer and which recorded bugs it has: the one table.
//!
//! Every row says where it was read: a kernel source file, or a running kernel.

use std::collections::HashSet;
use sudbox_protocol::Feature;

/// Whether a feature should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Present,
    Absent,
    /// Neither version nor configuration is known well enough to say.
    Unknown,
}

/// A bug of the kernel that is recorded upstream or in its own source.
#[derive(Debug)]
pub(crate) struct KnownBug {
    /// The id that the case table uses.
    pub(crate) id: &'static str,
    /// What is wrong and where it can be read.
    pub(crate) citation: &'static str,
    /// First release that has it.
    since: Version,
    /// First release that does not have it any more.
    until: Option<Version>,
}

const KNOWN_BUGS: &[KnownBug] = &[
    KnownBug {
        id: "inclusive-get-set",
        citation: "task_set_syscall_user_dispatch() stores the inclusive range inverted and \
                   syscall_user_dispatch_get_config() reports it as exclusive; setting that back \
                   is EINVAL (since a2fc422ed757, unfixed in 7.3)",
        since: Version(6, 17, 0),
        until: None,
    },
    KnownBug {
        id: "phantom-exit-stop",
        citation: "syscall_user_dispatch() leaves on_dispatch false on its force_exit_sig() paths, \
                   so syscall_exit_work() reports an exit that had no entry (unfixed in 7.3)",
        since: Version(5, 11, 0),
        until: None,
    },
    KnownBug {
        id: "restart-number",
        citation: "handle_signal() reads a dispatched call number of -512, -513, -514 or -516 in \
                   the rolled back register as a restart code (unfixed in 7.3)",
        since: Version(5, 11, 0),
        until: None,
    },
    KnownBug {
        id: "stale-config-after-clear",
        citation: "clear_syscall_work_syscall_user_dispatch() on fork and exec clears the work \
                   flag alone: the configuration read by ptrace keeps range and selector \
                   (unfixed in 7.3)",
        since: Version(6, 4, 0),
        until: None,
    },
];

/// A release, such as 6.12.117.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Version {
    /// Reads the numbers that a release string begins with: `6.12.117+deb12` is 6.12.117.
    pub(crate) fn parse(release: &str) -> Option<Version> {
        let numbers = release.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = numbers.split('.').filter(|part| !part.is_empty()).map(str::parse);
        let major = parts.next()?.ok()?;
        let minor = parts.next()?.ok()?;
        let patch = parts.next().transpose().ok()?.unwrap_or(0);
        Some(Version(major, minor, patch))
    }
}

/// What is known of a kernel before it boots.
#[derive(Debug, Default)]
pub(crate) struct Expectations {
    version: Option<Version>,
    /// Symbols set to `y` in the final configuration.
    config: Option<HashSet<String>>,
    /// Text of the headers that user space sees, where the source is at hand: between releases
    /// the version number lies.
    headers: Option<String>,
}

impl Expectations {
    /// From what is at hand of the release string, the final `.config` and the text of
    /// `include/uapi/linux/{prctl,ptrace}.h`.
    pub(crate) fn new(
        release: Option<&str>,
        config: Option<&str>,
        headers: Option<String>,
    ) -> Self {
        Expectations {
            version: release.and_then(Version::parse),
            config: config.map(|text| {
                text.lines().filter_map(|line| line.strip_suffix("=y")).map(str::to_owned).collect()
            }),
            headers,
        }
    }

    /// Takes the release from the guest where nothing said it before.
    pub(crate) fn learn_release(&mut self, release: &str) {
        self.version = self.version.or_else(|| Version::parse(release));
    }

    /// Whether the kernel should offer `feature` on x86_64.
    pub(crate) fn feature(&self, feature: Feature) -> Expected {
        match feature {
            // kernel/entry/Makefile: built with GENERIC_ENTRY until 7.2, and by a symbol of its
            // own from 7.3 (8383e05af734).
            Feature::Dispatch => match self.since(Version(7, 3, 0)) {
                Expected::Present => self.config("CONFIG_SYSCALL_USER_DISPATCH"),
                Expected::Absent => {
                    both(self.since(Version(5, 11, 0)), self.config("CONFIG_GENERIC_ENTRY"))
                }
                Expected::Unknown => Expected::Unknown,
            },
            // a2fc422ed757, include/uapi/linux/prctl.h.
            Feature::Inclusive => both(
                self.feature(Feature::Dispatch),
                self.named("PR_SYS_DISPATCH_INCLUSIVE_ON", Version(6, 17, 0)),
            ),
            // include/uapi/linux/ptrace.h.
            Feature::PtraceConfig => both(
                self.feature(Feature::Dispatch),
                self.named("PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG", Version(6, 4, 0)),
            ),
            Feature::Sysctl => both(
                self.feature(Feature::Dispatch),
                both(self.since(Version(7, 3, 0)), self.config("CONFIG_SYSCTL")),
            ),
            Feature::SeccompFilter => self.config("CONFIG_SECCOMP_FILTER"),
            Feature::Userfaultfd => self.config("CONFIG_USERFAULTFD"),
            Feature::Ia32 => self.config("CONFIG_IA32_EMULATION"),
            Feature::X32 => self.config("CONFIG_X86_X32_ABI"),
            // Of the CPU as much as of the configuration, so its absence alone says nothing.
            Feature::Pkeys => Expected::Unknown,
            Feature::Rseq => self.config("CONFIG_RSEQ"),
            Feature::SyscallTracepoints => self.config("CONFIG_FTRACE_SYSCALLS"),
            Feature::Uprobes => self.config("CONFIG_UPROBE_EVENTS"),
            Feature::Audit => self.config("CONFIG_AUDIT"),
            Feature::Swap => self.config("CONFIG_SWAP"),
            Feature::PidNamespace => self.config("CONFIG_PID_NS"),
        }
    }

    /// The recorded bug of that id, if this kernel has it.
    pub(crate) fn known_bug(&self, id: &str) -> Option<&'static KnownBug> {
        let version = self.version?;
        KNOWN_BUGS.iter().find(|bug| {
            bug.id == id && bug.since <= version && bug.until.is_none_or(|until| version < until)
        })
    }

    fn since(&self, first: Version) -> Expected {
        match self.version {
            None => Expected::Unknown,
            Some(version) if version >= first => Expected::Present,
            Some(_) => Expected::Absent,
        }
    }

    fn config(&self, symbol: &str) -> Expected {
        match &self.config {
            None => Expected::Unknown,
            Some(set) if set.contains(symbol) => Expected::Present,
            Some(_) => Expected::Absent,
        }
    }

    /// By the headers where they are at hand, else by the release that brought the name.
    fn named(&self, name: &str, first: Version) -> Expected {
        match &self.headers {
            Some(headers) if headers.contains(name) => Expected::Present,
            Some(_) => Expected::Absent,
            None => self.since(first),
        }
    }
}

fn both(a: Expected, b: Expected) -> Expected {
    match (a, b) {
        (Expected::Absent, _) | (_, Expected::Absent) => Expected::Absent,
        (Expected::Unknown, _) | (_, Expected::Unknown) => Expected::Unknown,
        (Expected::Present, Expected::Present) => Expected::Present,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str =
        "CONFIG_GENERIC_ENTRY=y\nCONFIG_SYSCTL=y\n# CONFIG_X86_X32_ABI is not set\n";

    #[test]
    fn versions_are_read_from_release_strings() {
        assert_eq!(Version::parse("6.12.117+deb12-amd64"), Some(Version(6, 12, 117)));
        assert_eq!(Version::parse("6.12"), Some(Version(6, 12, 0)));
        assert_eq!(Version::parse("7.3.0-rc1"), Some(Version(7, 3, 0)));
        assert_eq!(Version::parse("linux"), None);
    }

    #[test]
    fn features_come_with_their_release() {
        let at = |release| Expectations::new(Some(release), Some(ENTRY), None);
        assert_eq!(at("6.1.3").feature(Feature::Dispatch), Expected::Present);
        assert_eq!(at("6.1.3").feature(Feature::PtraceConfig), Expected::Absent);
        assert_eq!(at("6.12").feature(Feature::PtraceConfig), Expected::Present);
        assert_eq!(at("6.12").feature(Feature::Inclusive), Expected::Absent);
        assert_eq!(at("6.17").feature(Feature::Inclusive), Expected::Present);
        assert_eq!(at("7.3").feature(Feature::Dispatch), Expected::Absent);
        assert_eq!(at("6.12").feature(Feature::X32), Expected::Absent);
    }

    #[test]
    fn between_releases_the_headers_are_believed_and_not_the_version() {
        let headers = Some("#define PR_SYS_DISPATCH_INCLUSIVE_ON 2".to_owned());
        let tree = Expectations::new(Some("6.16.0"), Some(ENTRY), headers);
        assert_eq!(tree.feature(Feature::Inclusive), Expected::Present);
        assert_eq!(tree.feature(Feature::PtraceConfig), Expected::Absent);
    }

    #[test]
    fn an_image_without_a_configuration_is_judged_by_its_version_when_that_is_enough() {
        let mut image = Expectations::new(None, None, None);
        assert_eq!(image.feature(Feature::Inclusive), Expected::Unknown);
        image.learn_release("6.12.1");
        assert_eq!(image.feature(Feature::Inclusive), Expected::Absent);
        assert_eq!(image.feature(Feature::Dispatch), Expected::Unknown);
    }

    #[test]
    fn known_bugs_belong_to_releases() {
        let at = |release| Expectations::new(Some(release), None, None);
        assert!(at("6.12").known_bug("inclusive-get-set").is_none());
        assert!(at("6.18").known_bug("inclusive-get-set").is_some());
        assert!(at("6.18").known_bug("no-such-bug").is_none());
    }

    #[test]
    fn every_known_bug_of_the_case_table_is_cited() {
        for case in crate::selection::table() {
            if let Some(id) = case.known_bug {
                assert!(KNOWN_BUGS.iter().any(|bug| bug.id == id), "{} names {id}", case.id);
            }
        }
    }
}
