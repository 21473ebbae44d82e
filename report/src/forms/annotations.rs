// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The form for GitHub Actions: workflow commands that add an error annotation to the workflow run for each
//! failure.
//!
//! <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>

use std::fmt::Write as _;

use crate::form::Form;
use crate::judgement::Judgement;
use crate::matrix::{CellResult, Matrix};
use crate::text;

/// The row of this form in the list of forms of a matrix.
pub(crate) const MATRIX_FORM: Form<Matrix> = Form {
    name: "annotations",
    about: "Workflow commands that put an error on the page of a GitHub run for each failure",
    file_name: "annotations.txt",
    render: |matrix, _| render_matrix(matrix),
};

/// Maximum number of failures. GitHub shows ten errors per step; the tenth tells the number of failures
/// that are not shown.
const MAX_ERRORS: usize = 9;

/// A line for each failed case and each kernel that could not be judged.
fn render_matrix(matrix: &Matrix) -> String {
    let mut all = Vec::new();
    for (cell, found) in matrix.cells_with_results() {
        let mut add = |title: String, what: &str| {
            all.push(format!(
                "::error title={}::{}",
                escaped_property(&title),
                escaped_message(what)
            ));
        };
        let mut has_failed_case = false;
        if let CellResult::Judged(verdict) = found {
            for case in verdict.cases.iter().filter(|case| case.outcome.is_failure()) {
                let what = format!(
                    "{}: expected {}, got {} ({}; again: {})",
                    case.promise, case.expected, case.actual, case.kernel_function, case.rerun
                );
                add(format!("{cell}: {} {}", case.id, case.outcome.as_str()), &what);
                has_failed_case = true;
            }
        }
        match Matrix::judgement_of(found) {
            Judgement::NotJudged(reason) => add(format!("{cell}: not judged"), &reason),
            judgement if !has_failed_case && judgement.exit_code() != 0 => {
                add(cell.to_string(), judgement.as_str());
            }
            _ => {}
        }
    }
    let mut out = String::new();
    for line in all.iter().take(MAX_ERRORS) {
        let _ = writeln!(out, "{line}");
    }
    if all.len() > MAX_ERRORS {
        let _ = writeln!(out, "::error::{} more: see the report", all.len() - MAX_ERRORS);
    }
    out
}

/// Escapes a command's message: one line of printable characters, with `%` escaped.
fn escaped_message(what: &str) -> String {
    text::escaped_line(what).replace('%', "%25")
}

/// Escapes a command's property, in which separators must be escaped too.
fn escaped_property(what: &str) -> String {
    escaped_message(what).replace(':', "%3A").replace(',', "%2C")
}
