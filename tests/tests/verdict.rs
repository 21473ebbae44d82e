// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pinned kernel, judged as a newcomer judges it.

use std::collections::BTreeSet;
use std::process::Command;
use sudbox_tests::{PINNED, expected_outcomes, listed_cases, run, sudbox, sudbox_run};

/// Cases that are for kernels without dispatch.
const WITHOUT_DISPATCH: &[&str] = &[
    "absence/filter-decides",
    "absence/modes-refused",
    "absence/requests-refused",
    "absence/tracer-sees-calls",
];

#[test]
fn the_pinned_kernel_keeps_every_promise_and_every_case_is_accounted_for() {
    let ran = run(sudbox_run(&["--cases", "all"])).expect(0);
    let outcomes = ran.outcomes();
    let ids: BTreeSet<String> = outcomes.keys().cloned().collect();
    let mut listed = listed_cases();
    for case in WITHOUT_DISPATCH {
        assert!(listed.remove(*case), "{case} is not listed");
    }
    assert_eq!(ids, listed, "cases reported and cases listed differ");
    assert!(ids.len() > 25, "only {} cases", ids.len());
    let due = expected_outcomes::expected("x86_64", PINNED, "default");
    for (id, outcome) in expected_outcomes::found(&ran) {
        assert_eq!(due.get(&id), Some(&outcome), "{id} is {outcome}, which is not allowed by name");
    }
}

/// One boot does not cover both fast ways from a 32-bit program: the vDSO takes SYSCALL on an AMD
/// processor, which QEMU's default is, and SYSENTER on an Intel one.
#[test]
fn a_32_bit_program_enters_by_sysenter_on_an_intel_processor() {
    let model = "max,vendor=GenuineIntel";
    let ran = run(sudbox_run(&["--cases", "entries/*", "--cpu-model", model])).expect(0);
    let outcomes = ran.outcomes();
    for id in ["entries/sysenter", "entries/sysenter-bad-stack", "entries/sigreturn-exempt"] {
        assert_eq!(outcomes.get(id).map(String::as_str), Some("pass"), "{id}");
    }
}

#[test]
fn a_cached_run_needs_no_network() {
    let _ = run(sudbox_run(&["--cases", "boot"])).expect(0);
    let inner = sudbox_run(&["--cases", "core"]);
    // A network namespace of its own has no interface but a loopback that is down.
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--map-root-user", "--"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let ran = run(command).expect(0);
    assert!(ran.outcomes().values().any(|outcome| outcome == "pass"));
}

#[test]
fn every_form_of_the_report_is_printed_and_kept() {
    for (format, beginning) in [
        ("table", ""),
        ("ktap", "KTAP version 1\n"),
        ("html", "<!DOCTYPE html>"),
        ("junit", "<?xml"),
        ("json", "{"),
        ("kcidb", "{"),
    ] {
        let mut command = sudbox();
        command.args(["run", "--cases", "selector", "--format", format]);
        let ran = run(command).expect(0);
        assert!(ran.stdout.starts_with(beginning), "{format}: {}", ran.stdout);
        assert!(!ran.stdout.contains('\u{1b}'), "colour without a terminal");
        let folder = ran.folder();
        for file in [
            "report.txt",
            "report.json",
            "report.html",
            "summary.json",
            "junit.xml",
            "report.ktap",
            "kcidb.json",
            "console.log",
            "config",
        ] {
            assert!(folder.join(file).is_file(), "{}/{file}", folder.display());
        }
    }
}

#[test]
fn repeats_and_more_cpus_change_no_outcome() {
    let once = run(sudbox_run(&["--cases", "core"])).expect(0).outcomes();
    let often = run(sudbox_run(&["--cases", "core", "--repeat", "5"])).expect(0).outcomes();
    assert_eq!(once, often);
    // More than one plan holds, which is a thousand cases: a boot for each.
    let many = run(sudbox_run(&["--cases", "core", "--repeat", "12"])).expect(0);
    let plans = (12 * once.len()).div_ceil(1000);
    assert!(plans > 1, "{} cases are one plan", 12 * once.len());
    assert_eq!(many.json()["boots"], plans, "{} cases", 12 * once.len());
    let wide = run(sudbox_run(&["--cases", "core", "--cpus", "4"])).expect(0).outcomes();
    assert_eq!(once, wide);
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let runs: Vec<_> =
        (0..2).map(|_| sudbox_tests::start(sudbox_run(&["--cases", "core"]))).collect();
    for running in runs {
        let _ = running.finish().expect(0);
    }
}
