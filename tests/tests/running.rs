// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox run running`: judges this machine's running kernel without a VM.

use std::collections::BTreeSet;
use std::time::Duration;

use sudbox_tests::{print_uncaptured, run, sudbox_run};

#[test]
fn the_running_kernel_is_judged_within_20_seconds_and_without_root() {
    let result = run(sudbox_run(&["running"])).expect_code(0);
    assert!(result.elapsed < Duration::from_secs(20), "{:?}", result.elapsed);
    let report = result.json();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    assert_eq!(report["kernel"]["release"], release.trim());
    assert_eq!((&report["boots"], &report["restored"]), (&0.into(), &0.into()));
    let outcomes = result.outcomes();
    // The cases run without privileges, even if this test runs as root.
    assert_eq!(outcomes["tracing/no-call-events"], "unmet");
    assert_eq!(outcomes["stress/flips"], "unmet");
    let root_case = report["cases"]
        .as_array()
        .expect("cases")
        .iter()
        .find(|case| case["got"].as_str().is_some_and(|got| got.starts_with("root")));
    let reason = root_case.expect("a case that needs root")["got"].as_str().expect("text");
    assert!(reason.contains("never used on the kernel of this machine"), "{reason}");
    assert!(outcomes.contains_key("selector/flips"));
}

#[test]
fn options_for_vms_or_booting_are_bad_usage() {
    for option in [["--isolate"].as_slice(), &["--backend", "tcg"], &["--append", "quiet"]] {
        let arguments: Vec<&str> = ["running"].into_iter().chain(option.to_vec()).collect();
        let result = run(sudbox_run(&arguments)).expect_code(129);
        assert!(result.stderr.contains("about VMs"), "{}", result.stderr);
    }
    let result = run(sudbox_run(&["running", "--cases", "boot"])).expect_code(129);
    assert!(result.stderr.contains("has booted"), "{}", result.stderr);
}

#[test]
fn all_selects_every_case_but_boot_on_the_running_kernel() {
    let ids = |arguments: &[&str]| -> BTreeSet<String> {
        run(sudbox_run(arguments)).expect_code(0).outcomes().into_keys().collect()
    };
    let all = ids(&["running", "--cases", "all"]);
    assert!(!all.contains("boot/reaches-init"));
    assert_eq!(all, ids(&["running"]));
}

#[test]
fn files_of_a_run_under_sudo_belong_to_the_user() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    // SAFETY: geteuid() has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        print_uncaptured("NOT RUN: only root can create files of another user");
        return;
    }
    const USER: u32 = 65534;
    let dir = tempfile::tempdir().unwrap();
    let readable_by_all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), readable_by_all).unwrap();
    let home = dir.path().join("home");
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(USER), Some(USER)).unwrap();
    let cache = home.join("cache");
    let mut command = sudbox_run(&["running", "--cases", "selector/flips"]);
    command.env("SUDBOX_CACHE", &cache).env("SUDO_UID", "65534").env("SUDO_GID", "65534");
    let _ = run(command).expect_code(0);
    let runs = cache.join("runs");
    let mut entries = std::fs::read_dir(&runs).unwrap().map(|entry| entry.unwrap().path());
    let folder = entries.find(|path| path.is_dir()).expect("the folder of the run");
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let paths: Vec<_> = files.chain([runs, folder.clone()]).collect();
    assert!(paths.contains(&folder.join("report.json")), "{paths:?}");
    for path in paths {
        assert_eq!(path.metadata().unwrap().uid(), USER, "{}", path.display());
    }
}
