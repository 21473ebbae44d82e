// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A person's tree: judged, incrementally, and not a byte of it changed.

use std::fs;
use sudbox_tests::{Tree, faults, run, state, sudbox_run};

#[test]
fn a_tree_with_its_own_configuration_and_objects_is_judged_and_left_alone() {
    let tree = Tree::with(&[]);
    assert!(tree.path().join(".config").exists(), "it has a configuration");
    assert!(tree.path().join("scripts/basic/fixdep").exists(), "it has objects");
    let before = state(tree.path());
    let _ = run(sudbox_run(&[tree.argument(), "--cases", "core"])).expect(0);
    assert!(state(tree.path()) == before, "the tree changed");

    // A changed line is compiled, and little else.
    tree.freshen("kernel/entry/common.c");
    let before = state(tree.path());
    let ran = run(sudbox_run(&[tree.argument(), "--cases", "core"])).expect(0);
    assert!(state(tree.path()) == before, "the tree changed");
    let log = fs::read_to_string(ran.folder().join("build.log")).unwrap();
    let compiled = log.lines().filter(|line| line.starts_with("  CC ")).count();
    assert!((1..20).contains(&compiled), "{compiled} files were compiled:\n{log}");

    // A file put back as it was, time and all, is compiled again.
    tree.edit("kernel/entry/syscall_user_dispatch.c", |text| {
        text.replace("state != SYSCALL_DISPATCH_FILTER_BLOCK", "false")
    });
    let _ = run(sudbox_run(&[tree.argument(), "--cases", "selector"])).expect(1);
    drop(tree);
    let tree = Tree::with(&[]);
    let _ = run(sudbox_run(&[tree.argument(), "--cases", "selector"])).expect(0);
}

/// A few of the faults that `make test-faults` tries, in the slot that the tests here share.
#[test]
fn cases_notice_what_breaks_their_promise() {
    for name in ["hook-removed", "selector-kill-catchable", "range-end-included"] {
        let fault = faults::all().into_iter().find(|fault| fault.name() == name).expect(name);
        let tree = Tree::with(&[&fault.patch]);
        let cases = fault.cases.join(",");
        let outcomes = run(sudbox_run(&[tree.argument(), "--cases", &cases])).expect(1).outcomes();
        for wanted in &fault.cases {
            let failed = |(id, outcome): (&String, &String)| {
                id.starts_with(wanted.trim_end_matches('*')) && outcome == "fail"
            };
            assert!(outcomes.iter().any(failed), "{name}: {wanted} in {outcomes:?}");
        }
    }
}

#[test]
fn a_tree_that_does_not_build_cannot_be_judged() {
    let tree = Tree::with(&[]);
    tree.edit("kernel/entry/syscall_user_dispatch.c", |text| {
        format!("{text}\n#error this does not build\n")
    });
    let ran = run(sudbox_run(&[tree.argument()])).expect(125);
    assert!(ran.stdout.is_empty());
    assert!(ran.stderr.contains("syscall_user_dispatch.c"), "{}", ran.stderr);
    assert!(ran.stderr.contains("this does not build"), "{}", ran.stderr);
}

#[test]
fn what_make_exports_does_not_reach_the_kernels_build() {
    let tree = Tree::with(&[]);
    tree.freshen("kernel/entry/common.c");
    let mut command = sudbox_run(&[tree.argument(), "--cases", "boot"]);
    command
        .env("MAKEFLAGS", "-j8 --jobserver-auth=98,99 -n")
        .env("MAKELEVEL", "2")
        .env("KBUILD_OUTPUT", "/nonexistent")
        .env("ARCH", "arm64")
        .env("CROSS_COMPILE", "nonexistent-")
        .env("KCFLAGS", "-Dvolatile=nonsense");
    let _ = run(command).expect(0);
}
