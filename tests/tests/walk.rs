// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random walks with an oracle, `sudbox run --fuzz`.

use sudbox_tests::{Tree, run, sudbox, sudbox_run};

#[test]
fn the_pinned_kernel_does_what_the_model_says() {
    let ran = run(sudbox_run(&["--fuzz", "200", "--seed", "0"])).expect(0);
    let outcomes = ran.outcomes();
    assert_eq!(outcomes.len(), 200);
    for (id, outcome) in outcomes {
        assert_eq!(outcome, "pass", "{id}");
    }
}

#[test]
fn a_seed_that_was_not_given_is_told() {
    let ran = run(sudbox_run(&["running", "--fuzz", "2"])).expect(0);
    let told = ran.stderr.lines().find_map(|line| line.split_once("--fuzz 2 --seed "));
    let seed: u64 = told.expect("a seed").1.parse().expect("a number");
    let ids: Vec<String> = ran.outcomes().into_keys().collect();
    assert_eq!(ids, [format!("walk/{seed}"), format!("walk/{}", seed + 1)]);
}

#[test]
fn a_seed_or_a_number_that_is_none_is_bad_usage() {
    for wish in [["--seed", "1"], ["--fuzz", "0"], ["--fuzz", "-1"]] {
        let mut command = sudbox();
        command.args(["run", "running"]).args(wish);
        let ran = run(command).expect(129);
        assert!(ran.stdout.is_empty(), "{}", ran.stdout);
    }
}

#[test]
fn a_wrong_kernel_differs_in_a_short_sequence_that_its_command_shows_again() {
    let tree = Tree::with(&["switchable.patch"]);
    // The byte behind the range counts as part of it.
    tree.edit("kernel/entry/syscall_user_dispatch.c", |text| {
        text.replace("sd->offset < sd->len))", "sd->offset <= sd->len))")
    });
    let ran = run(sudbox_run(&[tree.argument(), "--fuzz", "60", "--seed", "0"])).expect(1);
    let report = ran.json();
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
    let again = run(sudbox_run(&[tree.argument(), "--fuzz", "1", "--seed", seed])).expect(1);
    let again = &again.json()["cases"][0];
    for key in ["id", "expected", "got", "log"] {
        assert_eq!(again[key], shortest[key], "{key}");
    }
    // One that takes the kernel with it leaves no word, so its steps are told whole.
    let fault = ["--append", "sudbox_fault=oops", "--fuzz", "12", "--seed", "145"];
    let mut arguments = vec![tree.argument()];
    arguments.extend(fault);
    let ran = run(sudbox_run(&arguments)).expect(1);
    let report = ran.json();
    let cases = report["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 12, "all are accounted for");
    let crashed: Vec<_> = cases.iter().filter(|case| case["outcome"] == "crash").collect();
    assert!(!crashed.is_empty(), "{report}");
    for case in crashed {
        assert!(case["log"].as_array().is_some_and(|log| log.len() > 5), "{case}");
    }
}
