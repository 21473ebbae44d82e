// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of `sudbox run` that take minutes.

use std::process::{Child, Command};
use sudbox_tests::{run, sudbox_run};

#[test]
fn a_verdict_from_empty_caches() {
    let cache = tempfile::tempdir().unwrap();
    let mut command = sudbox_run(&["--cases", "core"]);
    command.env("SUDBOX_CACHE", cache.path()).env("CCACHE_DISABLE", "1");
    let result = run(command).expect_code(0);
    assert!(result.stderr.contains("building"), "it was not built: {}", result.stderr);
}

/// A process that uses a whole CPU; killed when dropped.
struct Busy(Child);

impl Busy {
    fn new() -> Busy {
        Busy(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn fifty_repeats_beside_two_busy_processes_without_a_flake() {
    let once = run(sudbox_run(&["--cases", "core"])).expect_code(0).outcomes();
    let _busy = [Busy::new(), Busy::new()];
    for cpus in ["1", "4"] {
        let often = run(sudbox_run(&["--cases", "core", "--repeat", "50", "--cpus", cpus]));
        assert_eq!(often.expect_code(0).outcomes(), once, "{cpus} CPUs");
    }
}

#[test]
fn flavour_full_keeps_every_promise() {
    let _ = run(sudbox_run(&["--flavour", "full", "--cases", "all"])).expect_code(0);
}
