// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hostile kernels, built from `payloads/hostile.c`. sudbox does not crash or hang, and the report
//! describes the behaviour of the kernel.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sudbox_tests::level1::{self, Files, Level1, Level1Options};
use sudbox_tests::{RunOutput, root, run, start, sudbox_run};

/// Seconds without progress after which a boot is a hang.
const TIMEOUT: u64 = 6;

/// Time limit of a run. A run may have two boots, the second with all kernel messages. A kernel that
/// prints without end is stopped after ten times [`TIMEOUT`].
const LIMIT: Duration = Duration::from_secs(10 * TIMEOUT + 30);

// Each has the mode of the kernel (`MODE` of hostile.c), words of the report, and words on the console.
const HALTS: [&str; 3] = ["halts", "halted with interrupts off", "halting"];
const SPINS: [&str; 3] = ["spins", "runs with interrupts off", "spinning"];
const FAULTS: [&str; 3] = ["faults", "triple fault", "CPU#0"];
const PRINTS: [&str; 3] = ["prints", "prints on the console without end", "and on and on"];
const KICKS: [&str; 3] = ["kicks", "runs with interrupts off", "kicking"];
const IGNORES: [&str; 3] = ["ignores", "the guest does not read what the host sends", "dialled"];
const WANDERS: [&str; 3] = ["wanders", "KVM internal error", "wandering"];
const SCRIBBLES: [&str; 3] = ["scribbles", "restarted before", "registers done"];

/// Compiles the kernel of a mode.
fn compile_kernel(mode: &str, dir: &Path) -> PathBuf {
    let path = dir.join(mode);
    let status = Command::new("gcc")
        .arg(format!("-DMODE={mode}"))
        .arg(format!("-DHOST_PORT={}", sudbox_protocol::PORT))
        .args(["-O1", "-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-no-pie"])
        .args(["-mno-red-zone", "-mgeneral-regs-only", "-fcf-protection=none"])
        .args(["-fno-stack-protector", "-Wl,-Ttext-segment=0x200000", "-Wl,--build-id=none", "-o"])
        .arg(&path)
        .arg(root().join("tests/payloads/hostile.c"))
        .status()
        .expect("gcc is installed");
    assert!(status.success(), "{mode} does not compile");
    path
}

/// Checks the report of a hostile kernel.
#[track_caller]
fn check_report([mode, report_words, console_words]: [&str; 3], result: RunOutput) {
    let report = result.expect_code(1).json();
    let case = &report["cases"][0];
    assert_eq!((&case["id"], &case["outcome"]), (&"boot/reaches-init".into(), &"fail".into()));
    let text = |key: &str| case[key].as_str().expect("a text");
    assert!(text("got").contains(report_words), "{mode}: {}", text("got"));
    assert!(text("console").contains(console_words), "{mode}: {}", text("console"));
}

fn arguments<'a>(kernel: &'a str, backend: &'a str, timeout: &'a str) -> [&'a str; 7] {
    [kernel, "--cases", "boot", "--backend", backend, "--timeout", timeout]
}

#[test]
fn a_kernel_that_ends_qemu_is_not_blamed() {
    let dir = tempfile::tempdir().unwrap();
    let timeout = TIMEOUT.to_string();
    let run_on_qemu = |[mode, ..]: [&str; 3]| {
        let kernel = compile_kernel(mode, dir.path());
        run(sudbox_run(&arguments(kernel.to_str().unwrap(), "tcg", &timeout)))
    };
    // SCRIBBLES writes to every port. Version 7.2 of QEMU fails an assertion when more than one byte is
    // read from its serial port. WANDERS jumps to unmapped memory, where some versions of QEMU abort and
    // others execute zeros.
    for hostile in [SCRIBBLES, WANDERS] {
        let result = run_on_qemu(hostile);
        match result.code {
            128 => result.expect_error(128, &["the VM could not run: killed by signal 6"]),
            _ => {
                let report = result.expect_code(1).json();
                assert_eq!(report["cases"][0]["outcome"], "fail", "{hostile:?}");
            }
        }
    }
}

#[test]
fn results_survive_the_death_of_qemu() {
    let cases = [
        "selector/allow-executes",
        "selector/block-dispatches",
        "selector/flips",
        "selector/invalid-value-kills",
    ];
    let list = cases.join(",");
    let mut running = start(sudbox_run(&["--isolate", "--backend", "tcg", "--cases", &list]));
    // sudbox prints this label after the first case.
    running.wait_for("isolate");
    // A QEMU that has run for so long executes the kernel, which needs three times as long to boot.
    running.signal_next_named("qemu-system", Duration::from_millis(200), libc::SIGABRT);
    let result = running.finish().expect_code(128);
    assert!(result.stderr.contains("killed by signal 6"), "{}", result.stderr);
    let outcomes = result.outcomes();
    let passed =
        cases.iter().filter(|id| outcomes.get(**id).is_some_and(|it| it == "pass")).count();
    // The QEMU that was killed may not have booted, so that no case was running.
    assert!(passed >= cases.len() - 1, "{outcomes:?}");
    let reason = result.json()["reason"].as_str().expect("a reason").to_owned();
    let start = format!("{passed} of {} cases have a result: ", cases.len());
    assert!(reason.starts_with(&start) && reason.contains("killed by signal 6"), "{reason}");
}

#[test]
fn hostile_kernels_on_qemu() {
    // WANDERS and SCRIBBLES may end QEMU: a_kernel_that_ends_qemu_is_not_blamed.
    let dir = tempfile::tempdir().unwrap();
    let timeout = TIMEOUT.to_string();
    let running = [FAULTS, HALTS, SPINS, PRINTS, KICKS, IGNORES].map(|hostile| {
        let kernel = compile_kernel(hostile[0], dir.path());
        (hostile, start(sudbox_run(&arguments(kernel.to_str().unwrap(), "tcg", &timeout))))
    });
    for (hostile, running) in running {
        let result = running.finish();
        assert!(result.elapsed < LIMIT, "{hostile:?}: {result:?}");
        check_report(hostile, result);
    }
}

#[test]
fn hostile_kernels_on_the_microvm() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Files::default();
    files.add_sudbox();
    let parallel = [FAULTS, HALTS, SPINS, PRINTS, KICKS, IGNORES, WANDERS];
    for [mode, ..] in parallel.into_iter().chain([SCRIBBLES]) {
        files.copy_from_host(&compile_kernel(mode, dir.path()), format!("/k/{mode}"));
    }
    let level1 = Level1::boot(Level1Options { files, ..Level1Options::default() });
    let program = |[mode, ..]: [&str; 3], timeout: &str| {
        let kernel = format!("/k/{mode}");
        let arguments = arguments(&kernel, "kvm", timeout);
        let argv = [&["sudbox", "run", "--format", "json"], &arguments[..]].concat();
        level1::program(&argv)
    };
    // SCRIBBLES causes tens of thousands of VM exits, which are slow in level 1. So this kernel runs
    // alone and with a longer timeout. The others run in parallel.
    let [ended] = &level1.run_all(vec![program(SCRIBBLES, "60")])[..] else { panic!("one end") };
    check_report(SCRIBBLES, ended.clone().into());

    let timeout = TIMEOUT.to_string();
    let programs = parallel.map(|hostile| program(hostile, &timeout));
    for (hostile, ended) in parallel.into_iter().zip(level1.run_all(programs.into())) {
        assert!(ended.elapsed < LIMIT, "{hostile:?}: {ended:?}");
        check_report(hostile, ended.into());
    }
    assert_eq!(level1.kill_all(), [""; 0], "processes");
}
