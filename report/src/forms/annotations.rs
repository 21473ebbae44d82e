// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The form for GitHub Actions: workflow commands that add an error annotation to the workflow run for each
//! failure.
//!
//! <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>

use std::fmt::Write as _;

use crate::form::Form;
use crate::judgement::Judgement;
use crate::matrix::{CellResult, Matrix};
use crate::text::{self, Printable};

/// The row of this form in the list of forms of a matrix.
pub(crate) const MATRIX_FORM: Form<Matrix> = Form {
    name: "annotations",
    about: "Workflow commands that put an error on the page of a GitHub run for each failure",
    file_name: "annotations.txt",
    render: |matrix, _| render_matrix(matrix),
};

/// Maximum number of failures that are shown. GitHub shows ten errors per step, and the tenth error tells the
/// number of failures that are not shown.
const MAX_ERRORS: usize = 9;

/// Renders a line for each failed case and each kernel that could not be judged.
fn render_matrix(matrix: &Matrix) -> Printable {
    let mut errors = Vec::new();
    for (cell, result) in matrix.cells_with_results() {
        let mut add_error = |title: String, message: &str| {
            errors.push(format!(
                "::error title={}::{}",
                escaped_property(&title),
                escaped_message(message)
            ));
        };
        let mut has_failed_case = false;
        if let CellResult::Judged(verdict) = result {
            for case in verdict.cases.iter().filter(|case| case.outcome.is_failure()) {
                let message = format!(
                    "{}: expected {}, got {} ({}; again: {})",
                    case.promise, case.expected, case.detail, case.kernel_function, case.rerun
                );
                add_error(format!("{cell}: {} {}", case.id, case.outcome.as_str()), &message);
                has_failed_case = true;
            }
        }
        match Matrix::judgement_of(result) {
            Judgement::NotJudged(reason) => add_error(format!("{cell}: not judged"), &reason),
            judgement if !has_failed_case && judgement.exit_code() != 0 => {
                add_error(cell.to_string(), judgement.as_str());
            }
            _ => {}
        }
    }
    let mut out = String::new();
    for line in errors.iter().take(MAX_ERRORS) {
        let _ = writeln!(out, "{line}");
    }
    if errors.len() > MAX_ERRORS {
        let _ = writeln!(out, "::error::{} more: see the report", errors.len() - MAX_ERRORS);
    }
    Printable::document(&out)
}

/// Escapes a command's message: one line of printable characters, with `%` escaped.
fn escaped_message(message: &str) -> String {
    text::escaped_line(message).replace('%', "%25")
}

/// Escapes a command's property, in which separators must be escaped too.
fn escaped_property(property: &str) -> String {
    escaped_message(property).replace(':', "%3A").replace(',', "%2C")
}
