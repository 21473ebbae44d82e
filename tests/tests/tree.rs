// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox run TREE`: incremental builds, which leave the user's tree unchanged.

use std::fs;
use sudbox_tests::{Tree, faults, file_metadata, run, sudbox_run};

#[test]
fn a_tree_with_its_own_configuration_and_objects_is_judged_and_left_alone() {
    let tree = Tree::with_faults(&[]);
    assert!(tree.path().join(".config").exists(), "the tree has no configuration");
    assert!(tree.path().join("scripts/basic/fixdep").exists(), "the tree has no objects");
    let before = file_metadata(tree.path());
    let _ = run(sudbox_run(&[tree.argument(), "--cases", "core"])).expect_code(0);
    assert!(file_metadata(tree.path()) == before, "the tree changed");

    // The changed file and few others are recompiled.
    tree.force_rebuild("kernel/entry/common.c");
    let before = file_metadata(tree.path());
    let result = run(sudbox_run(&[tree.argument(), "--cases", "core"])).expect_code(0);
    assert!(file_metadata(tree.path()) == before, "the tree changed");
    let log = fs::read_to_string(result.folder().join("build.log")).unwrap();
    let compiled = log.lines().filter(|line| line.starts_with("  CC ")).count();
    assert!((1..20).contains(&compiled), "{compiled} files were compiled:\n{log}");

    // A file that is restored with its old mtime is recompiled.
    tree.edit("kernel/entry/syscall_user_dispatch.c", |text| {
        text.replace("state != SYSCALL_DISPATCH_FILTER_BLOCK", "false")
    });
    let _ = run(sudbox_run(&[tree.argument(), "--cases", "selector"])).expect_code(1);
    drop(tree);
    let tree = Tree::with_faults(&[]);
    let _ = run(sudbox_run(&[tree.argument(), "--cases", "selector"])).expect_code(0);
}

/// Three of the faults that `make test-faults` tries.
#[test]
fn cases_fail_if_a_fault_breaks_their_promise() {
    for name in ["hook-removed", "selector-kill-catchable", "range-end-included"] {
        let fault = faults::all().into_iter().find(|fault| fault.name() == name).expect(name);
        let tree = Tree::with_faults(&[&fault.patch]);
        let cases = fault.cases.join(",");
        let outcomes =
            run(sudbox_run(&[tree.argument(), "--cases", &cases])).expect_code(1).outcomes();
        for required_case in &fault.cases {
            let failed = |(id, outcome): (&String, &String)| {
                id.starts_with(required_case.trim_end_matches('*')) && outcome == "fail"
            };
            assert!(outcomes.iter().any(failed), "{name}: {required_case} in {outcomes:?}");
        }
    }
}

#[test]
fn a_tree_that_does_not_build_cannot_be_judged() {
    let tree = Tree::with_faults(&[]);
    tree.edit("kernel/entry/syscall_user_dispatch.c", |text| {
        format!("{text}\n#error this does not build\n")
    });
    let result = run(sudbox_run(&[tree.argument()])).expect_code(125);
    assert!(result.stdout.is_empty());
    assert!(result.stderr.contains("syscall_user_dispatch.c"), "{}", result.stderr);
    assert!(result.stderr.contains("this does not build"), "{}", result.stderr);
}

#[test]
fn variables_that_make_exports_do_not_reach_the_kernels_build() {
    let tree = Tree::with_faults(&[]);
    tree.force_rebuild("kernel/entry/common.c");
    let mut command = sudbox_run(&[tree.argument(), "--cases", "boot"]);
    command
        .env("MAKEFLAGS", "-j8 --jobserver-auth=98,99 -n")
        .env("MAKELEVEL", "2")
        .env("KBUILD_OUTPUT", "/nonexistent")
        .env("ARCH", "arm64")
        .env("CROSS_COMPILE", "nonexistent-")
        .env("KCFLAGS", "-Dvolatile=nonsense");
    let _ = run(command).expect_code(0);
}
