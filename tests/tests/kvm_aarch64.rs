// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The microVM on aarch64 KVM, in level 1 (docs/kvm.md).

use std::sync::OnceLock;

use sudbox_tests::level1::host::AARCH64;
use sudbox_tests::level1::{Files, Level1, Level1Options, WITHOUT_ORACLES, build_kernel};
use sudbox_tests::{run, sudbox_run};

/// The machine that all tests of this file share, and the path of the kernel that they judge in it.
fn level1() -> &'static (Level1, &'static str) {
    static LEVEL1: OnceLock<(Level1, &'static str)> = OnceLock::new();
    LEVEL1.get_or_init(|| {
        let mut files = Files::default();
        let kernel = files.add_foreign_sudbox(&AARCH64);
        (Level1::boot(Level1Options { host: &AARCH64, files, ..Level1Options::default() }), kernel)
    })
}

#[test]
fn the_probe_finds_kvm_usable_and_auto_uses_the_microvm() {
    let (level1, kernel) = level1();
    let result = level1.run(&["sudbox", "doctor"]);
    assert!(
        result.stdout.contains("/dev/kvm runs kernels"),
        "{}\n{}",
        result.stdout,
        result.stderr
    );
    // Without --arch, the architecture is level 1's own.
    let result = level1.sudbox_run(&["--cases", "boot", kernel]).expect_code(0);
    let machine = result.json()["machine"].as_str().expect("a machine").to_owned();
    assert!(machine.starts_with("kvm (microVM)"), "{machine}");
}

/// Checks that every case has the same outcome on KVM with these arguments as on TCG with the same
/// CPU model.
fn check_same_as_on_tcg(arguments: &[&str], cpus: &str) {
    let image = build_kernel(&AARCH64, "default", &[]).kernel;
    let image = image.to_str().expect("a path in UTF-8");
    let common = ["--arch", AARCH64.arch.name(), "--cases", WITHOUT_ORACLES, "--cpus", cpus];
    let tcg = ["--backend", "tcg", "--cpu-model", AARCH64.guest_cpu_model, image];
    let tcg = run(sudbox_run(&[&common[..], &tcg].concat())).expect_code(0).outcomes();
    let (level1, kernel) = level1();
    let kvm = [&common[..], &["--backend", "kvm", kernel], arguments].concat();
    assert_eq!(level1.sudbox_run(&kvm).expect_code(0).outcomes(), tcg, "on {}", AARCH64.cpu);
}

#[test]
fn every_case_ends_as_on_tcg_with_the_same_cpu() {
    check_same_as_on_tcg(&[], "1");
}

#[test]
fn every_case_ends_as_on_tcg_with_four_cpus() {
    check_same_as_on_tcg(&[], "4");
}

#[test]
fn every_case_ends_as_on_tcg_in_a_vm_of_its_own() {
    check_same_as_on_tcg(&["--isolate"], "1");
}
