// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The report form `kcidb`, validated with KCIDB's schema in the Python package `kcidb-io`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use sudbox_report::matrix::{Cell, CellResult, Matrix, Plan};
use sudbox_report::{CaseReport, Kernel, Outcome, Report, Screen, Verdict};
use sudbox_tests::{python, run, sudbox};

/// Python script that validates stdin and prints the numbers of checkouts, builds and tests. It also
/// checks that every id is unique and that every referenced id exists. The schema cannot express this.
const VALIDATE: &str = r#"
import sys, json, kcidb_io
data = json.load(sys.stdin)
kcidb_io.schema.LATEST.validate(data)
def ids(kind):
    found = [one["id"] for one in data[kind]]
    assert len(found) == len(set(found)), "an id twice in " + kind
    return set(found)
checkouts, builds, tests = ids("checkouts"), ids("builds"), ids("tests")
assert all(one["checkout_id"] in checkouts for one in data["builds"])
assert all(one["build_id"] in builds for one in data["tests"])
print(len(checkouts), len(builds), len(tests))
"#;

/// A Python interpreter with the package; `None` if it cannot be installed.
fn python() -> Option<PathBuf> {
    python::environment_with("kcidb-io").map(|bin| bin.join("python"))
}

/// Runs [`VALIDATE`] on a report. Returns its stdout, or its stderr as the error.
fn validate(python: &Path, report: &str) -> Result<String, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("report.json");
    fs::write(&file, report).expect("a file");
    let stdin = fs::File::open(&file).expect("the file");
    let output = Command::new(python).args(["-c", VALIDATE]).stdin(stdin).output().expect("python");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Renders a report in the form `kcidb`.
fn kcidb<T: Report>(subject: &T) -> String {
    let form = T::form("kcidb").expect("there is such a form");
    (form.render)(subject, Screen::FILE).to_string()
}

/// A verdict in which every text contains control characters and markup.
fn hostile() -> Verdict {
    let evil = || format!("\u{0}\u{1b}[2J </script> \u{202e} {}\n\u{0}", "\u{1f980}".repeat(1500));
    let case = |outcome| CaseReport {
        id: evil(),
        promise: evil(),
        kernel_function: evil(),
        outcome,
        expected: evil(),
        detail: evil(),
        bug: None,
        log: vec![evil(); 20],
        console: Some(evil()),
        rerun: evil(),
        duration_micros: u64::MAX,
    };
    Verdict {
        sudbox_version: evil(),
        kernel: Kernel {
            reference: evil(),
            release: evil(),
            arch: evil(),
            flavour: evil(),
            source: evil(),
            substitution_note: Some(evil()),
        },
        machine: evil(),
        guest_facts: vec![evil()],
        cases: Outcome::ALL.into_iter().map(case).collect(),
        ..Verdict::default()
    }
}

#[test]
fn a_run_is_valid_to_kcidb() {
    let Some(python) = python() else { return };
    let mut command = sudbox();
    command.args(["run", "--cases", "arguments", "--format", "kcidb"]);
    let result = run(command).expect_code(0);
    let counts = validate(&python, &result.stdout).unwrap();
    assert_eq!(counts, "1 1 12");
}

#[test]
fn hostile_texts_of_the_guest_are_valid_to_kcidb() {
    let Some(python) = python() else { return };
    // One test for each outcome.
    let counts = format!("1 1 {}", Outcome::ALL.len());
    assert_eq!(validate(&python, &kcidb(&hostile())).unwrap(), counts);
    let without_cases = kcidb(&Verdict::default());
    assert_eq!(validate(&python, &without_cases).unwrap(), "1 1 1");

    let cell = |kernel: &str, flavour: &str| Cell {
        kernel: kernel.into(),
        arch: "x86_64".into(),
        flavour: flavour.into(),
    };
    let judged = |verdict: Verdict| Some(CellResult::Judged(Box::new(verdict)));
    let failed = |exit_code| Some(CellResult::Failed { exit_code, reason: "why\u{0}".into() });
    let mut full = hostile();
    full.kernel.flavour = "full".into();
    let matrix = Matrix {
        plan: Plan {
            sudbox_version: String::new(),
            command: String::new(),
            strict: false,
            boot_selected: false,
            cells: vec![
                cell("6.12", "default"),
                cell("6.12", "full"),
                cell("6.13", "default"),
                cell("6.14", "default"),
                cell("6.15", "default"),
            ],
        },
        shards: None,
        results: vec![judged(hostile()), judged(full), failed(125), failed(128), None],
    };
    let report = kcidb(&matrix);
    assert_eq!(validate(&python, &report).unwrap(), format!("3 4 {}", 2 * Outcome::ALL.len()));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let status: Vec<&str> = report["builds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["status"].as_str().unwrap())
        .collect();
    assert_eq!(status, ["PASS", "PASS", "FAIL", "ERROR"]);

    // The validation fails on an invalid report.
    let broken = kcidb(&hostile()).replace("\"PASS\"", "\"GREAT\"");
    assert!(validate(&python, &broken).unwrap_err().contains("GREAT"));
}
