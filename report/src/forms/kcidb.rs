// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The form for KCIDB, the Linux kernel community's database of test results, in I/O schema 5.3 (Python
//! package `kcidb-io`).
//!
//! Each kernel becomes a checkout with a build, each case a test. Ids are digests of the reported data, so
//! equal reports have equal ids, and different runs have different ids.

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

use super::json::to_json;
use crate::form::Form;
use crate::judgement::Judgement;
use crate::matrix::{Cell, CellResult, Matrix};
use crate::{CaseReport, Kernel, Printable, Verdict, status_map, text};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Verdict> = Form {
    name: "kcidb",
    about: "The input of KCIDB, the kernel community's database of test results",
    file_name: "kcidb.json",
    render: |verdict, _| render(verdict),
};

/// The row of this form in the list of forms of a matrix.
pub(crate) const MATRIX_FORM: Form<Matrix> = Form {
    name: FORM.name,
    about: FORM.about,
    file_name: FORM.file_name,
    render: |matrix, _| render_matrix(matrix),
};

/// Origin of the report. A submitter replaces it by the origin that KCIDB assigned, also in the prefixes of
/// the ids.
const ORIGIN: &str = "sudbox";

/// Maximum length of a log excerpt in the schema, in characters.
const MAX_EXCERPT_CHARS: usize = 16384;

/// The exit code for a kernel that cannot be built.
const EXIT_NOT_BUILT: u8 = 125;

#[derive(Default)]
struct Report {
    /// Checkouts by id, because several builds can have the same checkout.
    checkouts: BTreeMap<String, Value>,
    builds: Vec<Value>,
    tests: Vec<Value>,
}

fn render(verdict: &Verdict) -> Printable {
    let mut report = Report::default();
    report.add_verdict(verdict);
    report.into_json()
}

/// Renders a matrix, with a build for each cell.
fn render_matrix(matrix: &Matrix) -> Printable {
    let mut report = Report::default();
    for (cell, result) in matrix.cells_with_results() {
        match result {
            CellResult::Judged(verdict) => report.add_verdict(verdict),
            CellResult::Failed { exit_code, reason } => {
                report.add_failed_cell(cell, *exit_code, reason)
            }
        }
    }
    report.into_json()
}

impl Report {
    fn add_verdict(&mut self, verdict: &Verdict) {
        let build = self.add_build(&verdict.kernel, "PASS", None);
        let run = id_digest(&verdict);
        let guest: Vec<String> =
            verdict.guest_facts.iter().map(|fact| text::escaped_line(fact)).collect();
        let mut environment = json!({
            "comment": text::escaped_line(&verdict.machine),
            "misc": { "guest": guest },
        });
        if let Some(comparison) = &verdict.comparison {
            environment["misc"]["recorded"] = text::escaped_line(&comparison.summary()).into();
        }
        if let Some(reason) = Judgement::from_verdict(verdict).reason() {
            self.tests.push(json!({
                "id": format!("{ORIGIN}:{run}.kernel-can-be-judged"),
                "build_id": build,
                "origin": ORIGIN,
                "environment": environment,
                "path": "sudbox.kernel-can-be-judged",
                "comment": text::escaped_line(reason),
                "status": status_map::NOT_JUDGED.kcidb,
            }));
        }
        for (index, case) in verdict.cases.iter().enumerate() {
            let mut test = test_of_case(case, verdict);
            test["id"] = json!(format!("{ORIGIN}:{run}.{index}"));
            test["build_id"] = json!(build);
            test["environment"] = environment.clone();
            self.tests.push(test);
        }
    }

    fn add_failed_cell(&mut self, cell: &Cell, exit_code: u8, reason: &str) {
        let Cell { kernel, arch, flavour } = cell.clone();
        let kernel = Kernel { reference: kernel, arch, flavour, ..Kernel::default() };
        let status = if exit_code == EXIT_NOT_BUILT { "FAIL" } else { "ERROR" };
        let _ = self.add_build(&kernel, status, Some(reason));
    }

