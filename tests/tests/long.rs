// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of `sudbox run` that take minutes.

use std::process::{Child, Command};
use sudbox_tests::{PINNED_SERIES, run, start, sudbox, sudbox_run};

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

#[test]
fn a_campaign_keeps_walks_that_reach_new_code_and_replays_them_after_a_kill() {
    let campaign = |arguments: &[&str]| {
        let mut command = sudbox();
        command.args(["campaign", PINNED_SERIES, "--flavour", "coverage", "--seed", "0"]);
        // The arguments of the boot are part of what a campaign is known by.
        command.args(["--format", "json", "--append", "sudbox_test=coverage"]).args(arguments);
        command
    };
    let counts = |hours: &str, more: &[&str]| {
        let report = run(campaign(&[&["--hours", hours], more].concat())).expect_code(0).json();
        let coverage = &report["coverage"];
        let number = |value: &serde_json::Value| value.as_u64().expect("a number");
        let files = coverage["files"].as_array().expect("files");
        let reached: Vec<u64> = files.iter().map(|file| number(&file["reached"])).collect();
        for name in [
            "kernel/entry/syscall_user_dispatch.c",
            "kernel/signal.c",
            "kernel/ptrace.c",
            "fs/coredump.c",
            "arch/x86/kernel/signal_64.c",
        ] {
            let file = files.iter().find(|file| file["file"] == name).expect(name);
            let (reached, blocks) = (number(&file["reached"]), number(&file["blocks"]));
            assert!(reached > 0 && reached <= blocks, "{file}");
        }
        [number(&coverage["kept"]), number(&coverage["replays"]), reached.iter().sum()]
    };
    let [kept, replays, reached] = counts("0.0005", &["--restart"]);
    assert!(kept > 0);
    assert_eq!(replays, 0, "a new campaign has nothing to replay");

    let mut running = start(campaign(&["--hours", "1"]));
    running.wait_for_in_order(&["batch  ", "walks kept"]);
    running.signal(libc::SIGKILL);
    let _ = running.finish().expect_code(128 + libc::SIGKILL);

    let [kept_at_end, replays, reached_at_end] = counts("0.0005", &[]);
    assert!(kept_at_end >= kept && reached_at_end >= reached, "what was kept stays");
    // The killed run and this one replay them; the count is of all runs.
    assert!(replays >= 2 * kept, "{replays} replays of {kept} walks");
}
