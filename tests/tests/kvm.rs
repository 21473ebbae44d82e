// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The microVM on KVM in level 1 (docs/kvm.md): the tests of `make test`.

use sudbox_tests::level1::host::X86_64;
use sudbox_tests::level1::{Level1, WITHOUT_ORACLES};
use sudbox_tests::{run, sudbox_run};

#[test]
fn the_probe_finds_kvm_usable_and_auto_uses_the_microvm() {
    let result = Level1::shared().run(&["sudbox", "doctor"]);
    assert!(
        result.stdout.contains("/dev/kvm runs kernels"),
        "{}\n{}",
        result.stdout,
        result.stderr
    );
    let result = Level1::shared().sudbox_run(&["--cases", "boot"]).expect_code(0);
    let machine = result.json()["machine"].as_str().expect("a machine").to_owned();
    assert!(machine.starts_with("kvm (microVM)"), "{machine}");
}

#[test]
fn every_case_ends_as_on_tcg_with_the_same_cpu() {
    // Level 1 boots before the run on TCG, so that they do not compete for CPUs.
    let level1 = Level1::shared();
    let tcg = run(sudbox_run(&[
        "--cases",
        WITHOUT_ORACLES,
        "--backend",
        "tcg",
        "--cpu-model",
        X86_64.guest_cpu_model,
    ]));
    let kvm = level1.sudbox_run(&["--cases", WITHOUT_ORACLES, "--backend", "kvm"]).expect_code(0);
    assert_eq!(kvm.outcomes(), tcg.expect_code(0).outcomes(), "on {}", X86_64.cpu);
}

#[test]
fn a_run_leaves_nothing() {
    let level1 = Level1::shared();
    let judge = || level1.sudbox_run(&["--cases", "core", "--backend", "kvm"]).expect_code(0);
    let _ = judge();
    let before = level1.leftovers();
    let _ = judge();
    assert_eq!(level1.kill_all(), [""; 0], "processes");
    assert_eq!(level1.leftovers(), before);
}
