// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ctrl-C at each stage: exit code 130, no process is left, and the cache works afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use sudbox_tests::{Tree, run, start, sudbox_run};

/// Sends a signal to a run as soon as stderr contains `stage`. Checks the exit code and the message.
#[track_caller]
fn check_interrupt(arguments: &[&str], cache: Option<&Path>, stage: &str, signal: i32) {
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
fn a_run_is_interrupted_at_each_stage_of_a_build() {
    // The cache is empty, so that the run has every stage.
    let cache = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for stage in ["unpacking", "configuring", "building"] {
        check_interrupt(&["6.12"], Some(cache.path()), stage, libc::SIGINT);
    }
    // The next run does not fetch and unpack the source again.
    let mut command = sudbox_run(&["6.12"]);
    command.env("SUDBOX_CACHE", cache.path());
    let mut running = start(command);
    running.wait_for("building");
    running.signal(libc::SIGINT);
    let result = running.finish().expect_code(130);
    assert!(!result.stderr.contains("unpacking"), "{}", result.stderr);
}

#[test]
fn a_run_is_interrupted_while_a_vm_runs() {
    let _ = run(sudbox_run(&["--cases", "boot"])).expect_code(0);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        check_interrupt(&["--repeat", "100"], None, "machine", signal);
    }
    let _ = run(sudbox_run(&["--cases", "core"])).expect_code(0);
}

#[test]
fn the_cases_that_ended_before_an_interrupt_are_reported() {
    let mut running = start(sudbox_run(&["--isolate", "--backend", "tcg"]));
    // sudbox prints this label after the first case.
    running.wait_for("isolate");
    running.signal(libc::SIGINT);
    let report = running.finish().expect_code(130).json();
    let cases = report["cases"].as_array().expect("cases").len();
    let reason = report["reason"].as_str().expect("a reason");
    assert!(cases > 0 && reason.starts_with(&format!("interrupted after {cases} of ")), "{reason}");
}

#[test]
fn an_incremental_build_succeeds_after_an_interrupt() {
    let tree = Tree::with_faults(&[]);
    let _ = run(sudbox_run(&[tree.argument(), "--cases", "boot"])).expect_code(0);
    tree.force_rebuild("kernel/entry/common.c");
    check_interrupt(&[tree.argument()], None, "building", libc::SIGINT);
    let _ = run(sudbox_run(&[tree.argument(), "--cases", "core"])).expect_code(0);
}

#[test]
fn a_run_is_interrupted_while_guest_init_is_built_for_another_architecture() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(dir.path().join("libstd-0.rlib"), "").unwrap();
    let library_folder = dir.path().display();
    for (name, script) in [
        ("qemu-system-riscv64", "exit 1".to_owned()),
        ("riscv64-linux-gnu-gcc", "echo /libc.a".to_owned()),
        ("rustc", format!("echo {library_folder}")),
        ("cargo", "sleep 20; exit 1".to_owned()),
    ] {
        let program = bin.join(name);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // No VM boots the kernel, so a header is enough: image_size and magic2
    // (Documentation/arch/riscv/boot-image-header.rst).
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
