// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a verdict claims, and what stays of a run.

use std::fs;
use std::path::Path;
use std::process::Command;
use sudbox_tests::{Ran, run, say, sudbox, sudbox_run};

/// `sudbox` with a cache of its own, in which the running kernel is judged without a build.
fn in_cache(cache: &Path, arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command.env("SUDBOX_CACHE", cache).args(arguments);
    command
}

fn table(cases: &str) -> Ran {
    let mut command = sudbox();
    command.args(["run", "--cases", cases]);
    run(command)
}

#[test]
fn nothing_tested_is_no_success() {
    // Linux 6.12 has no sysctl of dispatch.
    let ran = table("sysctl").expect(125);
    let said = ran.stdout.replace('\n', " ");
    assert!(said.contains("NOT JUDGED: no case could be tested: 0 tested, 6 absent"), "{said}");
    let ran = table("absence");
    ran.says(129, &["absence/", "kernels without dispatch"]);
}

#[test]
fn a_part_of_the_cases_does_not_claim_every_promise() {
    let ran = table("selector").expect(0);
    let said = ran.stdout.replace('\n', " ");
    assert!(said.contains("VERDICT: kept where tested: "), "{said}");
    assert!(said.contains(" not selected") && !said.contains("every promise kept"), "{said}");
    let report = run(sudbox_run(&["--cases", "selector"])).expect(0).json();
    let coverage = &report["coverage"];
    let count = |name: &str| coverage[name].as_u64().unwrap_or_else(|| panic!("{coverage}"));
    assert!(count("tested") > 10 && count("not_selected") > 100, "{coverage}");
}

#[test]
fn the_options_and_the_machine_are_named_once() {
    let mut command = sudbox();
    command.args(["run", "--cases", "arguments", "--append", "loglevel=4", "--memory", "320"]);
    let ran = run(command).expect(0);
    assert!(
        ran.stdout.contains("  options   --append loglevel=4 --memory 320\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("  date      20"), "{}", ran.stdout);
    let source = ran.stdout.lines().find(|line| line.starts_with("  source")).expect("a source");
    let source = source.trim_start_matches("  source").trim();
    assert!(!ran.stderr.contains(source), "named twice: {}", ran.stderr);
}

#[test]
fn runs_are_listed_shown_and_pruned() {
    let cache = tempfile::tempdir().unwrap();
    let ran = |arguments: &[&str]| run(in_cache(cache.path(), arguments));
    ran(&["report", "show"]).says(129, &["no run has left a report yet"]);
    assert_eq!(ran(&["report", "list"]).expect(0).stdout, "no run has left a report\n");
    let first = ran(&["run", "running", "--cases", "arguments"]).expect(0);
    let _ = ran(&["run", "running", "--cases", "siginfo"]).expect(0);

    let list = ran(&["report", "list", "--format", "json"]).expect(0).json();
    assert_eq!(list["runs"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&list["runs"][0]["kind"], &list["runs"][0]["exit_code"]),
        (&"run".into(), &0.into())
    );
    let table = ran(&["report", "list"]).expect(0).stdout;
    assert!(table.contains("  2  20") && table.contains("tested"), "{table}");

    assert!(ran(&["report", "show"]).expect(0).stdout.contains("siginfo"));
    assert_eq!(ran(&["report", "show", "2"]).expect(0).stdout, first.stdout);
    let folder = first.folder();
    for (format, file) in
        [("json", "report.json"), ("html", "report.html"), ("ktap", "report.ktap")]
    {
        let shown = ran(&["report", "show", folder.to_str().expect("text"), "--format", format]);
        assert_eq!(shown.expect(0).stdout, fs::read_to_string(folder.join(file)).unwrap());
    }
    ran(&["report", "show", "9"]).says(129, &["no run `9`", "report list"]);
    ran(&["report", "show", "--format", "pdf"]).says(129, &["`pdf`", "ktap"]);

    let old = ran(&["report", "prune", "--days", "0"]).expect(0).stdout;
    assert!(old.contains("2 runs at least 0 days old; --yes removes them"), "{old}");
    assert!(folder.exists());
    let _ = ran(&["report", "prune", "--days", "0", "--yes"]).expect(0);
    assert!(!folder.exists());
}

#[test]
fn outcomes_are_recorded_and_a_flaky_case_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let ran = |arguments: &[&str]| run(in_cache(cache.path(), arguments));
    for _ in 0..3 {
        let _ = ran(&["run", "running", "--cases", "arguments"]).expect(0);
    }
    let history = |case: &str| ran(&["report", "history", case]).expect(0).stdout;
    assert!(history("arguments/*").contains("3 times"), "{}", history("arguments/*"));
    assert!(!history("arguments").contains("FLAKY"));
    // The second of these runs saw a failure.
    let record = cache.path().join("runs/history.jsonl");
    let lines: Vec<String> =
        fs::read_to_string(&record).unwrap().lines().map(str::to_owned).collect();
    let broken = lines[1].replacen("\"pass\"", "\"fail\"", 1);
    fs::write(&record, [&lines[0], &broken, &lines[2]].map(|line| format!("{line}\n")).concat())
        .unwrap();
    let said = history("arguments");
    assert!(said.contains("FLAKY   1 fail, 2 pass on the same image of Linux"), "{said}");
    let json = ran(&["report", "history", "arguments", "--format", "json"]).expect(0).json();
    assert_eq!(json["cases"][0]["flaky"][0]["outcomes"]["fail"], 1);
    ran(&["report", "history", "selektor"]).says(129, &["`selektor`"]);
}

/// The verdict is known when its files are written: a cache that fills up then takes nothing away.
#[test]
fn a_full_cache_takes_no_report_away() {
    let cache = tempfile::tempdir().unwrap();
    let mounted = "mount -t tmpfs -o size=48k none \"$SUDBOX_CACHE\"";
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", script, "sh"]);
        command.env("SUDBOX_CACHE", cache.path());
        command
    };
    if run(unshare(mounted)).code != 0 {
        say("NOT RUN: no file system can be mounted here, so no cache can be filled");
        return;
    }
    let mut command = unshare(&format!("{mounted} && exec \"$@\""));
    command.arg(sudbox().get_program()).args(["run", "running", "--cases", "arguments,siginfo"]);
    let ran = run(command).expect(0);
    assert!(ran.stdout.contains("VERDICT: "), "{}", ran.stdout);
    assert!(ran.stderr.contains("cannot write"), "the cache was not full: {}", ran.stderr);
}
