// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every prebuilt kernel of the distribution, and `latest` without upstream.

use sudbox_tests::{run, sudbox, sudbox_run};

#[test]
fn every_prebuilt_kernel_keeps_every_promise() {
    let mut command = sudbox();
    command.arg("kernels");
    let listed = run(command).expect_code(0).stdout;
    let offers = listed.lines().filter(|line| line.contains("  on offer  "));
    let offers: Vec<&str> = offers.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(offers.len() >= 3, "{listed}");
    for kernel in offers {
        let report = run(sudbox_run(&[kernel])).expect_code(0).json();
        let machine = report["machine"].as_str().expect("a machine");
        assert!(machine.contains("ACPI"), "{kernel}: {machine}");
    }
}

#[test]
fn without_upstream_the_newest_packaged_kernel_stands_in_for_latest() {
    let mut command = sudbox_run(&["latest", "--cases", "boot"]);
    command.env("SUDBOX_KERNEL_MIRROR", "https://127.0.0.1:9");
    let report = run(command).expect_code(0).json();
    let note = report["kernel"]["stands_in"].as_str().expect("a note");
    assert!(note.contains("upstream cannot be reached"), "{note}");
}