    /// Adds a build and its checkout. Returns the build's id.
    fn add_build(&mut self, kernel: &Kernel, status: &str, log: Option<&str>) -> String {
        let checkout = format!("{ORIGIN}:{}", id_digest(&(&kernel.source, &kernel.reference)));
        let origin = if kernel.source.is_empty() { &kernel.reference } else { &kernel.source };
        let mut misc = json!({ "reference": text::escaped_line(&kernel.reference) });
        if let Some(note) = &kernel.substitution_note {
            misc["stands_in"] = json!(text::escaped_line(note));
        }
        self.checkouts.entry(checkout.clone()).or_insert_with(|| {
            json!({
                "id": checkout,
                "origin": ORIGIN,
                "comment": text::escaped_line(origin),
                "misc": misc,
            })
        });
        let id = format!("{ORIGIN}:{}", id_digest(&(kernel, status, log)));
        let mut build = json!({
            "id": id,
            "checkout_id": checkout,
            "origin": ORIGIN,
            "comment": text::escaped_line(&kernel.release),
            "architecture": path_component(&kernel.arch.to_ascii_lowercase()).replace('-', "_"),
            "config_name": text::escaped_line(&kernel.flavour),
            "status": status,
        });
        if let Some(log) = log {
            build["log_excerpt"] = json!(log_excerpt(log));
        }
        self.builds.push(build);
        id
    }

    fn into_json(self) -> Printable {
        to_json(&json!({
            "version": { "major": 5, "minor": 3 },
            "checkouts": self.checkouts.into_values().collect::<Vec<_>>(),
            "builds": self.builds,
            "tests": self.tests,
        }))
    }
}

/// The test for a case, without the fields that are the same for all cases of a kernel.
fn test_of_case(case: &CaseReport, verdict: &Verdict) -> Value {
    let path: Vec<String> = case.id.split('/').map(path_component).collect();
    let mut log = case.log.join("\n");
    if let Some(console) = &case.console {
        log = format!("{log}\n{console}");
    }
    let mut test = json!({
        "origin": ORIGIN,
        "path": format!("sudbox.{}", path.join(".")),
        "comment": text::escaped_line(&case.promise),
        "status": status_map::status_of_case(case, verdict).kcidb,
        "misc": {
            "outcome": case.outcome.as_str(),
            "kernel_function": text::escaped_line(&case.kernel_function),
            "expected": text::escaped_line(&case.expected),
            "got": text::escaped_line(&case.detail),
            "rerun": text::escaped_line(&case.rerun),
        },
    });
    if case.duration_micros > 0 {
        // A double has a resolution of a microsecond up to 285 years.
        #[allow(clippy::cast_precision_loss)]
        let seconds = case.duration_micros as f64 / 1e6;
        test["duration"] = json!(seconds);
    }
    let log = log_excerpt(&log);
    if !log.is_empty() {
        test["log_excerpt"] = json!(log);
    }
    test
}

/// The last [`MAX_EXCERPT_CHARS`] characters of a log.
fn log_excerpt(log: &str) -> String {
    let lines = text::escaped_lines(log).join("\n");
    let skipped = lines.chars().count().saturating_sub(MAX_EXCERPT_CHARS);
    lines.chars().skip(skipped).collect()
}

/// Makes a component of a test's path: replaces characters that the schema does not allow by `_`.
fn path_component(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let component: String = text.chars().take(text::MAX_LINE_CHARS).map(allowed).collect();
    if component.is_empty() { "_".to_owned() } else { component }
}

/// The id of an object with this content: the first 80 bits of the SHA-256 digest in hexadecimal.
fn id_digest(content: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(content).expect("strings and numbers");
    Sha256::digest(bytes)[..10].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_excerpts_fit_the_schema() {
        assert_eq!(path_component("invalid-value-kills"), "invalid-value-kills");
        assert_eq!(
            (path_component(""), path_component("a.b c/\u{fc}")),
            ("_".into(), "a_b_c__".into())
        );
        let long = format!("{}\nthe end", "x".repeat(100).repeat(400));
        let cut = log_excerpt(&long.replace("xx", "x\n"));
        assert_eq!(cut.chars().count(), MAX_EXCERPT_CHARS);
        assert!(cut.ends_with("the end"));
    }
}
