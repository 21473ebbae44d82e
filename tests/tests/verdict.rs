// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox run` of the pinned kernel.

use std::collections::BTreeSet;
use std::process::Command;
use sudbox_report::{Report as _, Verdict};
use sudbox_tests::{PINNED_SERIES, expected_outcomes, listed_cases, run, sudbox, sudbox_run};

/// Cases that run only on kernels without dispatch.
const WITHOUT_DISPATCH: &[&str] = &[
    "absence/filter-decides",
    "absence/modes-refused",
    "absence/requests-refused",
    "absence/tracer-sees-calls",
];

#[test]
fn the_pinned_kernel_keeps_every_promise_and_the_report_has_every_case() {
    let result = run(sudbox_run(&["--cases", "all"])).expect_code(0);
    let outcomes = result.outcomes();
    let ids: BTreeSet<String> = outcomes.keys().cloned().collect();
    let mut listed = listed_cases();
    for case in WITHOUT_DISPATCH {
        assert!(listed.remove(*case), "{case} is not listed");
    }

    assert_eq!(ids, listed, "cases reported and cases listed differ");
    assert!(ids.len() > 25, "only {} cases", ids.len());
    let expected = expected_outcomes::expected("x86_64", PINNED_SERIES, "default");
    for (id, outcome) in expected_outcomes::not_passed(&result) {
        assert_eq!(expected.get(&id), Some(&outcome), "{id}");
    }
}

/// The 32-bit vDSO uses SYSCALL on AMD processors, such as QEMU's default, and SYSENTER on Intel
/// processors. One boot covers only one of the two instructions.
#[test]
fn a_32_bit_program_enters_by_sysenter_on_an_intel_processor() {
    let model = "max,vendor=GenuineIntel";
    let result = run(sudbox_run(&["--cases", "entries/*", "--cpu-model", model])).expect_code(0);
    let outcomes = result.outcomes();
    for id in ["entries/sysenter", "entries/sysenter-bad-stack", "entries/sigreturn-exempt"] {
        assert_eq!(outcomes.get(id).map(String::as_str), Some("pass"), "{id}");
    }
}

#[test]
fn a_cached_run_needs_no_network() {
    let _ = run(sudbox_run(&["--cases", "boot"])).expect_code(0);
    let inner = sudbox_run(&["--cases", "core"]);
    // A new network namespace has only a loopback interface, which is down.
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--map-root-user", "--"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let result = run(command).expect_code(0);
    assert!(result.outcomes().values().any(|outcome| outcome == "pass"));
}

#[test]
fn every_form_of_the_report_is_printed_and_kept() {
    // The forms that users rely on: the name, the beginning and the file of each.
    let public_forms = [
        ("table", "Linux 6.12.", "report.txt"),
        ("ktap", "KTAP version 1\n", "report.ktap"),
        ("junit", "<?xml", "junit.xml"),
        ("html", "<!DOCTYPE html>", "report.html"),
        ("json", "{", "report.json"),
        ("kcidb", "{", "kcidb.json"),
    ];
    for (name, _, file) in public_forms {
        assert_eq!(Verdict::form(name).map(|form| form.file_name), Some(file), "{name}");
    }
    for form in Verdict::FORMS {
        let name = form.name;
        let mut command = sudbox();
        command.args(["run", "--cases", "selector", "--format", name]);
        let result = run(command).expect_code(0);
        assert!(!result.stdout.is_empty(), "{name}");
        for (_, beginning, _) in public_forms.iter().filter(|(public, ..)| *public == name) {
            assert!(result.stdout.starts_with(beginning), "{name}: {}", result.stdout);
        }
        assert!(!result.stdout.contains('\u{1b}'), "colour without a terminal");
        let folder = result.folder();
        let files = Verdict::FORMS.iter().map(|form| form.file_name);
        for file in files.chain(["summary.json", "console.log", "config"]) {
            assert!(folder.join(file).is_file(), "{}/{file}", folder.display());
        }
    }
}

#[test]
fn the_console_is_shown_while_the_guest_runs() {
    let result = run(sudbox_run(&["--cases", "boot", "--console"])).expect_code(0);
    assert!(result.stderr.contains("Linux version 6.12"), "{}", result.stderr);
}

#[test]
fn quiet_prints_no_progress_and_verbose_lists_every_passed_case() {
    let table = |option| {
        let mut command = sudbox();
        command.args(["run", "--cases", "siginfo", option]);
        run(command).expect_code(0)
    };
    assert_eq!(table("--quiet").stderr, "");
    let result = table("--verbose");
    assert!(result.stdout.contains("siginfo/code:"), "{}", result.stdout);
}

#[test]
fn repeats_and_more_cpus_change_no_outcome() {
    let once = run(sudbox_run(&["--cases", "core"])).expect_code(0).outcomes();
    let repeated = run(sudbox_run(&["--cases", "core", "--repeat", "5"])).expect_code(0);
    assert_eq!(once, repeated.outcomes());
    // A plan holds at most a thousand cases, and each plan is a boot.
    let result = run(sudbox_run(&["--cases", "core", "--repeat", "12"])).expect_code(0);
    let case_count = 12 * once.len();
    let plan_count = case_count.div_ceil(1000);
    assert!(plan_count > 1, "{case_count} cases are one plan");
    assert_eq!(result.json()["boots"], plan_count, "{case_count} cases");
    let on_four_cpus = run(sudbox_run(&["--cases", "core", "--cpus", "4"])).expect_code(0);
    assert_eq!(once, on_four_cpus.outcomes());
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let runs: Vec<_> =
        (0..2).map(|_| sudbox_tests::start(sudbox_run(&["--cases", "core"]))).collect();
    for running in runs {
        let _ = running.finish().expect_code(0);
    }
}
