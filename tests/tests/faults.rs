// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Broken kernels get their names, and only the case that met the fault has the blame.

use std::collections::BTreeSet;
use std::sync::Mutex;
use sudbox_tests::{Ran, Tree, run, sudbox_run};

/// Judges the kernel whose faults are chosen by a boot argument.
fn with_fault(fault: &str, more: &[&str]) -> Ran {
    // All tests but one share the tree as it is patched here.
    static TREE: Mutex<Option<Tree>> = Mutex::new(None);
    let mut tree = TREE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let tree = tree.get_or_insert_with(|| Tree::with(&["switchable.patch"]));
    let append = format!("sudbox_fault={fault}");
    let mut arguments = vec![tree.argument(), "--append", &append];
    arguments.extend(more);
    run(sudbox_run(&arguments))
}

/// The one case that failed to boot, and what is said of it.
#[track_caller]
fn boot_failure(ran: &Ran) -> (String, String) {
    let report = ran.json();
    let case = &report["cases"][0];
    assert_eq!(case["id"], "boot/reaches-init", "{report}");
    assert_eq!(case["outcome"], "fail", "{report}");
    let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
    (text("got"), text("console"))
}

#[test]
fn no_fault_is_no_failure() {
    let _ = with_fault("none", &["--cases", "core"]).expect(0);
}

#[test]
fn a_panic_before_init_cannot_be_judged_and_shows_its_console() {
    let ran = with_fault("panic", &[]).expect(125);
    let (got, console) = boot_failure(&ran);
    assert!(got.contains("asked to panic before init"), "{got}");
    assert!(console.contains("kernel_init"), "a trace with symbols: {console}");
    let _ = with_fault("panic", &["--cases", "boot"]).expect(1);
}

#[test]
fn a_loop_before_init_ends_by_the_deadline() {
    let ran = with_fault("loop", &["--timeout", "3"]).expect(125);
    let (got, _) = boot_failure(&ran);
    assert!(got.contains("nothing for 3 s"), "{got}");
    assert!(ran.took.as_secs() < 60, "{:?}", ran.took);
}

#[test]
fn printing_without_end_ends() {
    let ran = with_fault("print", &["--timeout", "20"]).expect(125);
    let (got, console) = boot_failure(&ran);
    assert!(got.contains("without end"), "{got}");
    assert!(console.contains("asked to print"), "{console}");
}

#[test]
fn a_restart_before_init_is_no_success() {
    let ran = with_fault("restart", &[]).expect(125);
    let (got, _) = boot_failure(&ran);
    assert!(got.contains("restart"), "{got}");
}

#[test]
fn a_kernel_without_vsock_cannot_be_judged() {
    let ran = with_fault("no-vsock", &["--cases", "core"]).expect(125);
    assert!(
        ran.json()["unjudged"].as_str().unwrap_or_default().contains("vsock"),
        "{}",
        ran.stdout
    );
}

/// The cases that meet a fault in the way of an invalid selector, checked against those of a run
/// without, each with this outcome and these words.
#[track_caller]
fn sufferers(fault: &str, outcome: &str, words: &str) -> BTreeSet<String> {
    let ran = with_fault(fault, &["--cases", "core", "--timeout", "12"]).expect(1);
    let sound = with_fault("none", &["--cases", "core"]).expect(0).outcomes();
    let broken = ran.outcomes();
    assert_eq!(sound.len(), broken.len(), "every case is accounted for");
    let mut met = BTreeSet::new();
    for (id, got) in broken {
        if got == sound[&id] {
            continue;
        }
        assert_eq!(got, outcome, "{id}");
        let report = ran.json();
        let case = report["cases"].as_array().unwrap().iter().find(|c| c["id"] == *id).unwrap();
        let told = format!("{} {}", case["got"], case["console"]);
        assert!(told.contains(words), "{id}: {told}");
        met.insert(id);
    }
    assert!(!met.is_empty(), "no case met the fault");
    met
}

/// As [`sufferers`], and they are just those in which the kernel warns at the same place and goes
/// on: nobody else has the blame, and nobody is spared.
#[track_caller]
fn only_invalid_selectors_suffer(fault: &str, outcome: &str, words: &str) {
    assert_eq!(sufferers(fault, outcome, words), sufferers("warn", "fail", "WARNING"));
}

#[test]
fn an_oops_is_blamed_on_its_case_and_the_rest_runs() {
    only_invalid_selectors_suffer("oops", "crash", "syscall_user_dispatch");
}

#[test]
fn a_hang_with_interrupts_off_is_blamed_on_its_case_and_the_rest_runs() {
    only_invalid_selectors_suffer("hang", "hang", "nothing for 4 s");
}

#[test]
fn a_warning_of_the_kernel_fails_its_case() {
    let met = sufferers("warn", "fail", "WARNING");
    for id in ["selector/invalid-value-kills", "selector/invalid-value-kills-always"] {
        assert!(met.contains(id), "{id} is not among {met:?}");
    }
}
