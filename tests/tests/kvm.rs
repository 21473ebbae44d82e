// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The microVM on real KVM, in level 1 (docs/kvm.md): what a contributor waits for.

use sudbox_tests::level1::host::X86_64;
use sudbox_tests::level1::{Level1, WITHOUT_ORACLES};
use sudbox_tests::{run, sudbox_run};

#[test]
fn the_probe_finds_kvm_usable_and_auto_takes_it() {
    let ran = Level1::shared().run(&["sudbox", "doctor"]);
    assert!(ran.stdout.contains("KVM  /dev/kvm runs kernels"), "{}\n{}", ran.stdout, ran.stderr);
    let ran = Level1::shared().sudbox_run(&["--cases", "boot"]).expect(0);
    let machine = ran.json()["machine"].as_str().expect("a machine").to_owned();
    assert!(machine.starts_with("kvm (microVM)"), "{machine}");
}

#[test]
fn every_case_ends_as_on_tcg_with_the_same_cpu() {
    // First, for nothing else of this test to run while it boots.
    let level1 = Level1::shared();
    let tcg = run(sudbox_run(&[
        "--cases",
        WITHOUT_ORACLES,
        "--backend",
        "tcg",
        "--cpu-model",
        X86_64.model,
    ]));
    let kvm = level1.sudbox_run(&["--cases", WITHOUT_ORACLES, "--backend", "kvm"]).expect(0);
    assert_eq!(kvm.outcomes(), tcg.expect(0).outcomes(), "on {}", X86_64.cpu);
}

#[test]
fn a_run_leaves_nothing() {
    let level1 = Level1::shared();
    let once = || level1.sudbox_run(&["--cases", "core", "--backend", "kvm"]).expect(0);
    let _ = once();
    let before = level1.traces();
    let _ = once();
    assert_eq!(level1.sweep(), [""; 0], "processes");
    assert_eq!(level1.traces(), before);
}
