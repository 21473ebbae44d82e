// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of `sudbox run` that take minutes.

use std::process::{Child, Command};
use sudbox_tests::{run, sudbox_run};

#[test]
fn a_kernel_is_built_and_judged_with_an_empty_cache() {
    let cache = tempfile::tempdir().unwrap();
    let mut command = sudbox_run(&["--cases", "core"]);
    command.env("SUDBOX_CACHE", cache.path()).env("CCACHE_DISABLE", "1");
    let result = run(command).expect_code(0);
    assert!(result.stderr.contains("building"), "the kernel was not built: {}", result.stderr);
}

/// A process that uses a whole CPU. It is killed when dropped.
struct BusyProcess(Child);

impl BusyProcess {
    fn start() -> BusyProcess {
        let child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
        BusyProcess(child.expect("a shell"))
    }
}

impl Drop for BusyProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn fifty_repeats_on_a_busy_machine_have_the_outcomes_of_one_run() {
    let outcomes_of_one = run(sudbox_run(&["--cases", "core"])).expect_code(0).outcomes();
    let _processes = [BusyProcess::start(), BusyProcess::start()];
    for cpus in ["1", "4"] {
        let result = run(sudbox_run(&["--cases", "core", "--repeat", "50", "--cpus", cpus]));
        assert_eq!(result.expect_code(0).outcomes(), outcomes_of_one, "{cpus} CPUs");
    }
}

#[test]
fn flavour_full_keeps_every_promise() {
    let _ = run(sudbox_run(&["--flavour", "full", "--cases", "all"])).expect_code(0);
}
