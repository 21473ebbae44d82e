// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox bench` and `sudbox bisect --bench`: instructions are counted exactly, and a slower kernel
//! is found.

use std::process::Command;
use sudbox_tests::history::History;
use sudbox_tests::{PINNED_SERIES, RunOutput, Tree, run, sudbox};

const DISPATCH: &str = "kernel/entry/syscall_user_dispatch.c";
/// The line of the dispatch path at which instructions are added.
const FORCE_SIG_INFO: &str = "\tforce_sig_info(&info);\n";

/// Adds this number of instructions to the dispatch path.
fn slowed(text: &str, instructions: u32) -> String {
    let with_nops =
        format!("\tasm volatile(\".rept {instructions}\\n\\tnop\\n\\t.endr\");\n{FORCE_SIG_INFO}");
    assert!(text.contains(FORCE_SIG_INFO), "{DISPATCH} has no line {FORCE_SIG_INFO:?}");
    text.replacen(FORCE_SIG_INFO, &with_nops, 1)
}

fn bench(arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command.args(["bench", "--by", "instructions"]).args(arguments);
    command
}

/// The difference and the finding of one cost in a comparison's JSON.
#[track_caller]
fn difference_and_finding(result: &RunOutput, name: &str) -> (f64, String) {
    let document: serde_json::Value = serde_json::from_str(&result.stdout).expect("JSON");
    let lines = document["lines"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["name"] == name).expect(name);
    let first = line["first"][0].as_f64().expect("a figure");
    let second = line["second"][0].as_f64().expect("a figure");
    (second - first, line["finding"].as_str().expect("a finding").to_owned())
}

#[test]
fn two_hundred_instructions_are_found_and_a_rebuild_makes_no_difference() {
    let tree = Tree::with_faults(&[]);
    tree.force_rebuild(DISPATCH);
    let compare =
        |format| bench(&["--format", format, "--compare", PINNED_SERIES, tree.argument()]);
    let result = run(compare("table")).expect_code(0);
    assert!(result.stdout.ends_with("COMPARED: no difference is real\n"), "{}", result.stdout);
    tree.edit(DISPATCH, |text| slowed(text, 200));
    let result = run(compare("json")).expect_code(1);
    let (difference, finding) = difference_and_finding(&result, "round-trip");
    assert_eq!(finding, "slower");
    assert!((difference - 200.0).abs() < 3.0, "{difference} instructions more");
    for name in ["native", "inside", "allowed", "flip", "seccomp-trap", "ptrace-sysemu"] {
        let (_, finding) = difference_and_finding(&result, name);
        assert_eq!(finding, "same", "{name}");
    }
}

#[test]
fn a_bisection_finds_the_commit_that_slowed_the_benchmark_down() {
    let history = History::wait_for(PINNED_SERIES);
    let fine = history.comment(&history.release(), "costs: fine", DISPATCH);
    let little = history.edit(&fine, "costs: a little", DISPATCH, |text| slowed(text, 10));
    let culprit = history.edit(&little, "costs: too much", DISPATCH, |text| slowed(text, 200));
    let after = history.comment(&culprit, "costs: after it", DISPATCH);
    for (name, node) in [("costs-fine", &fine), ("costs-after", &after)] {
        history.tag(name, node);
    }
    let mut command = sudbox();
    command.args(["bisect", "--bench", "round-trip", "--threshold", "4%", "--confirm", "1"]);
    command.args(["--linux", history.argument(), "--good", "costs-fine", "--bad", "costs-after"]);
    let result = run(command).expect_code(0);
    let names_commit = result.stdout.starts_with("The first bad commit between ")
        && result.stdout.contains(&format!("  commit    {}\n", culprit.id));
    assert!(names_commit, "{}{}", result.stdout, result.stderr);
    let mut command = sudbox();
    command.args(["bisect", "--bench", "round-trip", "--threshold", "4%", "--confirm", "1"]);
    command.args(["--linux", history.argument(), "--good", "costs-fine", "--bad", &little.id]);
    let result = run(command).expect_code(129);
    assert!(result.stderr.contains("round-trip is not slower"), "{}", result.stderr);
}

#[test]
fn requests_that_cannot_be_measured_are_refused_in_one_line() {
    for (arguments, word) in [
        (&["--only", "roundtrip"][..], "called `roundtrip`"),
        (&["running"], "not in it"),
        (&["--compare", "running", PINNED_SERIES], "not in a VM"),
        (&["--format", "html", "--compare", PINNED_SERIES, PINNED_SERIES], "shows one kernel"),
        (&["--gdb"], "--gdb"),
    ] {
        let result = run(bench(arguments)).expect_code(129);
        assert!(
            result.stdout.is_empty() && result.stderr.lines().count() == 1,
            "{}",
            result.stderr
        );
        assert!(result.stderr.contains(word), "{}", result.stderr);
    }
    for (arguments, word) in [
        (&["--threshold", "5%"][..], "--bench"),
        (&["--bench", "round-trip", "--threshold", "0"], "from 0.2%"),
        (&["--bench", "round-trip", "--cases", "core"], "--cases"),
    ] {
        let mut command = sudbox();
        command.args(["bisect", "--linux", "/", "--good", "a", "--bad", "b"]).args(arguments);
        let result = run(command).expect_code(129);
        assert!(result.stdout.is_empty() && result.stderr.contains(word), "{}", result.stderr);
    }
}

#[test]
fn the_running_kernel_is_measured_in_nanoseconds_and_emulation_in_ratios() {
    let mut command = sudbox();
    command.args(["bench", "running", "--only", "round-trip", "--format", "json"]);
    let measured = run(command).expect_code(0).json();
    assert_eq!(measured["unit"]["kind"], "nanoseconds");
    let least = measured["costs"][0]["cost"]["least"].as_f64();
    assert!(least.is_some_and(|nanoseconds| nanoseconds > 5.0), "{measured}");
    let mut command = sudbox();
    command.args([
        "bench",
        PINNED_SERIES,
        "--backend",
        "tcg",
        "--by",
        "time",
        "--only",
        "round-trip",
    ]);
    command.args(["--format", "json"]);
    let emulated = run(command).expect_code(0).json();
    assert_eq!(emulated["unit"]["kind"], "ratio");
    for cost in emulated["costs"].as_array().expect("costs") {
        assert!(cost["cost"].is_null() && cost["ticks"].is_null(), "{cost}");
        assert!(cost["ratio"].as_f64().is_some_and(|ratio| ratio >= 1.0), "{cost}");
    }
}
