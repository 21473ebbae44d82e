//! Ctrl-C at each stage: exit code 130, nothing left, and the cache works afterwards.

use std::path::Path;
use sudbox_tests::{replace, run, start, sudbox_run, tree};

/// Interrupts a run once stderr says `stage`, and checks how it ends.
#[track_caller]
fn interrupted(arguments: &[&str], cache: Option<&Path>, stage: &str, signal: i32) {
    let mut command = sudbox_run(arguments);
    if let Some(cache) = cache {
        command.env("SUDBOX_CACHE", cache);
    }
    let mut running = start(command);
    running.wait_for(stage);
    running.signal(signal);
    let ran = running.finish().expect(130);
    assert!(ran.stdout.is_empty(), "a report: {}", ran.stdout);
    assert!(ran.stderr.contains("sudbox: interrupted"), "{}", ran.stderr);
}

#[test]
fn at_each_stage_of_making_a_kernel() {
    // A cache of its own, so that every stage happens.
    let cache = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for stage in ["unpacking", "configuring", "building"] {
        interrupted(&["6.12"], Some(cache.path()), stage, libc::SIGINT);
    }
    let mut command = sudbox_run(&["6.12", "--cases", "boot"]);
    command.env("SUDBOX_CACHE", cache.path());
    let _ = run(command).expect(0);
}

#[test]
fn while_a_vm_runs() {
    let _ = run(sudbox_run(&["--cases", "boot"])).expect(0);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        interrupted(&["--repeat", "100"], None, "machine", signal);
    }
    let _ = run(sudbox_run(&["--cases", "core"])).expect(0);
}

#[test]
fn an_incremental_build_goes_on_after_it() {
    let tree = tree("interrupted", &[]);
    let path = tree.to_str().unwrap();
    let _ = run(sudbox_run(&[path, "--cases", "boot"])).expect(0);
    let file = tree.join("kernel/entry/common.c");
    let mut text = std::fs::read(&file).unwrap();
    text.extend_from_slice(b"\n/* one more line */\n");
    replace(&file, &text);
    interrupted(&[path], None, "building", libc::SIGINT);
    let _ = run(sudbox_run(&[path, "--cases", "core"])).expect(0);
}
