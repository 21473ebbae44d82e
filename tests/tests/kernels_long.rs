// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every prebuilt kernel that the distribution's packages offer, and what stands in for the latest.

use sudbox_tests::{run, sudbox, sudbox_run};

#[test]
fn every_ready_kernel_on_offer_keeps_every_promise() {
    let mut command = sudbox();
    command.arg("kernels");
    let listed = run(command).expect(0).stdout;
    let offers = listed.lines().filter(|line| line.contains("  on offer  "));
    let offers: Vec<&str> = offers.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(offers.len() >= 3, "{listed}");
    for kernel in offers {
        let report = run(sudbox_run(&[kernel])).expect(0).json();
        let machine = report["machine"].as_str().expect("a machine");
        assert!(machine.contains("ACPI"), "{kernel}: {machine}");
    }
}

#[test]
fn where_upstream_cannot_be_reached_the_newest_of_the_packages_stands_in() {
    let mut command = sudbox_run(&["latest", "--cases", "boot"]);
    command.env("SUDBOX_KERNEL_MIRROR", "http://127.0.0.1:9");
    let report = run(command).expect(0).json();
    let said = report["kernel"]["stands_in"].as_str().expect("a sentence");
    assert!(said.contains("upstream cannot be reached"), "{said}");
}
