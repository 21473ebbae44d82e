// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The table of all cases.

use crate::case::{Case, Check, Failure};

mod absence;
mod alternate_stack;
mod arguments;
pub(crate) mod audit;
mod births;
mod entries;
#[cfg(foreign_programs)]
mod escapes;
#[cfg(not(target_arch = "x86_64"))]
mod floating;
#[cfg(foreign_programs)]
mod foreign;
pub(crate) mod inheritance;
mod inheritance_exec;
mod other_calls;
mod ptrace;
mod ptrace_calls;
mod ptrace_events;
mod ptrace_numbers;
mod ptrace_signal;
mod ptrace_stops;
mod range;
mod registers;
mod restart;
mod rseq;
mod rseq_long;
mod sandbox;
mod seccomp;
mod seccomp_sync;
mod selector;
mod selector_memory;
mod siblings;
mod siginfo;
mod signals;
mod signals_core;
mod signals_order;
#[cfg(not(target_arch = "riscv64"))]
mod stepping;
mod stress;
pub(crate) mod sysctl;
mod tagged;
pub(crate) mod tracefs;
mod tracing;
pub(crate) mod uprobes;
mod userfault;
mod users;
mod users_traced;
#[cfg(windows_programs)]
mod windows;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "s390x")]
mod s390x;
#[cfg(target_arch = "x86_64")]
mod x86_64;

// The folder of this architecture.
#[cfg(target_arch = "aarch64")]
use aarch64 as this_arch;
#[cfg(target_arch = "s390x")]
use s390x as this_arch;
#[cfg(target_arch = "x86_64")]
use x86_64 as this_arch;

/// A check that is compiled only for some architectures. For the others the macro gives
/// [`check_of_other_architecture`].
///
/// - `check_on!("x86_64", this_arch::MODULE::FUNCTION)`: a check in the folder of this architecture.
/// - `check_on!(not "x86_64", MODULE::FUNCTION)`: a check in a file for all other architectures.
/// - `check_on!(cfg CFG, MODULE::FUNCTION)`: a check in a file that is compiled with `cfg(CFG)`.
macro_rules! check_on {
    (cfg $cfg:ident, $($check:tt)::+) => {{
        #[cfg($cfg)]
        {
            $crate::cases::$($check)::+
        }
        #[cfg(not($cfg))]
        {
            $crate::cases::check_of_other_architecture
        }
    }};
    (not $arch:literal, $($check:tt)::+) => {{
        #[cfg(not(target_arch = $arch))]
        {
            $crate::cases::$($check)::+
        }
        #[cfg(target_arch = $arch)]
        {
            $crate::cases::check_of_other_architecture
        }
    }};
    ($($arch:literal)|+, $($check:tt)::+) => {{
        #[cfg(any($(target_arch = $arch),+))]
        {
            $crate::cases::$($check)::+
        }
        #[cfg(not(any($(target_arch = $arch),+)))]
        {
            $crate::cases::check_of_other_architecture
        }
    }};
}
use check_on;

/// The check of a case on architectures that do not run the case. The host never plans it there.
fn check_of_other_architecture() -> Check {
    Err(Failure::Broken("this case belongs to another architecture".into()))
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
    alternate_stack::CASES,
    signals_core::CASES,
    signals_order::CASES,
    inheritance::CASES,
    inheritance_exec::CASES,
    other_calls::CASES,
    births::CASES,
    siblings::CASES,
    ptrace::CASES,
    ptrace_calls::CASES,
    ptrace_events::CASES,
    ptrace_numbers::CASES,
    ptrace_signal::CASES,
    ptrace_stops::CASES,
    seccomp::CASES,
    seccomp_sync::CASES,
    entries::CASES,
    tracing::CASES,
    restart::CASES,
    rseq::CASES,
    rseq_long::CASES,
    uprobes::CASES,
    sysctl::CASES,
    tagged::CASES,
    users::CASES,
    users_traced::CASES,
    sandbox::CASES,
    stress::CASES,
    crate::compare::CASES,
    crate::conserve::CASES,
    crate::grid::CASES,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use sudbox_protocol::Feature;

    fn all_cases() -> impl Iterator<Item = &'static Case> {
        TABLE.iter().copied().flatten()
    }

    #[test]
    fn ids_are_unique_and_well_formed() {
        let mut ids = HashSet::new();
        for case in all_cases() {
            assert!(ids.insert(case.id), "two cases have the id {}", case.id);
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
    fn every_case_has_a_promise_and_a_kernel_function() {
        for case in all_cases() {
            let needs_dispatch = case.features.contains(&Feature::Dispatch);
            assert_eq!(needs_dispatch, !case.checks_absence, "{}", case.id);
            assert!(!case.promise.is_empty() && !case.promise.contains('\n'), "{}", case.id);
            assert!(case.kernel_function.ends_with("()"), "{}", case.id);
            assert!(case.known_bugs.iter().all(|bug| !bug.is_empty()), "{}", case.id);
        }
    }

    #[test]
    fn all_cases_of_a_file_have_the_same_group() {
        for cases in TABLE {
            let group = cases.first().map(Case::group);
            assert!(cases.iter().all(|case| Some(case.group()) == group), "{group:?}");
        }
    }
}
