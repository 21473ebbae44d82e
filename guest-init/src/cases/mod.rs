//! The case table, and what a case is.

use std::fmt;
use sudbox_protocol::Feature;

mod arguments;
mod inheritance;
mod ptrace;
mod range;
mod registers;
mod seccomp;
mod selector;
mod siginfo;
mod signals;
pub(crate) mod support;
mod tracee;

/// Something a case needs of the machine; what is not there makes it `unmet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Effective user 0.
    Root,
    /// May endanger the kernel it runs on: only in a VM.
    Vm,
    /// At least this many CPUs online; the harness boots such a VM for it.
    Cpus(u8),
    /// A CPU feature by its name in `/proc/cpuinfo`.
    CpuFeature(&'static str),
    /// A boot argument; the harness boots such a VM for it.
    BootArgument(&'static str),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Root => write!(f, "root"),
            Need::Vm => write!(f, "vm"),
            Need::Cpus(n) => write!(f, "cpus={n}"),
            Need::CpuFeature(name) => write!(f, "cpu:{name}"),
            Need::BootArgument(argument) => write!(f, "boot:{argument}"),
        }
    }
}

/// Why a check did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The kernel broke its promise.
    Promise {
        /// What the promise says must be seen.
        expected: String,
        /// What was seen.
        got: String,
    },
    /// The machine turned out to lack this.
    Unmet(String),
    /// The case could not be tried: a fault of sudbox or of the machine.
    Broken(String),
}

/// How a check went.
pub type Check = Result<(), Wrong>;

/// One promise of the kernel and the code that checks it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// `group/name`, stable for ever.
    pub id: &'static str,
    /// The promise in one line.
    pub promise: &'static str,
    /// Kernel function that makes it.
    pub kernel_function: &'static str,
    /// The features it is about: where the kernel lacks one, the case is absent.
    pub features: &'static [Feature],
    /// What it needs of the machine.
    pub needs: &'static [Need],
    /// Id of a recorded kernel bug that makes it fail on some kernels; the harness's table of
    /// expectations says which and cites it.
    pub known_bug: Option<&'static str>,
    /// Part of the named selection `core`.
    pub core: bool,
    /// The check, run in a child of its own.
    pub run: fn() -> Check,
}

/// A case of `core` that is about dispatch, needs nothing and shows no known bug.
const fn case(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    run: fn() -> Check,
) -> Case {
    Case {
        id,
        promise,
        kernel_function,
        features: &[Feature::Dispatch],
        needs: &[],
        known_bug: None,
        core: true,
        run,
    }
}

impl Case {
    const fn about(self, features: &'static [Feature]) -> Case {
        Case { features, ..self }
    }

    const fn needing(self, needs: &'static [Need]) -> Case {
        Case { needs, ..self }
    }

    const fn shows(self, bug: &'static str) -> Case {
        Case { known_bug: Some(bug), ..self }
    }
}

/// Every case, in the order in which they run.
pub const TABLE: &[&[Case]] = &[
    arguments::CASES,
    siginfo::CASES,
    registers::CASES,
    selector::CASES,
    range::CASES,
    signals::CASES,
    inheritance::CASES,
    ptrace::CASES,
    seccomp::CASES,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn all() -> impl Iterator<Item = &'static Case> {
        TABLE.iter().copied().flatten()
    }

    #[test]
    fn ids_are_unique_and_well_formed() {
        let mut seen = HashSet::new();
        for case in all() {
            assert!(seen.insert(case.id), "{} is there twice", case.id);
            let (group, name) = case.id.split_once('/').expect(case.id);
            for part in [group, name] {
                assert!(
                    !part.is_empty()
                        && part
                            .chars()
                            .all(|c| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit()),
                    "{}",
                    case.id
                );
            }
        }
    }

    #[test]
    fn every_case_says_what_it_is_about() {
        for case in all() {
            assert!(case.features.contains(&Feature::Dispatch), "{}", case.id);
            assert!(!case.promise.is_empty() && !case.promise.contains('\n'), "{}", case.id);
            assert!(case.kernel_function.ends_with("()"), "{}", case.id);
            assert!(case.known_bug.is_none_or(|bug| !bug.is_empty()), "{}", case.id);
        }
    }

    #[test]
    fn groups_are_not_mixed() {
        for group in TABLE {
            let name = |case: &Case| case.id.split('/').next().map(str::to_owned);
            let first = group.first().and_then(name);
            assert!(group.iter().all(|case| name(case) == first), "{first:?}");
        }
    }
}
