// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels that mean no good, from `payloads/hostile.c`: whatever they do to the machine, they get
//! their name, in time, and nothing of ours falls over.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sudbox_tests::level1::{self, Files, Level1, Options};
use sudbox_tests::{Ran, root, start, sudbox_run};

/// Seconds without progress after which a boot is a hang.
const PATIENCE: u64 = 6;

/// Longest until one has its name: two boots, the second with all messages; or one that prints,
/// which keeps it alive for ten times as long.
const LIMIT: Duration = Duration::from_secs(10 * PATIENCE + 30);

/// What the kernel does, what it is called for that, and what it has printed by then.
const HALTS: [&str; 3] = ["halts", "halted with interrupts off", "halting"];
const SPINS: [&str; 3] = ["spins", "runs with interrupts off", "spinning"];
const FAULTS: [&str; 3] = ["faults", "triple fault", "CPU#0"];
const PRINTS: [&str; 3] = ["prints", "prints on the console without end", "and on and on"];
const KICKS: [&str; 3] = ["kicks", "runs with interrupts off", "kicking"];
const IGNORES: [&str; 3] = ["ignores", "the guest does not read what the host sends", "dialled"];
const WANDERS: [&str; 3] = ["wanders", "KVM internal error", "wandering"];
const SCRIBBLES: [&str; 3] = ["scribbles", "restarted before", "registers done"];

/// Compiles the kernel that does this.
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

/// Checks what a run says of such a kernel, and how long it took.
#[track_caller]
fn named([what, name, printed]: [&str; 3], ran: Ran) {
    let report = ran.expect(1).json();
    let case = &report["cases"][0];
    assert_eq!((&case["id"], &case["outcome"]), (&"boot/reaches-init".into(), &"fail".into()));
    let text = |key: &str| case[key].as_str().expect("a text");
    assert!(text("got").contains(name), "{what}: {}", text("got"));
    assert!(text("console").contains(printed), "{what}: {}", text("console"));
}

fn arguments<'a>(kernel: &'a str, backend: &'a str, patience: &'a str) -> [&'a str; 7] {
    [kernel, "--cases", "boot", "--backend", backend, "--timeout", patience]
}

#[test]
fn on_qemu_they_get_their_names() {
    // Without the one that writes to every port: QEMU itself may not survive that (7.2 stops at an
    // assertion when its serial interface is read more than a byte wide). Nor does it survive one
    // that jumps to where nothing is: it says so and ends.
    let dir = tempfile::tempdir().unwrap();
    let patience = PATIENCE.to_string();
    let running = [FAULTS, HALTS, SPINS, PRINTS, KICKS, IGNORES].map(|hostile| {
        let kernel = kernel(hostile[0], dir.path());
        (hostile, start(sudbox_run(&arguments(kernel.to_str().unwrap(), "tcg", &patience))))
    });
    for (hostile, running) in running {
        let ran = running.finish();
        assert!(ran.took < LIMIT, "{hostile:?}: {ran:?}");
        named(hostile, ran);
    }
}

#[test]
fn on_the_microvm_they_get_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Files::default();
    files.sudbox();
    let all = [FAULTS, HALTS, SPINS, PRINTS, KICKS, IGNORES, WANDERS];
    for [what, ..] in all.into_iter().chain([SCRIBBLES]) {
        files.copy(&kernel(what, dir.path()), format!("/k/{what}"));
    }
    let level1 = Level1::boot(Options { files, ..Options::default() });
    let program = |[what, ..]: [&str; 3], patience: &str| {
        let kernel = format!("/k/{what}");
        let arguments = arguments(&kernel, "kvm", patience);
        let argv = [&["sudbox", "run", "--format", "json"], &arguments[..]].concat();
        level1::program(&argv)
    };
    // Exits are slow here, and that one makes ten thousands. The others run side by side.
    let [ended] = &level1.run_all(vec![program(SCRIBBLES, "60")])[..] else { panic!("one") };
    named(SCRIBBLES, ended.clone().into());

    let patience = PATIENCE.to_string();
    let programs = all.map(|hostile| program(hostile, &patience));
    for (hostile, ended) in all.into_iter().zip(level1.run_all(programs.into())) {
        assert!(ended.took < LIMIT, "{hostile:?}: {ended:?}");
        named(hostile, ended.into());
    }
    assert_eq!(level1.sweep(), [""; 0], "processes");
}
