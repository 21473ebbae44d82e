//! Ctrl-C at each stage: exit code 130, nothing left, and the cache works afterwards.

use std::path::Path;
use sudbox_tests::{Tree, run, start, sudbox_run};

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
    // What was interrupted goes on: the source is not fetched and unpacked again.
    let mut command = sudbox_run(&["6.12"]);
    command.env("SUDBOX_CACHE", cache.path());
    let mut running = start(command);
    running.wait_for("building");
    running.signal(libc::SIGINT);
    let ran = running.finish().expect(130);
    assert!(!ran.stderr.contains("unpacking"), "{}", ran.stderr);
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
    let tree = Tree::with(&[]);
    let _ = run(sudbox_run(&[tree.argument(), "--cases", "boot"])).expect(0);
    tree.freshen("kernel/entry/common.c");
    interrupted(&[tree.argument()], None, "building", libc::SIGINT);
    let _ = run(sudbox_run(&[tree.argument(), "--cases", "core"])).expect(0);
}
