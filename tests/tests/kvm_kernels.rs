// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A broken kernel and a distribution's kernel on the microVM, in level 1 (docs/kvm.md).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sudbox_tests::level1::{Files, Level1, Level1Options};
use sudbox_tests::{StderrMonitor, Tree, print_uncaptured};

/// Level 1 with sudbox and one more kernel, at `/k/kernel`.
fn level1_with(kernel: &Path) -> Level1 {
    let mut files = Files::default();
    let _ = files.add_sudbox();
    files.copy_from_host(kernel, "/k/kernel");
    Level1::boot(Level1Options { files, ..Level1Options::default() })
}

#[test]
fn cases_after_a_crash_run_in_a_restored_vm() {
    let tree = Tree::with_faults(&["switchable.patch"]);
    let request =
        sudbox_images::Request { reference: tree.argument().to_owned(), ..Default::default() };
    let cache = sudbox_images::Cache::open().expect("a cache");
    let mut monitor = StderrMonitor;
    let mut ctx = sudbox_images::Ctx::new(&cache, &mut monitor);
    let image = sudbox_images::kernel(&mut ctx, &request).expect("a kernel that builds");
    let level1 = level1_with(&image.kernel);
    let judge = |fault: &str| {
        let fault = format!("sudbox_fault={fault}");
        let arguments = ["--backend", "kvm", "--cases", "core", "--append", &fault, "/k/kernel"];
        level1.sudbox_run(&arguments)
    };
    let without_fault = judge("none").expect_code(0).outcomes();
    let broken = judge("oops").expect_code(1);
    let report = broken.json();
    let outcomes = broken.outcomes();
    let crashed = outcomes.values().filter(|outcome| *outcome == "crash").count();
    assert!(crashed >= 1, "{report}");
    // If the last case crashes, no VM is restored after it.
    let restored = report["restored"].as_u64().expect("a number");
    assert!((crashed as u64 - 1..=crashed as u64).contains(&restored), "{report}");
    assert_eq!(report["boots"], 1, "{report}");
    assert_eq!(outcomes.len(), without_fault.len(), "every case is in the report");
    for (id, outcome) in outcomes.iter().filter(|(_, outcome)| *outcome != "crash") {
        assert_eq!(*outcome, without_fault[id], "{id}");
    }
}

/// Debian's cloud kernel, downloaded and unpacked in `dir`; `None` if apt does not offer it.
fn cloud_kernel(dir: &Path) -> Option<PathBuf> {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(dir).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let depends = output("apt-cache", &["depends", "--important", "linux-image-cloud-amd64"])?;
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "))?;
    output("apt-get", &["download", package])?;
    let file =
        fs::read_dir(dir).ok()?.flatten().find(|e| e.path().extension() == Some("deb".as_ref()))?;
    output("dpkg-deb", &["--extract", file.path().to_str()?, "."])?;
    let mut boot = fs::read_dir(dir.join("boot")).ok()?.flatten();
    boot.find(|e| e.file_name().to_string_lossy().starts_with("vmlinuz")).map(|e| e.path())
}

#[test]
fn a_prebuilt_kernel_reaches_its_init_through_acpi() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(kernel) = cloud_kernel(dir.path()) else {
        assert!(std::env::var_os("CI").is_none(), "no cloud kernel from apt");
        print_uncaptured("NOT RUN: apt has no package linux-image-cloud-amd64");
        return;
    };
    let level1 = level1_with(&kernel);
    for cpus in ["1", "4"] {
        // The timeout is long, because the kernel's decompressor prints nothing for a long time.
        let common = ["sudbox", "run", "--format", "json", "--backend", "kvm", "--cases", "core"];
        let options =
            ["--cpus", cpus, "--timeout", "200", "--append", "ignore_loglevel", "/k/kernel"];
        let result = level1.run(&[&common[..], &options[..]].concat()).expect_code(125);
        // vsock is a module, which the initramfs does not contain, so init cannot connect.
        let report = result.json();
        let reason = report["unjudged"].as_str().unwrap_or_default();
        assert!(reason.contains("the kernel reached its init"), "{report}");
    }
}
