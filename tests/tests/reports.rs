// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The summary of a verdict, and the reports that runs leave in the cache.

use std::fs;
use std::path::Path;
use std::process::Command;
use sudbox_tests::{RunOutput, print_uncaptured, run, sudbox, sudbox_run};

/// A command for `sudbox` with its own cache. The tests judge the running kernel, which needs no
/// build.
fn command_with_cache(cache: &Path, arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command.env("SUDBOX_CACHE", cache).args(arguments);
    command
}

/// Runs cases on the pinned kernel with the report as a table.
fn table(cases: &str) -> RunOutput {
    let mut command = sudbox();
    command.args(["run", "--cases", cases]);
    run(command)
}

#[test]
fn a_run_that_tests_nothing_is_not_judged() {
    // Linux 6.12 has no sysctl of dispatch.
    let result = table("sysctl").expect_code(125);
    let text = result.stdout.replace('\n', " ");
    assert!(text.contains("NOT JUDGED: no case could be tested: 0 tested, 6 absent"), "{text}");
    let result = table("absence");
    result.expect_error(129, &["absence/", "kernels without dispatch"]);
}

#[test]
fn a_part_of_the_cases_does_not_claim_every_promise() {
    let result = table("selector").expect_code(0);
    let text = result.stdout.replace('\n', " ");
    assert!(text.contains("VERDICT: kept where tested: "), "{text}");
    assert!(text.contains(" not selected") && !text.contains("every promise kept"), "{text}");
    let report = run(sudbox_run(&["--cases", "selector"])).expect_code(0).json();
    let coverage = &report["coverage"];
    let count = |name: &str| coverage[name].as_u64().unwrap_or_else(|| panic!("{coverage}"));
    assert!(count("tested") > 10 && count("not_selected") > 100, "{coverage}");
}

#[test]
fn the_options_and_the_machine_are_named_once() {
    let mut command = sudbox();
    command.args(["run", "--cases", "arguments", "--append", "loglevel=4", "--memory", "320"]);
    let result = run(command).expect_code(0);
    assert!(
        result.stdout.contains("  options   --memory 320 --append loglevel=4\n"),
        "{}",
        result.stdout
    );
    assert!(result.stdout.contains("  date      20"), "{}", result.stdout);
    let source = result.stdout.lines().find(|line| line.starts_with("  source")).expect("a source");
    let source = source.trim_start_matches("  source").trim();
    assert!(!result.stderr.contains(source), "named twice: {}", result.stderr);
}

#[test]
fn runs_are_listed_shown_and_pruned() {
    let cache = tempfile::tempdir().unwrap();
    let run_in_cache = |arguments: &[&str]| run(command_with_cache(cache.path(), arguments));
    run_in_cache(&["report", "show"]).expect_error(129, &["no run has left a report yet"]);
    assert_eq!(
        run_in_cache(&["report", "list"]).expect_code(0).stdout,
        "no run has left a report\n"
    );
    let first = run_in_cache(&["run", "running", "--cases", "arguments"]).expect_code(0);
    let _ = run_in_cache(&["run", "running", "--cases", "siginfo"]).expect_code(0);

    let list = run_in_cache(&["report", "list", "--format", "json"]).expect_code(0).json();
    assert_eq!(list["runs"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&list["runs"][0]["kind"], &list["runs"][0]["exit_code"]),
        (&"run".into(), &0.into())
    );
    let table = run_in_cache(&["report", "list"]).expect_code(0).stdout;
    assert!(table.contains("  2  20") && table.contains("tested"), "{table}");

    assert!(run_in_cache(&["report", "show"]).expect_code(0).stdout.contains("siginfo"));
    assert_eq!(run_in_cache(&["report", "show", "2"]).expect_code(0).stdout, first.stdout);
    let folder = first.folder();
    for (format, file) in
        [("json", "report.json"), ("html", "report.html"), ("ktap", "report.ktap")]
    {
        let shown =
            run_in_cache(&["report", "show", folder.to_str().expect("text"), "--format", format]);
        assert_eq!(shown.expect_code(0).stdout, fs::read_to_string(folder.join(file)).unwrap());
    }
    run_in_cache(&["report", "show", "9"]).expect_error(129, &["no run `9`", "report list"]);
    run_in_cache(&["report", "show", "--format", "pdf"]).expect_error(129, &["`pdf`", "ktap"]);

    let old = run_in_cache(&["report", "prune", "--days", "0"]).expect_code(0).stdout;
    assert!(old.contains("2 runs at least 0 days old; --yes removes them"), "{old}");
    let old = run_in_cache(&["report", "prune", "--days", "0", "--format", "json"]);
    let old = old.expect_code(0).json();
    assert_eq!((&old["removed"], &old["runs"]), (&false.into(), &list["runs"]), "{old}");
    assert!(folder.exists());
    let prune = ["report", "prune", "--days", "0", "--yes", "--format", "json"];
    let removed = run_in_cache(&prune).expect_code(0).json();
    assert_eq!((&removed["removed"], &removed["runs"]), (&true.into(), &list["runs"]), "{removed}");
    assert!(!folder.exists());
}

