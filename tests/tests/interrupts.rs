// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ctrl-C at each stage: exit code 130, no process is left, and the cache works afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use sudbox_tests::{Tree, run, start, sudbox_run};

/// Sends a signal to a run as soon as stderr contains `stage`, and checks how the run ends.
#[track_caller]
fn interrupted(arguments: &[&str], cache: Option<&Path>, stage: &str, signal: i32) {
    let mut command = sudbox_run(arguments);
    if let Some(cache) = cache {
        command.env("SUDBOX_CACHE", cache);
    }
    let mut running = start(command);
    running.wait_for(stage);
    running.signal(signal);
    let result = running.finish().expect_code(130);
    assert!(result.stdout.is_empty(), "a report: {}", result.stdout);
    assert!(result.stderr.contains("sudbox: interrupted"), "{}", result.stderr);
}

#[test]
fn at_each_stage_of_making_a_kernel() {
    // An empty cache, so that every stage happens.
    let cache = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for stage in ["unpacking", "configuring", "building"] {
        interrupted(&["6.12"], Some(cache.path()), stage, libc::SIGINT);
    }
    // The next run continues: it does not fetch and unpack the source again.
    let mut command = sudbox_run(&["6.12"]);
    command.env("SUDBOX_CACHE", cache.path());
    let mut running = start(command);
    running.wait_for("building");
    running.signal(libc::SIGINT);
    let result = running.finish().expect_code(130);
    assert!(!result.stderr.contains("unpacking"), "{}", result.stderr);
}

#[test]
fn while_a_vm_runs() {
    let _ = run(sudbox_run(&["--cases", "boot"])).expect_code(0);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        interrupted(&["--repeat", "100"], None, "machine", signal);
    }
    let _ = run(sudbox_run(&["--cases", "core"])).expect_code(0);
}

#[test]
fn the_cases_that_ran_are_reported() {
    let mut running = start(sudbox_run(&["--isolate", "--backend", "tcg"]));
    // Printed after the first case.
    running.wait_for("isolate");
    running.signal(libc::SIGINT);
    let report = running.finish().expect_code(130).json();
    let cases = report["cases"].as_array().expect("cases").len();
    let reason = report["reason"].as_str().expect("a reason");
    assert!(cases > 0 && reason.starts_with(&format!("interrupted after {cases} of ")), "{reason}");
}

#[test]
fn an_incremental_build_goes_on_after_it() {
    let tree = Tree::with_faults(&[]);
    let _ = run(sudbox_run(&[tree.argument(), "--cases", "boot"])).expect_code(0);
    tree.force_rebuild("kernel/entry/common.c");
    interrupted(&[tree.argument()], None, "building", libc::SIGINT);
    let _ = run(sudbox_run(&[tree.argument(), "--cases", "core"])).expect_code(0);
}

#[test]
fn while_an_init_is_built_for_another_architecture() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(dir.path().join("libstd-0.rlib"), "").unwrap();
    let here = dir.path().display();
    for (name, script) in [
        ("qemu-system-riscv64", "exit 1".to_owned()),
        ("riscv64-linux-gnu-gcc", "echo /libc.a".to_owned()),
        ("rustc", format!("echo {here}")),
        ("cargo", "sleep 20; exit 1".to_owned()),
    ] {
        let program = bin.join(name);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // A kernel that is only a header is enough, because nothing boots it.
    let mut image = vec![0; 4096];
    image[16..24].copy_from_slice(&8192u64.to_le_bytes());
    image[56..60].copy_from_slice(b"RSC\x05");
    let kernel = dir.path().join("Image");
    fs::write(&kernel, image).unwrap();
    let path = std::env::var("PATH").unwrap();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut command = sudbox_run(&["--arch", "riscv64", kernel.to_str().unwrap()]);
        command.env("SUDBOX_CACHE", dir.path().join("cache"));
        command.env("PATH", format!("{}:{path}", bin.display()));
        let mut running = start(command);
        running.wait_for("building guest-init");
        running.signal(signal);
        let result = running.finish().expect_code(130);
        assert!(result.stderr.contains("sudbox: interrupted"), "{}", result.stderr);
    }
}
