// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel that is running on this machine, judged without a VM.

use std::time::Duration;

use sudbox_tests::{run, sudbox_run};

#[test]
fn the_running_kernel_is_judged_in_no_time_and_without_root() {
    let ran = run(sudbox_run(&["running"])).expect(0);
    assert!(ran.took < Duration::from_secs(20), "{:?}", ran.took);
    let report = ran.json();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    assert_eq!(report["kernel"]["release"], release.trim());
    assert_eq!((&report["boots"], &report["restored"]), (&0.into(), &0.into()));
    let outcomes = ran.outcomes();
    // Who runs this test may be root; the cases never are.
    assert_eq!(outcomes["tracing/no-call-events"], "unmet");
    assert_eq!(outcomes["stress/flips"], "unmet");
    assert!(outcomes.contains_key("selector/flips"));
}

#[test]
fn what_is_about_vms_or_booting_is_bad_usage() {
    for wish in [["--isolate"].as_slice(), &["--backend", "tcg"], &["--append", "quiet"]] {
        let arguments: Vec<&str> = ["running"].into_iter().chain(wish.to_vec()).collect();
        let ran = run(sudbox_run(&arguments)).expect(129);
        assert!(ran.stderr.contains("about VMs"), "{}", ran.stderr);
    }
    let ran = run(sudbox_run(&["running", "--cases", "boot"])).expect(129);
    assert!(ran.stderr.contains("has booted"), "{}", ran.stderr);
}

#[test]
fn what_a_run_by_sudo_leaves_is_the_users() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    // SAFETY: geteuid() has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("NOT RUN: only root can act as somebody else");
        return;
    }
    const USER: u32 = 65534;
    let dir = tempfile::tempdir().unwrap();
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), all).unwrap();
    let home = dir.path().join("home");
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(USER), Some(USER)).unwrap();
    let cache = home.join("cache");
    let mut command = sudbox_run(&["running", "--cases", "selector/flips"]);
    command.env("SUDBOX_CACHE", &cache).env("SUDO_UID", "65534").env("SUDO_GID", "65534");
    let _ = run(command).expect(0);
    let runs = cache.join("runs");
    let mut entries = std::fs::read_dir(&runs).unwrap().map(|entry| entry.unwrap().path());
    let folder = entries.find(|path| path.is_dir()).expect("the folder of the run");
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let all: Vec<_> = files.chain([runs, folder.clone()]).collect();
    assert!(all.contains(&folder.join("report.json")), "{all:?}");
    for path in all {
        assert_eq!(path.metadata().unwrap().uid(), USER, "{}", path.display());
    }
}
