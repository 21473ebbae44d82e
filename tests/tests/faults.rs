// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels that crash or hang: the report names the cause, and only the cases that execute the faulty
//! code fail.

use std::collections::BTreeSet;
use std::sync::Mutex;
use sudbox_tests::{RunOutput, Tree, run, sudbox_run};

/// Judges the kernel of `switchable.patch`, whose boot argument `sudbox_fault=` selects a fault.
fn judge_with_fault(fault: &str, more_arguments: &[&str]) -> RunOutput {
    // The tests share the patched tree, so that its kernel is built once.
    static TREE: Mutex<Option<Tree>> = Mutex::new(None);
    let mut tree = TREE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let tree = tree.get_or_insert_with(|| Tree::with_faults(&["switchable.patch"]));
    let append = format!("sudbox_fault={fault}");
    let mut arguments = vec![tree.argument(), "--append", &append];
    arguments.extend(more_arguments);
    run(sudbox_run(&arguments))
}

/// Checks that `boot/reaches-init` failed; returns its fields `got` and `console`.
#[track_caller]
fn boot_failure(result: &RunOutput) -> (String, String) {
    let report = result.json();
    let case = &report["cases"][0];
    assert_eq!(case["id"], "boot/reaches-init", "{report}");
    assert_eq!(case["outcome"], "fail", "{report}");
    let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
    (text("got"), text("console"))
}

#[test]
fn without_a_fault_no_case_fails() {
    let _ = judge_with_fault("none", &["--cases", "core"]).expect_code(0);
}

#[test]
fn a_panic_before_init_cannot_be_judged_and_shows_its_console() {
    let result = judge_with_fault("panic", &[]).expect_code(125);
    let (got, console) = boot_failure(&result);
    assert!(got.contains("asked to panic before init"), "{got}");
    assert!(console.contains("kernel_init"), "a trace with symbols: {console}");
    let _ = judge_with_fault("panic", &["--cases", "boot"]).expect_code(1);
}

#[test]
fn a_loop_before_init_ends_by_the_deadline() {
    let result = judge_with_fault("loop", &["--timeout", "3"]).expect_code(125);
    let (got, _) = boot_failure(&result);
    assert!(got.contains("no progress for 3 s"), "{got}");
    assert!(result.elapsed.as_secs() < 60, "{:?}", result.elapsed);
}

#[test]
fn printing_without_end_ends() {
    let result = judge_with_fault("print", &["--timeout", "20"]).expect_code(125);
    let (got, console) = boot_failure(&result);
    assert!(got.contains("without end"), "{got}");
    assert!(console.contains("asked to print"), "{console}");
}

#[test]
fn a_restart_before_init_is_no_success() {
    let result = judge_with_fault("restart", &[]).expect_code(125);
    let (got, _) = boot_failure(&result);
    assert!(got.contains("restart"), "{got}");
}

#[test]
fn a_kernel_without_vsock_cannot_be_judged() {
    let result = judge_with_fault("no-vsock", &["--cases", "core"]).expect_code(125);
    assert!(
        result.json()["unjudged"].as_str().unwrap_or_default().contains("vsock"),
        "{}",
        result.stdout
    );
}

/// The cases whose outcome a fault changes. Checks that each has this outcome, and that its report
/// contains `words`. The faults are in the kernel's path for an invalid selector.
#[track_caller]
fn affected_cases(fault: &str, outcome: &str, words: &str) -> BTreeSet<String> {
    let result = judge_with_fault(fault, &["--cases", "core", "--timeout", "12"]).expect_code(1);
    let unbroken = judge_with_fault("none", &["--cases", "core"]).expect_code(0).outcomes();
    let broken = result.outcomes();
    assert_eq!(unbroken.len(), broken.len(), "every case is accounted for");
    let mut affected = BTreeSet::new();
    for (id, broken_outcome) in broken {
        if broken_outcome == unbroken[&id] {
            continue;
        }
        assert_eq!(broken_outcome, outcome, "{id}");
        let report = result.json();
        let case = report["cases"].as_array().unwrap().iter().find(|c| c["id"] == *id).unwrap();
        let text = format!("{} {}", case["got"], case["console"]);
        assert!(text.contains(words), "{id}: {text}");
        affected.insert(id);
    }
    assert!(!affected.is_empty(), "the fault affects no case");
    affected
}

/// Checks that a fault affects the same cases as the fault `warn`, which only prints a warning at the
/// same place. A crash or hang thus does not change the outcomes of other cases.
#[track_caller]
fn check_only_affected_cases(fault: &str, outcome: &str, words: &str) {
    assert_eq!(affected_cases(fault, outcome, words), affected_cases("warn", "fail", "WARNING"));
}

#[test]
fn an_oops_is_blamed_on_its_case_and_the_rest_runs() {
    check_only_affected_cases("oops", "crash", "syscall_user_dispatch");
}

#[test]
fn a_hang_with_interrupts_off_is_blamed_on_its_case_and_the_rest_runs() {
    check_only_affected_cases("hang", "hang", "no progress for 4 s");
}

#[test]
fn a_warning_of_the_kernel_fails_its_case() {
    let affected = affected_cases("warn", "fail", "WARNING");
    for id in ["selector/invalid-value-kills", "selector/invalid-value-kills-always"] {
        assert!(affected.contains(id), "{id} is not among {affected:?}");
    }
}
