// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Benchmarks of dispatch and of its alternatives. Each is a case that stores a [`Measurement`]. A benchmark
//! sets no limit on times; it checks only that the timed operation took place.

mod calls;
mod filters;
mod interrupts;
mod traced;
mod watch;

pub(crate) use watch::take_measurement;

use crate::case::{Case, Need, case};
use sudbox_protocol::Feature;
#[cfg(doc)]
use sudbox_protocol::Measurement;

/// The prefix of the ids of benchmarks.
pub const PREFIX: &str = "bench/";

/// The benchmark with which the others are compared.
pub const NATIVE: &str = "bench/native";

/// The features that a benchmark without dispatch requires: none.
const NO_FEATURES: &[Feature] = &[];
/// The features that benchmarks of inclusive mode require.
const INCLUSIVE_FEATURES: &[Feature] = &[Feature::Dispatch, Feature::Inclusive];
/// The features that benchmarks of seccomp filters require.
const FILTER_FEATURES: &[Feature] = &[Feature::SeccompFilter];
/// The needs of benchmarks with a thread on another CPU.
const NEEDS_TWO_CPUS: &[Need] = &[Need::Cpus(2)];

/// Every benchmark, in the order of the report.
pub const TABLE: &[Case] = &[
    case(NATIVE, "getpid(), no dispatch", "syscall_enter_from_user_mode()", calls::bench_native)
        .features(NO_FEATURES),
    case(
        "bench/inside",
        "getpid() inside the gate, armed",
        "syscall_user_dispatch()",
        calls::bench_inside,
    ),
    case(
        "bench/allowed",
        "getpid(), the selector allows",
        "syscall_user_dispatch()",
        calls::bench_allowed,
    ),
    case(
        "bench/round-trip",
        "dispatch to the end of sigreturn",
        "trigger_sigsys()",
        calls::bench_round_trip,
    ),
    case(
        "bench/inclusive-free",
        "getpid() outside of the range",
        "syscall_user_dispatch()",
        calls::bench_inclusive_free,
    )
    .features(INCLUSIVE_FEATURES),
    case(
        "bench/inclusive-trip",
        "a round trip, inclusive range",
        "trigger_sigsys()",
        calls::bench_inclusive_trip,
    )
    .features(INCLUSIVE_FEATURES),
    case(
        "bench/flip",
        "a flip of the selector",
        "syscall_user_dispatch()",
        calls::bench_flip_alone,
    ),
    case(
        "bench/prctl",
        "arming and disarming by prctl()",
        "task_set_syscall_user_dispatch()",
        calls::bench_prctl,
    ),
    case(
        "bench/prctl-threads",
        "prctl, a thread on another CPU",
        "task_set_syscall_user_dispatch()",
        calls::bench_prctl_threads,
    )
    .needs(NEEDS_TWO_CPUS),
    case(
        "bench/personality",
        "personality(), there and back",
        "ksys_personality()",
        calls::bench_personality,
    )
    .features(NO_FEATURES),
    case(
        "bench/seccomp-allow",
        "getpid(), a filter allows all",
        "__seccomp_filter()",
        filters::bench_allow_all,
    )
    .features(FILTER_FEATURES),
    case(
        "bench/seccomp-inside",
        "getpid(), a filter by pointer",
        "__seccomp_filter()",
        filters::bench_inside,
    )
    .features(FILTER_FEATURES),
    case(
        "bench/seccomp-trap",
        "RET_TRAP to the end of sigreturn",
        "__seccomp_filter()",
        filters::bench_trap,
    )
    .features(FILTER_FEATURES),
    case(
        "bench/seccomp-notify",
        "answered by user notification",
        "seccomp_do_user_notification()",
        filters::bench_notify,
    )
    .features(FILTER_FEATURES),
    case(
        "bench/ptrace-sysemu",
        "stopped by a tracer",
        "ptrace_report_syscall()",
        traced::bench_sysemu,
    )
    .features(NO_FEATURES),
    case("bench/rewritten", "a trampoline in place of a call", "", calls::bench_rewritten)
        .features(NO_FEATURES),
];

/// Names the case of this process, so that its marks have the number of the case: the position in
/// [`TABLE`].
pub(crate) fn begin_case(id: &str) {
    if let Some(position) = TABLE.iter().position(|case| case.id == id) {
        watch::set_operation_number(position as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_begin_alike_and_are_unique() {
        for (at, case) in TABLE.iter().enumerate() {
            assert!(case.id.starts_with(PREFIX), "{}", case.id);
            assert!(TABLE[..at].iter().all(|other| other.id != case.id), "{}", case.id);
        }
        assert_eq!(TABLE[0].id, NATIVE);
    }
}
