// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The microVM on KVM in level 1 (docs/kvm.md): tests that take minutes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sudbox_tests::level1::host::X86_64;
use sudbox_tests::level1::{Level1, WITHOUT_ORACLES, sudbox_run};
use sudbox_tests::{RunOutput, run};

/// Checks that every case has the same outcome on KVM with these arguments as on TCG with the same
/// CPU model.
fn check_same_as_on_tcg(arguments: &[&str], cpus: &str) {
    let common = ["--cases", WITHOUT_ORACLES, "--cpus", cpus];
    let tcg = [&common[..], &["--backend", "tcg", "--cpu-model", X86_64.guest_cpu_model]].concat();
    let tcg = run(sudbox_tests::sudbox_run(&tcg)).expect_code(0).outcomes();
    let kvm = [&common[..], &["--backend", "kvm"], arguments].concat();
    assert_eq!(Level1::shared().sudbox_run(&kvm).expect_code(0).outcomes(), tcg);
}

/// Lets only one test run at a time, because tests check the processes and files that are left in level 1.
fn lock_level1() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_case_ends_as_on_tcg_with_four_cpus() {
    let _lock = lock_level1();
    check_same_as_on_tcg(&[], "4");
}

#[test]
fn every_case_ends_as_on_tcg_in_a_vm_of_its_own() {
    let _lock = lock_level1();
    check_same_as_on_tcg(&["--isolate"], "1");
}

#[test]
fn eight_vms_at_the_same_time_on_two_cpus_have_the_outcomes_of_one() {
    let _lock = lock_level1();
    let level1 = Level1::shared();
    let arguments = ["--cases", WITHOUT_ORACLES, "--backend", "kvm"];
    let outcomes_of_one = level1.sudbox_run(&arguments).expect_code(0).outcomes();
    for ended in level1.run_all(vec![sudbox_run(&arguments); 8]) {
        assert_eq!(RunOutput::from(ended).expect_code(0).outcomes(), outcomes_of_one);
    }
}

#[test]
fn a_vmm_that_is_killed_at_any_point_leaves_nothing() {
    let _lock = lock_level1();
    let level1 = Level1::shared();
    let mut program = sudbox_run(&["--cases", "core", "--backend", "kvm", "--isolate"]);
    let full_time = level1.run_all(vec![program.clone()]).remove(0).elapsed;
    let _ = level1.kill_all();
    let before = level1.leftovers();
    const KILLS: u32 = 40;
    for kill in 0..KILLS {
        // A random point of time in each fortieth of the run.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
        let point = f64::from(kill) + f64::from(now.subsec_nanos() % 1000) / 1000.0;
        program.limit = full_time.mul_f64(point / f64::from(KILLS)).max(Duration::from_millis(1));
        let result = RunOutput::from(level1.run_all(vec![program.clone()]).remove(0));
        assert!([0, 137].contains(&result.code), "after {:?}: {result:?}", program.limit);
        assert_eq!(level1.kill_all(), [""; 0], "processes, killed after {:?}", program.limit);
        assert_eq!(level1.leftovers(), before, "killed after {:?}", program.limit);
    }
}
