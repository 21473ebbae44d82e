// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The microVM on real KVM, in level 1 (docs/kvm.md): what takes longer than a contributor waits.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sudbox_tests::level1::host::X86_64;
use sudbox_tests::level1::{Level1, WITHOUT_ORACLES, sudbox_run};
use sudbox_tests::{Ran, run};

/// Every case on KVM with these arguments ends as on TCG without KVM, with the same CPU.
fn as_on_tcg(arguments: &[&str], cpus: &str) {
    let common = ["--cases", WITHOUT_ORACLES, "--cpus", cpus];
    let tcg = [&common[..], &["--backend", "tcg", "--cpu-model", X86_64.model]].concat();
    let tcg = run(sudbox_tests::sudbox_run(&tcg)).expect(0).outcomes();
    let kvm = [&common[..], &["--backend", "kvm"], arguments].concat();
    assert_eq!(Level1::shared().sudbox_run(&kvm).expect(0).outcomes(), tcg);
}

/// One test at a time: what a test sees of processes and files in level 1 is its own.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_case_ends_as_on_tcg_with_four_cpus() {
    let _alone = alone();
    as_on_tcg(&[], "4");
}

#[test]
fn every_case_ends_as_on_tcg_in_a_vm_of_its_own() {
    let _alone = alone();
    as_on_tcg(&["--isolate"], "1");
}

#[test]
fn eight_vms_side_by_side_on_two_cpus_all_judge_right() {
    let _alone = alone();
    let level1 = Level1::shared();
    let arguments = ["--cases", WITHOUT_ORACLES, "--backend", "kvm"];
    let alone = level1.sudbox_run(&arguments).expect(0).outcomes();
    for ended in level1.run_all(vec![sudbox_run(&arguments); 8]) {
        assert_eq!(Ran::from(ended).expect(0).outcomes(), alone);
    }
}

#[test]
fn a_vmm_that_is_killed_at_any_point_leaves_nothing() {
    let _alone = alone();
    let level1 = Level1::shared();
    let mut program = sudbox_run(&["--cases", "core", "--backend", "kvm", "--isolate"]);
    let whole = level1.run_all(vec![program.clone()]).remove(0).took;
    let _ = level1.sweep();
    let before = level1.traces();
    const TIMES: u32 = 40;
    for time in 0..TIMES {
        // One point in each fortieth of a run, at random.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
        let point = f64::from(time) + f64::from(now.subsec_nanos() % 1000) / 1000.0;
        program.limit = whole.mul_f64(point / f64::from(TIMES)).max(Duration::from_millis(1));
        let ran = Ran::from(level1.run_all(vec![program.clone()]).remove(0));
        assert!([0, 137].contains(&ran.code), "after {:?}: {ran:?}", program.limit);
        assert_eq!(level1.sweep(), [""; 0], "processes, killed after {:?}", program.limit);
        assert_eq!(level1.traces(), before, "killed after {:?}", program.limit);
    }
}
