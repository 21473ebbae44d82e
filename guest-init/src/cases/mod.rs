//! The case table, and what a case is.

use crate::arch::Arch;
use std::fmt;
use sudbox_protocol::Feature;

mod absence;
mod arguments;
mod audit;
mod entries;
#[cfg(not(target_arch = "s390x"))]
mod escapes;
#[cfg(not(target_arch = "x86_64"))]
mod floating;
#[cfg(not(target_arch = "s390x"))]
mod foreign;
mod inheritance;
mod ptrace;
mod range;
mod registers;
mod restart;
mod rseq;
mod sandbox;
mod seccomp;
mod selector;
mod selector_memory;
mod siginfo;
mod signals;
mod signals_order;
#[cfg(not(target_arch = "riscv64"))]
mod stepping;
mod stress;
pub(crate) mod support;
mod sysctl;
mod tagged;
pub(crate) mod tracee;
mod tracefs;
mod tracing;
mod uprobes;
mod userfault;
mod users;
mod users_traced;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod windows;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "s390x")]
mod s390x;
#[cfg(target_arch = "x86_64")]
mod x86_64;

/// The checks that this architecture alone has.
#[cfg(target_arch = "aarch64")]
use aarch64 as own;
#[cfg(target_arch = "riscv64")]
use riscv64 as own;
#[cfg(target_arch = "s390x")]
use s390x as own;
#[cfg(target_arch = "x86_64")]
use x86_64 as own;

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

/// What a case runs.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// A check of its own.
    Check(fn() -> Check),
    /// The random walk of this seed.
    Walk(u64),
}

impl Run {
    pub(crate) fn run(self) -> Check {
        match self {
            Run::Check(check) => check(),
            Run::Walk(seed) => crate::walk::check(seed),
        }
    }
}

/// The architectures of a case that not all have.
#[derive(Clone, Copy, Debug)]
pub struct Only {
    /// Where it runs.
    pub archs: &'static [Arch],
    /// Why it does not run elsewhere.
    pub reason: &'static str,
}

impl Only {
    const INT80: Only =
        Only { archs: &[Arch::X86_64], reason: "int 0x80 is an instruction of x86-64" };
    const PROTECTION_KEYS: Only =
        Only { archs: &[Arch::X86_64], reason: "protection keys are those of x86-64 here" };
    const PROGRAMS_OF_32_BITS: Only =
        Only { archs: &[Arch::X86_64], reason: "its 32-bit program is written for x86-64 only" };
}

/// The check of a case that some architectures have, each its own. Elsewhere it is never planned.
macro_rules! on {
    ($($arch:literal)|+, $($check:tt)::+) => {{
        #[cfg(any($(target_arch = $arch),+))]
        {
            $crate::cases::own::$($check)::+
        }
        #[cfg(not(any($(target_arch = $arch),+)))]
        {
            $crate::cases::elsewhere
        }
    }};
}
use on;

/// What [`on`] gives elsewhere.
fn elsewhere() -> Check {
    Err(Wrong::Broken("this case is one of another architecture".into()))
}

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
    /// Ids of recorded kernel bugs that make it fail on some kernels; the harness's table of
    /// expectations says which and cites them.
    pub known_bugs: &'static [&'static str],
    /// The architectures that have it, if not all do.
    pub only: Option<Only>,
    /// It is about a kernel that should not have dispatch, and is run on such ones alone.
    pub absence: bool,
    /// Part of the named selection `core`: what one process, its threads and its children show of
    /// dispatch in a few milliseconds each. A run of it all takes at most 1.3 times a bare boot
    /// (`make bench-harness`). Beside it are programs of 32 bits, tracers of the whole machine, whole
    /// emulators and stress.
    pub core: bool,
    /// The check, run in a child of its own.
    pub run: Run,
}

/// A case of `core` that is about dispatch, needs nothing and shows no known bug.
pub(crate) const fn case(
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
        known_bugs: &[],
        only: None,
        absence: false,
        core: true,
        run: Run::Check(run),
    }
}

/// The same, but not part of `core`.
const fn beside(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    run: fn() -> Check,
) -> Case {
    Case { core: false, ..case(id, promise, kernel_function, run) }
}

/// A case about a kernel without dispatch.
const fn absent(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    run: fn() -> Check,
) -> Case {
    Case { features: &[], absence: true, ..case(id, promise, kernel_function, run) }
}

impl Case {
    pub(crate) const fn about(self, features: &'static [Feature]) -> Case {
        Case { features, ..self }
    }

    const fn needing(self, needs: &'static [Need]) -> Case {
        Case { needs, ..self }
    }

    pub(crate) const fn only(self, only: Only) -> Case {
        Case { only: Some(only), ..self }
    }

    /// Why it does not run on this architecture, if it does not.
    #[must_use]
    pub fn not_on(&self, arch: Arch) -> Option<&'static str> {
        self.only.filter(|only| !only.archs.contains(&arch)).map(|only| only.reason)
    }

    const fn shows(self, known_bugs: &'static [&'static str]) -> Case {
        Case { known_bugs, ..self }
    }
}

/// Every case, in the order in which they run.
pub const TABLE: &[&[Case]] = &[
    absence::CASES,
    arguments::CASES,
    siginfo::CASES,
    registers::CASES,
    selector::CASES,
    selector_memory::CASES,
    range::CASES,
    signals::CASES,
    signals_order::CASES,
    inheritance::CASES,
    ptrace::CASES,
    seccomp::CASES,
    entries::CASES,
    tracing::CASES,
    restart::CASES,
    rseq::CASES,
    uprobes::CASES,
    sysctl::CASES,
    tagged::CASES,
    users::CASES,
    users_traced::CASES,
    sandbox::CASES,
    stress::CASES,
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
            let dispatch = case.features.contains(&Feature::Dispatch);
            assert_eq!(dispatch, !case.absence, "{}", case.id);
            assert!(!case.promise.is_empty() && !case.promise.contains('\n'), "{}", case.id);
            assert!(case.kernel_function.ends_with("()"), "{}", case.id);
            assert!(case.known_bugs.iter().all(|bug| !bug.is_empty()), "{}", case.id);
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
