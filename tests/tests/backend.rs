// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The choice of the backend, on machines with and without usable KVM.

use sudbox_tests::{RunOutput, run, sudbox, sudbox_run};

/// The probe's finding, its time in milliseconds and the chosen machine, from `sudbox doctor`.
fn doctor() -> (String, f64, String) {
    let mut command = sudbox();
    command.args(["doctor", "--format", "json"]);
    let report = run(command).json();
    let text = |field: &str| report[field].as_str().expect("text").to_owned();
    let micros = report["kvm_micros"].as_f64().expect("a number");
    (text("kvm"), micros / 1000.0, text("machine"))
}

fn machine(result: &RunOutput) -> String {
    result.json()["machine"].as_str().expect("a machine").to_owned()
}

#[test]
fn the_probe_is_quick_and_a_report_names_its_finding() {
    let (finding, milliseconds, machine_of_doctor) = doctor();
    // The shortest time of five, because other tests keep this machine busy.
    let shortest = (0..4).map(|_| doctor().1).fold(milliseconds, f64::min);
    assert!(shortest < 50.0, "{finding}: {shortest} ms");
    let result = run(sudbox_run(&["--cases", "boot"])).expect_code(0);
    let machine = machine(&result);
    assert!(machine.contains(&finding), "{machine}\n{finding}");
    let usable = finding == "/dev/kvm runs kernels";
    assert_eq!(machine.starts_with("kvm (microVM)"), usable, "{machine}");
    assert_eq!(machine_of_doctor.starts_with("kvm (microVM)"), usable, "{machine_of_doctor}");
}

#[test]
fn backend_kvm_works_or_names_the_probes_finding() {
    let (finding, _, _) = doctor();
    let result = run(sudbox_run(&["--backend", "kvm", "--cases", "boot"]));
    if finding == "/dev/kvm runs kernels" {
        assert!(machine(&result.expect_code(0)).starts_with("kvm (microVM)"));
    } else {
        let result = result.expect_code(128);
        assert!(
            result.stderr.contains(&finding) && result.stderr.contains("doctor"),
            "{}",
            result.stderr
        );
        assert_eq!(result.stdout, "");
    }
}

#[test]
fn emulation_can_be_requested() {
    let result = run(sudbox_run(&["--backend", "tcg", "--cases", "boot"])).expect_code(0);
    assert_eq!(machine(&result), "qemu (microvm) on tcg: as requested");
    let result = run(sudbox_run(&["--cpu-model", "qemu64", "--cases", "boot"])).expect_code(0);
    assert!(machine(&result).starts_with("qemu (microvm) on tcg"), "{}", machine(&result));
}

#[test]
fn options_that_the_microvm_lacks_are_bad_usage() {
    for option in [["--cpu-model", "qemu64"].as_slice(), &["--gdb"]] {
        let arguments: Vec<&str> =
            ["--backend", "kvm"].into_iter().chain(option.to_vec()).collect();
        let result = run(sudbox_run(&arguments)).expect_code(129);
        assert!(result.stderr.contains("--backend qemu"), "{}", result.stderr);
    }
}

#[test]
fn isolated_cases_have_a_vm_each() {
    let result = run(sudbox_run(&["--isolate", "--cases", "siginfo/*"])).expect_code(0);
    let report = result.json();
    let vms = report["boots"].as_u64().unwrap() + report["restored"].as_u64().unwrap();
    assert_eq!(vms, result.outcomes().len() as u64, "{report}");
    if machine(&result).starts_with("qemu") {
        assert_eq!(report["restored"], 0);
        assert!(result.stderr.contains("every case gets a boot"), "{}", result.stderr);
    } else {
        assert_eq!(report["boots"], 1);
    }
}
