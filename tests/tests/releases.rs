// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The supported releases, built from source, in the flavours default, full and debug.

use sudbox_tests::{expected_outcomes, run, sudbox_run};

/// The supported releases, the pinned one first.
const RELEASES: [&str; 4] = ["6.12", "6.1", "7.2", "7.3"];

/// Judges every release with one and with four CPUs, and checks the outcomes other than `pass` against
/// [`expected_outcomes`].
fn judge_releases(flavour: &str, options: &[&str]) {
    for release in RELEASES {
        for cpus in ["1", "4"] {
            let arguments = ["--cases", "all", "--flavour", flavour, "--cpus", cpus, release];
            let result = run(sudbox_run(&[options, &arguments].concat())).expect_code(0);
            let mut expected = expected_outcomes::expected("x86_64", release, flavour);
            let report = result.json();
            let machine = report["machine"].as_str().expect("a machine");
            // QEMU that emulates several CPUs has no working watchpoints.
            if machine.contains("on tcg") && cpus == "4" {
                expected.insert("ptrace/watched-selector".to_owned(), "unmet".to_owned());
            }
            assert_eq!(
                expected_outcomes::not_passed(&result),
                expected,
                "Linux {release}, {flavour}, {cpus} CPUs"
            );
        }
    }
}

#[test]
fn every_release_keeps_every_promise() {
    judge_releases("default", &[]);
}

#[test]
fn every_release_keeps_every_promise_in_flavour_full() {
    judge_releases("full", &[]);
}

#[test]
fn every_release_keeps_every_promise_in_flavour_debug() {
    judge_releases("debug", &["--memory", "512"]);
}
