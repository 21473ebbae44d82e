// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The supported releases, built from source, in every flavour.

use sudbox_tests::{expected_outcomes, run, sudbox_run};

/// Judges a release and checks the outcomes other than `pass` against [`expected_outcomes`].
fn judge(release: &str, flavour: &str, arguments: &[&str]) {
    let common = ["--cases", "all", "--flavour", flavour];
    let result = run(sudbox_run(&[&common[..], arguments, &[release]].concat())).expect_code(0);
    let mut due = expected_outcomes::expected("x86_64", release, flavour);
    let report = result.json();
    let machine = report["machine"].as_str().expect("a machine");
    // QEMU that emulates several CPUs has no working watchpoints.
    if machine.contains("on tcg") && arguments == ["--cpus", "4"] {
        due.insert("ptrace/watched-selector".to_owned(), "unmet".to_owned());
    }
    assert_eq!(
        expected_outcomes::not_passed(&result),
        due,
        "Linux {release}, {flavour}, {arguments:?}"
    );
}

#[test]
fn every_release_keeps_every_promise_with_one_and_with_four_cpus() {
    for release in ["6.12", "6.1", "7.2", "7.3"] {
        for cpus in ["1", "4"] {
            judge(release, "default", &["--cpus", cpus]);
        }
    }
}

#[test]
fn every_release_keeps_every_promise_in_flavour_full() {
    for release in ["6.12", "6.1", "7.2", "7.3"] {
        judge(release, "full", &[]);
    }
}

#[test]
fn every_release_keeps_every_promise_in_flavour_debug() {
    for release in ["6.12", "6.1", "7.2", "7.3"] {
        judge(release, "debug", &["--memory", "512"]);
    }
}
