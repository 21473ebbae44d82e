// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Hostile kernels, built from `payloads/hostile.c`. Whatever such a kernel does, sudbox does not
//! crash or hang, and the report says what the kernel did.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sudbox_tests::level1::{self, Files, Level1, Level1Options};
use sudbox_tests::{RunOutput, root, start, sudbox_run};

/// Seconds without progress after which a boot is a hang.
const TIMEOUT: u64 = 6;

/// Time limit of a run. It may take two boots, the second with all kernel messages; a kernel that
/// prints without end is stopped after ten times [`TIMEOUT`].
const LIMIT: Duration = Duration::from_secs(10 * TIMEOUT + 30);

// Mode of the kernel (`MODE` of hostile.c), words of the report, words on the console.
const HALTS: [&str; 3] = ["halts", "halted with interrupts off", "halting"];
const SPINS: [&str; 3] = ["spins", "runs with interrupts off", "spinning"];
const FAULTS: [&str; 3] = ["faults", "triple fault", "CPU#0"];
const PRINTS: [&str; 3] = ["prints", "prints on the console without end", "and on and on"];
const KICKS: [&str; 3] = ["kicks", "runs with interrupts off", "kicking"];
const IGNORES: [&str; 3] = ["ignores", "the guest does not read what the host sends", "dialled"];
const WANDERS: [&str; 3] = ["wanders", "KVM internal error", "wandering"];
const SCRIBBLES: [&str; 3] = ["scribbles", "restarted before", "registers done"];

/// Compiles the kernel of a mode.
fn kernel(what: &str, dir: &Path) -> PathBuf {
    let path = dir.join(what);
    let status = Command::new("gcc")
        .arg(format!("-DMODE={what}"))
        .arg(format!("-DHOST_PORT={}", sudbox_protocol::PORT))
        .args(["-O1", "-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-no-pie"])
        .args(["-mno-red-zone", "-mgeneral-regs-only", "-fcf-protection=none"])
        .args(["-fno-stack-protector", "-Wl,-Ttext-segment=0x200000", "-Wl,--build-id=none", "-o"])
        .arg(&path)
        .arg(root().join("tests/payloads/hostile.c"))
        .status()
        .expect("gcc is installed");
    assert!(status.success(), "{what} does not compile");
    path
}

/// Checks the report of a hostile kernel.
#[track_caller]
fn check_report([what, name, printed]: [&str; 3], result: RunOutput) {
    let report = result.expect_code(1).json();
    let case = &report["cases"][0];
    assert_eq!((&case["id"], &case["outcome"]), (&"boot/reaches-init".into(), &"fail".into()));
    let text = |key: &str| case[key].as_str().expect("a text");
    assert!(text("got").contains(name), "{what}: {}", text("got"));
    assert!(text("console").contains(printed), "{what}: {}", text("console"));
}

fn arguments<'a>(kernel: &'a str, backend: &'a str, timeout: &'a str) -> [&'a str; 7] {
    [kernel, "--cases", "boot", "--backend", backend, "--timeout", timeout]
}

#[test]
fn hostile_kernels_on_qemu() {
    // Without SCRIBBLES, which writes to every port: QEMU may crash (7.2 fails an assertion when its
    // serial port is read with more than one byte). Without WANDERS, which jumps to unmapped memory:
    // QEMU ends with an error.
    let dir = tempfile::tempdir().unwrap();
    let timeout = TIMEOUT.to_string();
    let running = [FAULTS, HALTS, SPINS, PRINTS, KICKS, IGNORES].map(|hostile| {
        let kernel = kernel(hostile[0], dir.path());
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
    let all = [FAULTS, HALTS, SPINS, PRINTS, KICKS, IGNORES, WANDERS];
    for [what, ..] in all.into_iter().chain([SCRIBBLES]) {
        files.copy_from_host(&kernel(what, dir.path()), format!("/k/{what}"));
    }
    let level1 = Level1::boot(Level1Options { files, ..Level1Options::default() });
    let program = |[what, ..]: [&str; 3], timeout: &str| {
        let kernel = format!("/k/{what}");
        let arguments = arguments(&kernel, "kvm", timeout);
        let argv = [&["sudbox", "run", "--format", "json"], &arguments[..]].concat();
        level1::program(&argv)
    };
    // Exits are slow in level 1, and SCRIBBLES makes tens of thousands, so it runs alone and with a
    // longer timeout. The others run in parallel.
    let [ended] = &level1.run_all(vec![program(SCRIBBLES, "60")])[..] else { panic!("one") };
    check_report(SCRIBBLES, ended.clone().into());

    let timeout = TIMEOUT.to_string();
    let programs = all.map(|hostile| program(hostile, &timeout));
    for (hostile, ended) in all.into_iter().zip(level1.run_all(programs.into())) {
        assert!(ended.elapsed < LIMIT, "{hostile:?}: {ended:?}");
        check_report(hostile, ended.into());
    }
    assert_eq!(level1.kill_all(), [""; 0], "processes");
}
