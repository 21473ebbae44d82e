// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pinned kernels of other architectures, built from source, in QEMU's emulation. `expected_outcomes`
//! lists the cases that do not pass.

use std::collections::BTreeMap;
use sudbox_tests::{
    PINNED_SERIES, RunOutput, expected_outcomes, print_uncaptured, run, sudbox, sudbox_run,
};

/// Whether kernels of an architecture can be built and run here. If not, prints `NOT RUN`. Always true in
/// CI, because sudbox installs the tools there.
fn is_available(arch: &str) -> bool {
    let on_path = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    let needed = [format!("qemu-system-{arch}"), format!("{arch}-linux-gnu-gcc")];
    if let Some(missing) = needed.iter().find(|program| !on_path(program))
        && std::env::var_os("CI").is_none()
    {
        print_uncaptured(&format!("NOT RUN: kernels of {arch}: {missing} is not installed"));
        return false;
    }
    true
}

/// Runs `sudbox run` for an architecture; `None` if QEMU or the compiler for it is missing.
fn judge(arch: &str, arguments: &[&str]) -> Option<RunOutput> {
    is_available(arch).then(|| run(sudbox_run(&[&["--arch", arch], arguments].concat())))
}

/// The expected outcomes other than `pass` on the pinned kernel of an architecture.
fn expected_exceptions(arch: &str) -> BTreeMap<String, String> {
    expected_outcomes::expected(arch, PINNED_SERIES, "default")
}

#[track_caller]
fn check_pinned(arch: &str) {
    if let Some(result) = judge(arch, &["--cases", "all"]) {
        let result = result.expect_code(0);
        assert_eq!(expected_outcomes::not_passed(&result), expected_exceptions(arch), "{arch}");
    }
}

#[test]
fn riscv64_keeps_every_promise() {
    check_pinned("riscv64");
}

#[test]
fn s390x_keeps_every_promise() {
    check_pinned("s390x");
}

#[test]
fn aarch64_keeps_every_promise() {
    check_pinned("aarch64");
}

#[test]
fn aarch64_keeps_every_promise_on_a_cpu_without_sve_and_on_four_cpus() {
    for (options, unmet_cases) in [
        (
            &["--cpu-model", "cortex-a72"][..],
            &["registers/scalable-cut", "tagged/memory-tag-checked"][..],
        ),
        (&["--cpus", "4"], &[]),
    ] {
        let arguments = [&["--cases", "all"], options].concat();
        let Some(result) = judge("aarch64", &arguments) else { return };
        let mut expected = expected_exceptions("aarch64");
        expected.extend(unmet_cases.iter().map(|case| ((*case).to_owned(), "unmet".to_owned())));
        assert_eq!(expected_outcomes::not_passed(&result.expect_code(0)), expected, "{options:?}");
    }
}

#[test]
fn walks_on_aarch64_agree_with_the_model() {
    let Some(result) = judge("aarch64", &["--fuzz", "200", "--seed", "1"]) else { return };
    let outcomes = result.expect_code(0).outcomes();
    assert_eq!(outcomes.len(), 200);
    assert!(outcomes.values().all(|outcome| outcome == "pass"), "{outcomes:?}");
}

#[test]
fn on_kernels_without_dispatch_the_cases_are_absent_as_expected() {
    // 6.1 is included because its ptrace interface differs (before 6.4).
    let aarch64 = ["6.1", "6.12", "7.3"].map(|kernel| ("aarch64", kernel));
    for (arch, kernel) in [("riscv64", "7.3")].into_iter().chain(aarch64) {
        let Some(result) = judge(arch, &["--cases", "core", kernel]) else { continue };
        for (id, outcome) in result.expect_code(0).outcomes() {
            // The cases `absence/*` check how such a kernel refuses dispatch.
            let expected = if id.starts_with("absence/") { "pass" } else { "absent" };
            assert!(outcome == expected || id == "boot/reaches-init", "{arch} {id}: {outcome}");
        }
    }
}

#[test]
fn a_matrix_of_architectures_lists_their_differences() {
    let others = ["aarch64", "riscv64", "s390x"];
    if !others.into_iter().all(is_available) {
        return;
    }
    let archs = ["x86_64"].into_iter().chain(others).collect::<Vec<_>>().join(" ");
    let mut command = sudbox();
    command.args(["matrix", "--kernels", "pinned", "--cases", "core", "--arches", &archs]);
    let table = run(command).expect_code(0).stdout;
    assert!(table.contains("4 kernels: 4 as expected"), "{table}");
    let (_, differences) = table.split_once("differs ").expect("a list of differences");
    for (pair, case) in
        [("x86_64 -> aarch64", "registers/sse-kept"), ("-> riscv64", "registers/flags-kept")]
    {
        let (_, after_pair) =
            differences.split_once(pair).unwrap_or_else(|| panic!("no {pair}: {table}"));
        assert!(after_pair.contains(case), "{pair}: {table}");
    }
}
