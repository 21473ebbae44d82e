// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The type of a case: one promise of the kernel and the code that checks it.
//!
//! This module imports no case; the files with the cases import it.

use std::fmt;
pub(crate) use sudbox_protocol::Arch;
use sudbox_protocol::Feature;

/// A requirement of a case on the machine. The case ends as `unmet` if the machine does not meet it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Effective user 0.
    Root,
    /// A VM made for the cases, because the case may endanger the kernel that runs it.
    Vm,
    /// At least this many CPUs online; the harness boots a VM with so many.
    Cpus(u8),
    /// A CPU feature, named as in `/proc/cpuinfo`.
    CpuFeature(&'static str),
    /// A kernel boot argument; the harness boots a VM with it.
    BootArgument(&'static str),
    /// A CPU of this vendor, named as in `/proc/cpuinfo`. If the machine emulates CPUs, the harness boots a
    /// VM with one.
    CpuVendor(&'static str),
    /// A machine that makes a dispatch within 5 microseconds. If the machine emulates CPUs, the harness boots
    /// a VM whose clock counts instructions, 1 ns for each.
    FastMachine,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Root => write!(f, "root"),
            Need::Vm => write!(f, "vm"),
            Need::Cpus(n) => write!(f, "cpus={n}"),
            Need::CpuFeature(name) => write!(f, "cpu:{name}"),
            Need::BootArgument(argument) => write!(f, "boot:{argument}"),
            Need::CpuVendor(vendor) => write!(f, "cpu-vendor:{vendor}"),
            Need::FastMachine => write!(f, "fast-machine"),
        }
    }
}

/// The reason why a check did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The kernel broke its promise: the case ends as `fail`.
    Mismatch {
        /// The behaviour that the promise requires.
        expected: String,
        /// The behaviour that was observed.
        got: String,
    },
    /// The machine does not meet this requirement, which no [`Need`] names. The check found out.
    Unmet(String),
    /// The check could not be carried out: a fault of sudbox or of the machine, not of the kernel.
    Broken(String),
}

/// The result of a check.
pub type Check = Result<(), Failure>;

/// The check that a case runs.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// This function.
    Check(fn() -> Check),
    /// The random walk of these seeds.
    Walk(&'static [u64]),
    /// The comparison with this index in the table of `compare`.
    Compare(usize),
    /// The workload with this index in the table of `conserve`.
    Conserve(usize),
    /// This point of the grid (`grid`).
    Point(crate::grid::dimension::Point),
    /// Random points of the grid, of this seed.
    Random(u64),
}

/// The architectures to which a case is restricted.
#[derive(Clone, Copy, Debug)]
pub struct OnlyArchs {
    /// The architectures that run it.
    pub archs: &'static [Arch],
    /// The reason why the others do not run it.
    pub reason: &'static str,
}

impl OnlyArchs {
    pub(crate) const INT80: OnlyArchs =
        OnlyArchs { archs: &[Arch::X86_64], reason: "int 0x80 is an instruction of x86-64" };
    pub(crate) const PROTECTION_KEYS: OnlyArchs = OnlyArchs {
        archs: &[Arch::X86_64],
        reason: "the check uses the protection keys of x86-64",
    };
    pub(crate) const TIME_SLICE_EXTENSIONS: OnlyArchs = OnlyArchs {
        archs: &[Arch::X86_64],
        reason: "on other architectures, kernels with time slice extensions have no dispatch",
    };
    pub(crate) const PROGRAMS_OF_32_BITS: OnlyArchs = OnlyArchs {
        archs: &[Arch::X86_64],
        reason: "its 32-bit program is written for x86-64 only",
    };
}

/// A slice of all architectures except these, such as `all_but!(Riscv64)`. It contains architectures that
/// are added to [`Arch`] later.
macro_rules! all_but {
    ($($arch:ident),+) => {{
        const EXCLUDED: &[$crate::case::Arch] = &[$($crate::case::Arch::$arch),+];
        const LENGTH: usize = $crate::case::Arch::ALL.len() - EXCLUDED.len();
        const ARCHS: [$crate::case::Arch; LENGTH] = $crate::case::archs_without(EXCLUDED);
        &ARCHS
    }};
}
pub(crate) use all_but;

