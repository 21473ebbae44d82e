// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What dispatch costs: counted exactly, and a slowdown is found where there is one.

use std::process::Command;
use sudbox_tests::history::History;
use sudbox_tests::{PINNED, Ran, Tree, run, sudbox};

const DISPATCH: &str = "kernel/entry/syscall_user_dispatch.c";
const SENDS: &str = "\tforce_sig_info(&info);\n";

/// Adds so many instructions to the dispatch path.
fn slowed(text: &str, instructions: u32) -> String {
    let more = format!("\tasm volatile(\".rept {instructions}\\n\\tnop\\n\\t.endr\");\n{SENDS}");
    assert!(text.contains(SENDS), "{DISPATCH} does not send the signal as it did");
    text.replacen(SENDS, &more, 1)
}

fn bench(arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command.args(["bench", "--by", "instructions"]).args(arguments);
    command
}

/// The change of this cost in a comparison's JSON, and what was found of it.
#[track_caller]
fn line(ran: &Ran, name: &str) -> (f64, String) {
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let lines = document["lines"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["name"] == name).expect(name);
    let first = line["first"][0].as_f64().expect("a figure");
    let second = line["second"][0].as_f64().expect("a figure");
    (second - first, line["finding"].as_str().expect("a finding").to_owned())
}

#[test]
fn two_hundred_instructions_are_found_and_a_rebuild_is_nothing() {
    let tree = Tree::with(&[]);
    tree.freshen(DISPATCH);
    let compare = |format| bench(&["--format", format, "--compare", PINNED, tree.argument()]);
    let ran = run(compare("table")).expect(0);
    assert!(ran.stdout.ends_with("COMPARED: no difference is real\n"), "{}", ran.stdout);
    tree.edit(DISPATCH, |text| slowed(text, 200));
    let ran = run(compare("json")).expect(1);
    let (change, finding) = line(&ran, "round-trip");
    assert_eq!(finding, "slower");
    assert!((change - 200.0).abs() < 3.0, "{change} instructions more");
    for name in ["native", "inside", "allowed", "flip", "seccomp-trap", "ptrace-sysemu"] {
        assert_eq!(line(&ran, name).1, "same", "{name}");
    }
}

#[test]
fn a_bisection_finds_the_commit_that_slowed_it_down() {
    let history = History::of(PINNED);
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
    let ran = run(command).expect(0);
    let is = ran.stdout.starts_with("The first bad commit between ")
        && ran.stdout.contains(&format!("  commit    {}\n", culprit.id));
    assert!(is, "{}{}", ran.stdout, ran.stderr);
    let mut command = sudbox();
    command.args(["bisect", "--bench", "round-trip", "--threshold", "4%", "--confirm", "1"]);
    command.args(["--linux", history.argument(), "--good", "costs-fine", "--bad", &little.id]);
    let ran = run(command).expect(129);
    assert!(ran.stderr.contains("round-trip is not slower"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_measured_gets_a_sentence() {
    for (arguments, word) in [
        (&["--only", "roundtrip"][..], "called `roundtrip`"),
        (&["running"], "not in it"),
        (&["--compare", "running", PINNED], "not in a VM"),
        (&["--format", "html", "--compare", PINNED, PINNED], "shows one kernel"),
        (&["--gdb"], "--gdb"),
    ] {
        let ran = run(bench(arguments)).expect(129);
        assert!(ran.stdout.is_empty() && ran.stderr.lines().count() == 1, "{}", ran.stderr);
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    }
    for (arguments, word) in [
        (&["--threshold", "5%"][..], "--bench"),
        (&["--bench", "round-trip", "--threshold", "0"], "from 0.2%"),
        (&["--bench", "round-trip", "--cases", "core"], "--cases"),
    ] {
        let mut command = sudbox();
        command.args(["bisect", "--linux", "/", "--good", "a", "--bad", "b"]).args(arguments);
        let ran = run(command).expect(129);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(word), "{}", ran.stderr);
    }
}

#[test]
fn a_processor_has_nanoseconds_and_emulation_has_none() {
    let mut command = sudbox();
    command.args(["bench", "running", "--only", "round-trip", "--format", "json"]);
    let here = run(command).expect(0).json();
    assert_eq!(here["unit"]["kind"], "nanoseconds");
    assert!(
        here["costs"][0]["cost"]["least"].as_f64().is_some_and(|nanoseconds| nanoseconds > 5.0)
    );
    let mut command = sudbox();
    command.args(["bench", PINNED, "--backend", "tcg", "--by", "time", "--only", "round-trip"]);
    command.args(["--format", "json"]);
    let emulated = run(command).expect(0).json();
    assert_eq!(emulated["unit"]["kind"], "ratio");
    for cost in emulated["costs"].as_array().expect("costs") {
        assert!(cost["cost"].is_null() && cost["ticks"].is_null(), "{cost}");
        assert!(cost["ratio"].as_f64().is_some_and(|ratio| ratio >= 1.0), "{cost}");
    }
}
