// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox run --fuzz`: random sequences of calls, compared with a model of dispatch.

use sudbox_tests::{Tree, run, sudbox, sudbox_run};

#[test]
fn walks_on_the_pinned_kernel_agree_with_the_model() {
    let result = run(sudbox_run(&["--fuzz", "200", "--seed", "0"])).expect_code(0);
    let outcomes = result.outcomes();
    assert_eq!(outcomes.len(), 200);
    for (id, outcome) in outcomes {
        assert_eq!(outcome, "pass", "{id}");
    }
}

#[test]
fn a_changed_walk_is_named_by_its_seeds() {
    let result = run(sudbox_run(&["--cases", "walk/5 walk/5+9+12"])).expect_code(0);
    let ids: Vec<String> = result.outcomes().into_keys().collect();
    assert_eq!(ids, ["walk/5", "walk/5+9+12"]);
}

#[test]
fn a_random_seed_is_printed() {
    let result = run(sudbox_run(&["running", "--fuzz", "2"])).expect_code(0);
    let line = result.stderr.lines().find_map(|line| line.split_once("--fuzz 2 --seed "));
    let seed: u64 = line.expect("a seed").1.parse().expect("a number");
    let ids: Vec<String> = result.outcomes().into_keys().collect();
    assert_eq!(ids, [format!("walk/{seed}"), format!("walk/{}", seed + 1)]);
}

#[test]
fn a_seed_without_fuzz_and_an_invalid_number_are_bad_usage() {
    for arguments in [["--seed", "1"], ["--fuzz", "0"], ["--fuzz", "-1"]] {
        let mut command = sudbox();
        command.args(["run", "running"]).args(arguments);
        let result = run(command).expect_code(129);
        assert!(result.stdout.is_empty(), "{}", result.stdout);
    }
}

#[test]
fn a_difference_is_shrunk_and_its_rerun_command_reproduces_it() {
    let tree = Tree::with_faults(&["switchable.patch"]);
    // This change makes the first byte after the range a part of it.
    tree.edit("kernel/entry/syscall_user_dispatch.c", |text| {
        text.replace("sd->offset < sd->len))", "sd->offset <= sd->len))")
    });
    let result = run(sudbox_run(&[tree.argument(), "--fuzz", "60", "--seed", "0"])).expect_code(1);
    let report = result.json();
    let failed: Vec<_> = report["cases"]
        .as_array()
        .expect("cases")
        .iter()
        .filter(|case| case["outcome"] == "fail")
        .collect();
    let steps = |case: &serde_json::Value| {
        let log = case["log"].as_array().expect("a log");
        assert!(log[0].as_str().is_some_and(|line| line.ends_with("steps show it:")), "{case}");
        log.len() - 1
    };
    let shortest = failed.iter().min_by_key(|case| steps(case)).expect("a failure");
    assert!(steps(shortest) <= 4, "{shortest}");
    let rerun = shortest["rerun"].as_str().expect("a command");
    let seed = rerun.split_once(" --fuzz 1 --seed ").expect("a seed").1;
    let rerun = run(sudbox_run(&[tree.argument(), "--fuzz", "1", "--seed", seed])).expect_code(1);
    let reproduced = &rerun.json()["cases"][0];
    for key in ["id", "expected", "got", "log"] {
        assert_eq!(reproduced[key], shortest[key], "{key}");
    }
    // A walk that crashes the kernel cannot be shrunk, so its log has all steps.
    let fault = ["--append", "sudbox_fault=oops", "--fuzz", "12", "--seed", "125"];
    let mut arguments = vec![tree.argument()];
    arguments.extend(fault);
    let result = run(sudbox_run(&arguments)).expect_code(1);
    let report = result.json();
    let cases = report["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 12, "a walk is missing in the report");
    let crashed: Vec<_> = cases.iter().filter(|case| case["outcome"] == "crash").collect();
    assert!(!crashed.is_empty(), "{report}");
    for case in crashed {
        assert!(case["log"].as_array().is_some_and(|log| log.len() > 5), "{case}");
    }
}