/// The architectures that are not in `excluded`. `N` is their number.
pub(crate) const fn archs_without<const N: usize>(excluded: &[Arch]) -> [Arch; N] {
    let mut archs = [Arch::ALL[0]; N];
    let (mut count, mut index) = (0, 0);
    while index < Arch::ALL.len() {
        let (mut is_excluded, mut i) = (false, 0);
        while i < excluded.len() {
            is_excluded |= excluded[i] as u8 == Arch::ALL[index] as u8;
            i += 1;
        }
        if !is_excluded {
            archs[count] = Arch::ALL[index];
            count += 1;
        }
        index += 1;
    }
    assert!(count == N, "an architecture is excluded twice");
    archs
}

/// One promise of the kernel and the code that checks it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// `group/name`, stable for ever.
    pub id: &'static str,
    /// The promise in one line.
    pub promise: &'static str,
    /// The kernel function that keeps the promise.
    pub kernel_function: &'static str,
    /// The kernel features that the case needs. The case ends as `absent` if the kernel lacks one of them.
    pub features: &'static [Feature],
    /// The case's requirements on the machine.
    pub needs: &'static [Need],
    /// Ids of known kernel bugs that make the case fail on some kernels. The harness's table of expected
    /// outcomes lists those kernels and cites the bugs.
    pub known_bugs: &'static [&'static str],
    /// The architectures that run the case; `None` for all.
    pub only: Option<OnlyArchs>,
    /// Whether the case checks that the kernel lacks dispatch. Such a case runs only on kernels without
    /// dispatch.
    pub checks_absence: bool,
    /// Whether the case belongs to the selection `core`: cases of one process, its threads and its children
    /// that take a few milliseconds each. All of them together take at most 0.3 times as long as a boot
    /// (`make bench-harness`). 32-bit programs, system-wide tracers, emulators and stress are not in `core`.
    pub is_in_core: bool,
    /// The check. The runner runs it in a child process.
    pub run: Run,
}

/// A case in `core` that needs [`Feature::Dispatch`] and has no requirements and no known bug.
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
        checks_absence: false,
        is_in_core: true,
        run: Run::Check(run),
    }
}

/// A case as [`case`] makes it, but not in `core`.
pub(crate) const fn case_not_in_core(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    run: fn() -> Check,
) -> Case {
    Case { is_in_core: false, ..case(id, promise, kernel_function, run) }
}

/// A case for kernels without dispatch.
pub(crate) const fn absence_case(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    run: fn() -> Check,
) -> Case {
    Case { features: &[], checks_absence: true, ..case(id, promise, kernel_function, run) }
}

impl Case {
    /// The part of the id before the slash.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.id.split_once('/').map_or(self.id, |(group, _)| group)
    }

    /// Replaces the kernel features that the case needs.
    pub(crate) const fn features(self, features: &'static [Feature]) -> Case {
        Case { features, ..self }
    }

    /// Sets the requirements on the machine.
    pub(crate) const fn needs(self, needs: &'static [Need]) -> Case {
        Case { needs, ..self }
    }

    /// Restricts the case to some architectures.
    pub(crate) const fn only(self, only: OnlyArchs) -> Case {
        Case { only: Some(only), ..self }
    }

    /// The reason why `arch` does not run this case; `None` if `arch` runs it.
    #[must_use]
    pub fn exclusion_reason(&self, arch: Arch) -> Option<&'static str> {
        self.only.filter(|only| !only.archs.contains(&arch)).map(|only| only.reason)
    }

    /// Names the known kernel bugs that make the case fail.
    pub(crate) const fn known_bugs(self, known_bugs: &'static [&'static str]) -> Case {
        Case { known_bugs, ..self }
    }
}