#[test]
fn a_failed_run_is_kept_and_old_ordinary_runs_are_removed() {
    let cache = tempfile::tempdir().unwrap();
    let run_in_cache = |arguments: &[&str]| run(command_with_cache(cache.path(), arguments));
    // The cases about tracing need root and are `unmet` on the running kernel, a failure with --strict.
    let failed = run_in_cache(&["run", "running", "--cases", "tracing,siginfo", "--strict"]);
    let failed = failed.expect_code(1).folder();
    let runs: Vec<_> = (0..12)
        .map(|_| run_in_cache(&["run", "running", "--cases", "siginfo/code"]).folder())
        .collect();
    assert!(failed.exists(), "the failed run was removed");
    assert!(!runs[0].exists() && runs[11].exists(), "{runs:?}");
}

#[test]
fn outcomes_are_recorded_and_a_flaky_case_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let run_in_cache = |arguments: &[&str]| run(command_with_cache(cache.path(), arguments));
    for _ in 0..3 {
        let _ = run_in_cache(&["run", "running", "--cases", "arguments"]).expect_code(0);
    }
    let history = |case: &str| run_in_cache(&["report", "history", case]).expect_code(0).stdout;
    assert!(history("arguments/*").contains("3 times"), "{}", history("arguments/*"));
    assert!(!history("arguments").contains("FLAKY"));
    // Turn a pass of the second run into a failure.
    let record = cache.path().join("runs/history.jsonl");
    let lines: Vec<String> =
        fs::read_to_string(&record).unwrap().lines().map(str::to_owned).collect();
    let broken = lines[1].replacen("\"pass\"", "\"fail\"", 1);
    fs::write(&record, [&lines[0], &broken, &lines[2]].map(|line| format!("{line}\n")).concat())
        .unwrap();
    let history = history("arguments");
    assert!(history.contains("FLAKY   1 fail, 2 pass on the same image of Linux"), "{history}");
    let json =
        run_in_cache(&["report", "history", "arguments", "--format", "json"]).expect_code(0).json();
    assert_eq!(json["cases"][0]["flaky"][0]["outcomes"]["fail"], 1);
    run_in_cache(&["report", "history", "selektor"]).expect_error(129, &["`selektor`"]);
}

/// The cache is full before all files of the report are written.
#[test]
fn the_report_is_printed_even_if_the_cache_is_full() {
    let cache = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=48k none \"$SUDBOX_CACHE\"";
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", script, "sh"]);
        command.env("SUDBOX_CACHE", cache.path());
        command
    };
    if run(unshare(mount)).code != 0 {
        print_uncaptured("NOT RUN: no file system can be mounted here, so no cache can be filled");
        return;
    }
    let mut command = unshare(&format!("{mount} && exec \"$@\""));
    command.arg(sudbox().get_program()).args(["run", "running", "--cases", "arguments,siginfo"]);
    let result = run(command).expect_code(0);
    assert!(result.stdout.contains("VERDICT: "), "{}", result.stdout);
    assert!(result.stderr.contains("cannot write"), "the cache was not full: {}", result.stderr);
}
