// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every release that sudbox speaks of, built from source as its sources offer it today.

use sudbox_tests::{expected_outcomes, run, sudbox_run};

/// Judges a release, and holds by name what did not pass against what is due.
fn judge(release: &str, flavour: &str, arguments: &[&str]) {
    let common = ["--cases", "all", "--flavour", flavour];
    let ran = run(sudbox_run(&[&common[..], arguments, &[release]].concat())).expect(0);
    let due = expected_outcomes::expected("x86_64", release, flavour);
    assert_eq!(expected_outcomes::found(&ran), due, "Linux {release}, {flavour}, {arguments:?}");
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
fn the_kernel_s_own_checks_have_no_complaint() {
    for release in ["6.12", "6.1", "7.2", "7.3"] {
        judge(release, "debug", &["--memory", "512"]);
    }
}
