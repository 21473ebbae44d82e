// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Verdicts that compare a kernel with the recordings of its neighbours: the pinned kernels are as they were
//! recorded, and a difference that no case names is `changed`.

use sudbox_tests::{FRAME_WRITE, PINNED_SERIES, Tree, run, sudbox_run};

/// The cases whose observations are recorded.
const RECORDED: &str = "compare conserve ptrace/number-replaced";

#[test]
fn the_pinned_kernels_are_as_recorded() {
    for series in [PINNED_SERIES, "7.3"] {
        let result = run(sudbox_run(&[series, "--cases", RECORDED]));
        let stderr = &result.stderr;
        let changed = stderr.contains("differ from the recording");
        assert!(!changed, "{series} differs from its recording: run `make recordings`\n{stderr}");
        let report = result.expect_code(0).json();
        let recording = &report["recording"];
        let release = report["kernel"]["release"].as_str().expect("a release");
        assert_eq!(recording["releases"], serde_json::json!([release]), "{recording}");
        assert!(recording["compared"].as_u64() > Some(60), "{recording}");
    }
}

#[test]
fn a_difference_that_no_case_names_is_changed() {
    let tree = Tree::with_faults(&[]);
    tree.edit(FRAME_WRITE.file, |text| text.replace(FRAME_WRITE.before, FRAME_WRITE.after));
    let cases = ["--cases", "registers siginfo compare/trap compare/queued"];
    let judge = |more: &[&str]| {
        let arguments: Vec<&str> =
            [tree.argument()].iter().chain(&cases).chain(more).copied().collect();
        run(sudbox_run(&arguments))
    };
    // Each case alone passes.
    let result = judge(&["--append", "loglevel=5"]).expect_code(0);
    let reason = result.json()["recording"]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.starts_with("--append "), "{reason}");

    let result = judge(&[]).expect_code(1);
    let report = result.json();
    let outcomes = result.outcomes();
    let changed: Vec<&str> = outcomes
        .iter()
        .filter(|(_, outcome)| *outcome == "changed")
        .map(|(id, _)| id.as_str())
        .collect();
    assert_eq!(changed, ["compare/queued", "compare/trap"]);
    assert_eq!(report["totals"]["fail"], 0);
    let cases = report["cases"].as_array().expect("cases");
    let trap = cases.iter().find(|case| case["id"] == "compare/trap").expect("compare/trap");
    let text = |name: &str| trap[name].as_str().expect("a text").to_owned();
    assert!(text("expected").starts_with("as recorded of 6.12."), "{trap}");
    assert!(text("expected").contains(": frame.reserved1"), "{trap}");
    assert!(text("got").contains("[x64_setup_rt_frame()"), "{trap}");
    assert!(!trap["log"].as_array().expect("a log").is_empty(), "{trap}");
}

#[test]
fn a_processor_with_little_state_is_judged_without_a_recording() {
    let cases = "compare/trap compare/queued compare/other-signal";
    for model in ["Haswell", "EPYC"] {
        let arguments = [PINNED_SERIES, "--cases", cases, "--cpu-model", model];
        let result = run(sudbox_run(&arguments)).expect_code(0);
        assert_eq!(result.json()["totals"]["pass"], 3, "{model}");
        let reason = result.json()["recording"]["reason"].as_str().unwrap_or_default().to_owned();
        assert!(reason.contains("this layout"), "{reason}");
    }
}
