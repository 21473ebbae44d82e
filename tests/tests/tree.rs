//! A person's tree: judged, incrementally, and not a byte of it changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use sudbox_tests::{replace, run, sudbox_run, tree};

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
    let tree = tree("own-objects", &[]);
    let path = tree.to_str().unwrap();
    if !tree.join("scripts/basic/fixdep").exists() {
        // As if its owner had begun a build in it, with a configuration that is not ours.
        for target in ["allnoconfig", "prepare"] {
            let status = Command::new("make")
                .args(["-C", path, "-j2", target])
                .env_remove("MAKEFLAGS")
                .stdout(Stdio::null())
                .status()
                .expect("make is installed");
            assert!(status.success(), "make {target}");
        }
    }
    assert!(tree.join(".config").exists());
    let before = state(&tree);
    let _ = run(sudbox_run(&[path, "--cases", "core"])).expect(0);
    assert!(state(&tree) == before, "the tree changed");

    // A changed line is compiled, and little else.
    let file = tree.join("kernel/entry/common.c");
    let mut text = fs::read(&file).unwrap();
    text.extend_from_slice(b"\n/* one more line */\n");
    replace(&file, &text);
    let before = state(&tree);
    let ran = run(sudbox_run(&[path, "--cases", "core"])).expect(0);
    assert!(state(&tree) == before, "the tree changed");
    let kept = ran.stderr.lines().last().unwrap().trim_start().strip_prefix("kept").unwrap().trim();
    let log = fs::read_to_string(Path::new(kept).join("build.log")).unwrap();
    let compiled = log.lines().filter(|line| line.starts_with("  CC ")).count();
    assert!((1..20).contains(&compiled), "{compiled} files were compiled:\n{log}");
}

#[test]
fn a_tree_that_does_not_build_cannot_be_judged() {
    let tree = tree("does-not-build", &[]);
    let file = tree.join("kernel/entry/syscall_user_dispatch.c");
    let text = fs::read_to_string(&file).unwrap();
    if !text.contains("does not build") {
        replace(&file, format!("{text}\n#error this does not build\n").as_bytes());
    }
    let ran = run(sudbox_run(&[tree.to_str().unwrap()])).expect(125);
    assert!(ran.stdout.is_empty());
    assert!(ran.stderr.contains("syscall_user_dispatch.c"), "{}", ran.stderr);
    assert!(ran.stderr.contains("this does not build"), "{}", ran.stderr);
}

#[test]
fn what_make_exports_does_not_reach_the_kernels_build() {
    let tree = tree("own-objects", &[]);
    let mut command = sudbox_run(&[tree.to_str().unwrap(), "--cases", "boot"]);
    command
        .env("MAKEFLAGS", "-j8 --jobserver-auth=98,99 -n")
        .env("MAKELEVEL", "2")
        .env("KBUILD_OUTPUT", "/nonexistent")
        .env("ARCH", "arm64")
        .env("CROSS_COMPILE", "nonexistent-")
        .env("KCFLAGS", "-Dvolatile=nonsense");
    let _ = run(command).expect(0);
}
