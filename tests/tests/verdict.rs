//! The pinned kernel, judged as a newcomer judges it.

use std::collections::BTreeSet;
use std::process::Command;
use sudbox_tests::{run, sudbox, sudbox_run};

/// Cases that the pinned kernel on QEMU's default CPU may end with `absent`, by name.
const ABSENT: &[&str] = &[
    // PR_SYS_DISPATCH_INCLUSIVE_ON came with 6.17.
    "arguments/inclusive-range-checked",
    "ptrace/inclusive-restores",
    "range/inclusive",
    "range/inclusive-outside-not-read",
];

/// Cases that QEMU's default CPU may leave `unmet`, by name.
const UNMET: &[&str] = &[];

/// Ids that `--list` shows.
fn listed() -> BTreeSet<String> {
    let mut list = sudbox();
    list.args(["run", "--list"]);
    let ran = run(list).expect(0);
    ran.stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_pinned_kernel_keeps_every_promise_and_every_case_is_accounted_for() {
    let ran = run(sudbox_run(&["--cases", "all"])).expect(0);
    let outcomes = ran.outcomes();
    let ids: BTreeSet<String> = outcomes.keys().cloned().collect();
    assert_eq!(ids, listed(), "cases reported and cases listed differ");
    assert!(ids.len() > 25, "only {} cases", ids.len());
    for (id, outcome) in &outcomes {
        let allowed = match outcome.as_str() {
            "pass" | "known" => true,
            "absent" => ABSENT.contains(&id.as_str()),
            "unmet" => UNMET.contains(&id.as_str()),
            _ => false,
        };
        assert!(allowed, "{id} is {outcome}, which is not allowed by name");
    }
}

#[test]
fn a_cached_run_needs_no_network() {
    let _ = run(sudbox_run(&["--cases", "boot"])).expect(0);
    let inner = sudbox_run(&["--cases", "core"]);
    // A network namespace of its own has no interface but a loopback that is down.
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--map-root-user", "--"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let ran = run(command).expect(0);
    assert!(ran.outcomes().values().any(|outcome| outcome == "pass"));
}

#[test]
fn every_form_of_the_report_is_printed_and_kept() {
    for (format, beginning) in
        [("table", ""), ("ktap", "KTAP version 1\n"), ("junit", "<?xml"), ("json", "{")]
    {
        let mut command = sudbox();
        command.args(["run", "--cases", "selector", "--format", format]);
        let ran = run(command).expect(0);
        assert!(ran.stdout.starts_with(beginning), "{format}: {}", ran.stdout);
        assert!(!ran.stdout.contains('\u{1b}'), "colour without a terminal");
        let last = ran.stderr.lines().last().unwrap_or_default();
        let folder = last.trim_start().strip_prefix("kept").map(str::trim).unwrap_or_default();
        for file in
            ["report.txt", "report.json", "junit.xml", "report.ktap", "console.log", "config"]
        {
            assert!(std::path::Path::new(folder).join(file).is_file(), "{folder}/{file}");
        }
    }
}

#[test]
fn repeats_and_more_cpus_change_no_outcome() {
    let once = run(sudbox_run(&["--cases", "core"])).expect(0).outcomes();
    let often = run(sudbox_run(&["--cases", "core", "--repeat", "5"])).expect(0).outcomes();
    assert_eq!(once, often);
    // More than one plan holds.
    let many = run(sudbox_run(&["--cases", "core", "--repeat", "12"])).expect(0);
    assert_eq!(many.json()["boots"], 2, "{} cases in plans of 1000", 12 * once.len());
    let wide = run(sudbox_run(&["--cases", "core", "--cpus", "4"])).expect(0).outcomes();
    assert_eq!(once, wide);
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let runs: Vec<_> =
        (0..2).map(|_| sudbox_tests::start(sudbox_run(&["--cases", "core"]))).collect();
    for running in runs {
        let _ = running.finish().expect(0);
    }
}
