// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pinned kernels of other architectures, built from source, in QEMU's emulation. Each case that
//! may end otherwise than `pass` is listed by name (`expected_outcomes`).

use std::collections::BTreeMap;
use sudbox_tests::{
    PINNED_SERIES, RunOutput, expected_outcomes, print_uncaptured, run, sudbox, sudbox_run,
};

/// Whether kernels of an architecture can be built and run here. If not, prints `NOT RUN`. In CI the
/// answer is always yes, because sudbox installs the tools there.
fn is_available(arch: &str) -> bool {
    let on_path = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    let needed = [format!("qemu-system-{arch}"), format!("{arch}-linux-gnu-gcc")];
    if let Some(lacks) = needed.iter().find(|program| !on_path(program))
        && std::env::var_os("CI").is_none()
    {
        print_uncaptured(&format!("NOT RUN: kernels of {arch}: {lacks} is not installed"));
        return false;
    }
    true
}

/// Runs `sudbox run` for an architecture; `None` if QEMU or the compiler for it is missing.
fn judge(arch: &str, arguments: &[&str]) -> Option<RunOutput> {
    is_available(arch).then(|| run(sudbox_run(&[&["--arch", arch], arguments].concat())))
}

/// The expected outcomes of an architecture's pinned kernel, without those that pass.
fn due(arch: &str) -> BTreeMap<String, String> {
    expected_outcomes::expected(arch, PINNED_SERIES, "default")
}

#[track_caller]
fn check_pinned(arch: &str) {
    if let Some(result) = judge(arch, &["--cases", "all"]) {
        let result = result.expect_code(0);
        assert_eq!(expected_outcomes::not_passed(&result), due(arch), "{arch}");
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
fn a_64_bit_processor_without_vectors_tags_and_more_cpus_keep_every_promise() {
    for (more, lacks) in [
        (
            &["--cpu-model", "cortex-a72"][..],
            &["registers/scalable-cut", "tagged/memory-tag-checked"][..],
        ),
        (&["--cpus", "4"], &[]),
    ] {
        let Some(result) = judge("aarch64", &[&["--cases", "all"], more].concat()) else { return };
        let mut due = due("aarch64");
        due.extend(lacks.iter().map(|case| ((*case).to_owned(), "unmet".to_owned())));
        assert_eq!(expected_outcomes::not_passed(&result.expect_code(0)), due, "{more:?}");
    }
}

#[test]
fn walks_on_aarch64_do_what_the_model_says() {
    let Some(result) = judge("aarch64", &["--fuzz", "200", "--seed", "1"]) else { return };
    let outcomes = result.expect_code(0).outcomes();
    assert_eq!(outcomes.len(), 200);
    assert!(outcomes.values().all(|outcome| outcome == "pass"), "{outcomes:?}");
}

#[test]
fn where_dispatch_is_gone_it_is_absent_as_expected() {
    // 6.1 is included because its ptrace interface differs (before 6.4).
    let aarch64 = ["6.1", "6.12", "7.3"].map(|kernel| ("aarch64", kernel));
    for (arch, kernel) in [("riscv64", "7.3")].into_iter().chain(aarch64) {
        let Some(result) = judge(arch, &["--cases", "core", kernel]) else { continue };
        for (id, outcome) in result.expect_code(0).outcomes() {
            // The cases `absence/*` check how such a kernel refuses dispatch.
            let due = if id.starts_with("absence/") { "pass" } else { "absent" };
            assert!(outcome == due || id == "boot/reaches-init", "{arch} {id}: {outcome}");
        }
    }
}

#[test]
fn a_matrix_of_architectures_says_where_they_differ() {
    let others = ["aarch64", "riscv64", "s390x"];
    if !others.into_iter().all(is_available) {
        return;
    }
    let archs = ["x86_64"].into_iter().chain(others).collect::<Vec<_>>().join(" ");
    let mut command = sudbox();
    command.args(["matrix", "--kernels", "pinned", "--cases", "core", "--arches", &archs]);
    let table = run(command).expect_code(0).stdout;
    assert!(table.contains("4 kernels: 4 as expected"), "{table}");
    let (_, differs) = table.split_once("differs ").expect("what differs");
    for (pair, case) in
        [("x86_64 -> aarch64", "registers/sse-kept"), ("-> riscv64", "registers/flags-kept")]
    {
        let (_, after) = differs.split_once(pair).unwrap_or_else(|| panic!("no {pair}: {table}"));
        assert!(after.contains(case), "{pair}: {table}");
    }
}
