//! A person's tree: judged, incrementally, and not a byte of it changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use sudbox_tests::{Tree, run, sudbox_run};

/// Size, time of change and mode of everything in a tree.
fn state(tree: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u32)> {
    let mut all = BTreeMap::new();
    let mut open = vec![tree.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let meta = entry.path().symlink_metadata().unwrap();
            // The status change time catches what sets the others back.
            all.insert(entry.path(), (meta.size(), meta.ctime(), meta.ctime_nsec(), meta.mode()));
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    all
}

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
    let kept = ran.stderr.lines().last().unwrap().trim_start().strip_prefix("kept").unwrap().trim();
    let log = fs::read_to_string(Path::new(kept).join("build.log")).unwrap();
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

#[test]
fn a_kernel_without_the_hook_is_broken() {
    let tree = Tree::with(&["hook-removed.patch"]);
    let ran = run(sudbox_run(&[tree.argument()])).expect(1);
    let outcomes = ran.outcomes();
    let failed = outcomes.values().filter(|outcome| *outcome == "fail").count();
    assert!(failed >= 15, "{outcomes:?}");
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
