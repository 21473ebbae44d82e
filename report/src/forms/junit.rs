// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The form for CI servers: JUnit XML with a suite for each group of cases.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::form::Form;
use crate::judgement::Judgement;
use crate::matrix::{CellResult, Matrix};
use crate::status_map::{self, FormatStatus, JunitElement};
use crate::{CaseReport, Kernel, Outcome, Printable, Verdict, text};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Verdict> = Form {
    name: "junit",
    about: "JUnit XML",
    file_name: "junit.xml",
    render: |verdict, _| junit_document(test_suites(verdict), verdict.duration_millis),
};

/// The row of this form in the list of forms of a matrix.
pub(crate) const MATRIX_FORM: Form<Matrix> = Form {
    name: "junit",
    about: "JUnit XML",
    file_name: "junit.xml",
    render: |matrix, _| render_matrix(matrix),
};

/// Suite and name of the test for a kernel that cannot be judged.
const NOT_JUDGED: (&str, &str) = ("kernel", "kernel-can-be-judged");

/// The suites of every cell, with the cell's name as the prefix of their names.
fn render_matrix(matrix: &Matrix) -> Printable {
    let mut suites = Vec::new();
    let mut millis = 0u64;
    for (cell, result) in matrix.cells_with_results() {
        let prefix = format!("{}.", text::escaped_line(&cell.to_string()).replace(", ", "."));
        let mut cell_suites = match result {
            CellResult::Judged(verdict) => {
                millis = verdict.duration_millis.saturating_add(millis);
                test_suites(verdict)
            }
            CellResult::Failed { reason, .. } => {
                let kernel = Kernel {
                    reference: cell.kernel.clone(),
                    arch: cell.arch.clone(),
                    flavour: cell.flavour.clone(),
                    ..Kernel::default()
                };
                vec![suite_of_unjudged_kernel(&Verdict { kernel, ..Verdict::default() }, reason)]
            }
        };
        for suite in &mut cell_suites {
            suite.name = format!("{prefix}{}", suite.name.as_str()).into();
            for test in &mut suite.test_cases {
                let class = test.classname.as_ref().map_or("", |name| name.as_str());
                test.classname = Some(format!("{prefix}{class}").into());
            }
        }
        suites.extend(cell_suites);
    }
    junit_document(suites, millis)
}

fn junit_document(suites: Vec<TestSuite>, millis: u64) -> Printable {
    let mut report = Report::new("sudbox");
    report.set_time(Duration::from_millis(millis));
    report.add_test_suites(suites);
    Printable::document(&report.to_string().expect("writing to memory does not fail"))
}

fn test_suites(verdict: &Verdict) -> Vec<TestSuite> {
    let mut suites: Vec<TestSuite> = Vec::new();
    for case in &verdict.cases {
        let name = text::escaped_line(case.group());
        let index = suites.iter().position(|suite| suite.name == *name).unwrap_or_else(|| {
            suites.push(empty_suite(&name, verdict));
            suites.len() - 1
        });
        let suite = &mut suites[index];
        let test = test_case(case, &name, status_map::status_of_case(case, verdict));
        suite.time = Some(suite.time.unwrap_or_default() + test.time.unwrap_or_default());
        suite.add_test_case(test);
    }
    if let Some(reason) = Judgement::from_verdict(verdict).reason() {
        suites.push(suite_of_unjudged_kernel(verdict, reason));
    }
    suites
}

/// The suite for a kernel that cannot be judged.
fn suite_of_unjudged_kernel(verdict: &Verdict, reason: &str) -> TestSuite {
    let mut element = test_case_status(status_map::NOT_JUDGED);
    element.set_message(text::escaped_line(reason)).set_type("not judged");
    let mut test = TestCase::new(NOT_JUDGED.1, element);
    test.set_classname(NOT_JUDGED.0).set_time(Duration::ZERO);
    let mut suite = empty_suite(NOT_JUDGED.0, verdict);
    suite.add_test_case(test);
    suite
}

/// An empty suite with the kernel and the machine as properties.
fn empty_suite(name: &str, verdict: &Verdict) -> TestSuite {
    let kernel = &verdict.kernel;
    let mut suite = TestSuite::new(name);
    suite.set_time(Duration::ZERO);
    for (name, value) in [
        ("sudbox", &verdict.sudbox_version),
        ("kernel", &kernel.release),
        ("reference", &kernel.reference),
        ("stands-in", kernel.substitution_note.as_ref().unwrap_or(&String::new())),
        ("arch", &kernel.arch),
        ("flavour", &kernel.flavour),
        ("source", &kernel.source),
        ("machine", &verdict.machine),
    ] {
        if !value.is_empty() {
            suite.add_property((name, text::escaped_line(value).as_str()));
        }
    }
    suite
}

fn test_case(case: &CaseReport, group: &str, status: FormatStatus) -> TestCase {
    let mut element = test_case_status(status);
    let outcome = case.outcome.as_str();
    element
        .set_type(outcome)
        .set_message(format!("{outcome}: {}", text::escaped_line(&case.detail)));
    if case.outcome.is_failure() {
        element.set_description(failure_description(case));
    }
    let mut test = TestCase::new(text::escaped_line(&case.id), element);
    test.set_classname(group).set_time(Duration::from_micros(case.duration_micros));
    let mut output = Vec::new();
    if case.outcome == Outcome::Fixed {
        // A success has no message in JUnit, so the message goes to the output.
        output.push(format!("fixed: {}", text::escaped_line(&case.detail)));
    }
    output.extend(case.log.iter().flat_map(|entry| text::escaped_lines(entry)));
    if !output.is_empty() {
        test.set_system_out(output.join("\n"));
    }
    if let Some(console) = &case.console {
        test.set_system_err(text::escaped_lines(console).join("\n"));
    }
    test
}

fn test_case_status(status: FormatStatus) -> TestCaseStatus {
    match status.junit {
        JunitElement::NoElement => TestCaseStatus::success(),
        JunitElement::Failure => TestCaseStatus::non_success(NonSuccessKind::Failure),
        JunitElement::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        JunitElement::Skipped => TestCaseStatus::skipped(),
    }
}

fn failure_description(case: &CaseReport) -> String {
    let mut out = String::new();
    for (label, value) in [
        ("promise", &case.promise),
        ("expected", &case.expected),
        ("got", &case.detail),
        ("kernel", &case.kernel_function),
        ("again", &case.rerun),
    ] {
        for line in text::escaped_lines(value) {
            out.push_str(&format!("{label}: {line}\n"));
        }
    }
    out
}
