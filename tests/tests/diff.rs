// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox diff`: the changes between two releases are named with their commits, a fault is the only
//! difference that nothing explains, and a kernel does not differ from itself.

use serde_json::Value;
use std::process::Command;
use sudbox_tests::{PINNED_SERIES, RunOutput, Tree, run, sudbox};

fn diff(arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command.arg("diff").args(arguments);
    command
}

/// The list `name` of a comparison's JSON.
#[track_caller]
fn list(result: &RunOutput, name: &str) -> Vec<Value> {
    result.json()[name].as_array().expect(name).clone()
}

#[track_caller]
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn the_changes_between_two_releases_are_named_and_nothing_else_differs() {
    let result = run(diff(&[PINNED_SERIES, "7.3", "--format", "json"])).expect_code(0);
    assert_eq!(list(&result, "unexpected"), Vec::<Value>::new());
    let changes = list(&result, "expected");
    let commits: Vec<&str> = changes.iter().map(|change| text(change, "commit")).collect();
    for commit in ["a2fc422ed757", "26bb32768fe6", "05c033db7e9a", "7.0", "7.3", "6.19"] {
        assert!(commits.contains(&commit), "{commit} is not among {commits:?}");
    }
    let inclusive = changes.iter().find(|change| text(change, "commit") == "a2fc422ed757");
    let differences = inclusive.expect("found above")["differences"].as_array().expect("a list");
    let points = differences.iter().find(|difference| text(difference, "field") == "observations");
    assert_eq!(text(points.expect("points of the grid"), "common"), "mode inclusive");
    assert!(result.json()["compared"].as_u64().expect("a count") > 10_000);

    // The recordings are in the cache now, so the kernels are not recorded again.
    let reverse = run(diff(&["7.3", PINNED_SERIES])).expect_code(0);
    assert!(!reverse.stderr.contains("record"), "{}", reverse.stderr);
    assert!(reverse.stdout.contains("expected changes explain all"), "{}", reverse.stdout);
    let mut show = sudbox();
    show.args(["report", "show"]).arg(reverse.folder());
    assert_eq!(run(show).expect_code(0).stdout, reverse.stdout);
}

#[test]
fn a_fault_is_the_only_difference_that_nothing_explains() {
    let tree = Tree::with_faults(&["siginfo-errno.patch"]);
    let cases = ["--cases", "siginfo compare/trap compare/trap-stops", "--format", "json"];
    let arguments: Vec<&str> = [PINNED_SERIES, tree.argument()].into_iter().chain(cases).collect();
    let result = run(diff(&arguments)).expect_code(1);
    let differences = list(&result, "unexpected");
    assert!(list(&result, "expected").is_empty());
    let fields: Vec<&str> =
        differences.iter().map(|difference| text(difference, "field")).collect();
    assert!(fields.contains(&"frame.si_errno"), "{fields:?}");
    for difference in &differences {
        let field = text(difference, "field");
        let failed = field == "result" && text(difference, "second").starts_with("fail: ");
        assert!(field.ends_with(".si_errno") || failed, "{difference}");
        assert!(!text(difference, "function").is_empty() || failed, "{difference}");
    }
}

#[test]
fn a_kernel_does_not_differ_from_itself() {
    let result = run(diff(&[PINNED_SERIES, PINNED_SERIES, "--cases", "compare conserve grid"]))
        .expect_code(0);
    assert!(result.stdout.ends_with("COMPARED: no difference\n"), "{}", result.stdout);
}
