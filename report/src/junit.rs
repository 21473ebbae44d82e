//! The form for CI servers: JUnit's XML, one suite for each group of cases.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::judgement::Judgement;
use crate::matrix::{Found, Matrix};
use crate::table::group;
use crate::words::{self, Junit, Words};
use crate::{CaseReport, Kernel, Options, Outcome, Verdict, text};

/// Name of the suite and of its test that stand for a kernel that cannot be judged.
const NOT_JUDGED: (&str, &str) = ("kernel", "kernel-can-be-judged");

/// The verdict as JUnit XML.
///
/// # Panics
/// Never: writing to memory cannot fail.
#[must_use]
pub fn render(verdict: &Verdict, options: Options) -> String {
    document(suites(verdict, options), verdict.millis)
}

/// A matrix as JUnit XML: the suites of every cell, named by it.
///
/// # Panics
/// Never: writing to memory cannot fail.
#[must_use]
pub fn matrix(matrix: &Matrix) -> String {
    let mut all = Vec::new();
    let mut millis = 0u64;
    for (cell, found) in matrix.cells() {
        let prefix = format!("{}.", text::line(&cell.to_string()).replace(", ", "."));
        let mut of_cell = match found {
            Found::Judged(verdict) => {
                millis = verdict.millis.saturating_add(millis);
                suites(verdict, matrix.options())
            }
            Found::Failed { reason, .. } => {
                let kernel = Kernel {
                    reference: cell.kernel.clone(),
                    arch: cell.arch.clone(),
                    flavour: cell.flavour.clone(),
                    ..Kernel::default()
                };
                vec![not_judged(&Verdict { kernel, ..Verdict::default() }, reason)]
            }
        };
        for suite in &mut of_cell {
            suite.name = format!("{prefix}{}", suite.name.as_str()).into();
            for test in &mut suite.test_cases {
                let class = test.classname.as_ref().map_or("", |name| name.as_str());
                test.classname = Some(format!("{prefix}{class}").into());
            }
        }
        all.extend(of_cell);
    }
    document(all, millis)
}

fn document(suites: Vec<TestSuite>, millis: u64) -> String {
    let mut report = Report::new("sudbox");
    report.set_time(Duration::from_millis(millis));
    report.add_test_suites(suites);
    report.to_string().expect("memory takes whatever is written to it")
}

fn suites(verdict: &Verdict, options: Options) -> Vec<TestSuite> {
    let mut suites: Vec<TestSuite> = Vec::new();
    for case in &verdict.cases {
        let name = text::line(group(&case.id));
        let at = suites.iter().position(|s| s.name == *name).unwrap_or_else(|| {
            suites.push(suite(&name, verdict));
            suites.len() - 1
        });
        let suite = &mut suites[at];
        let test = test(case, &name, words::of_case(case, options));
        suite.time = Some(suite.time.unwrap_or_default() + test.time.unwrap_or_default());
        suite.add_test_case(test);
    }
    if let Judgement::NotJudged(reason) =
        Judgement::of(verdict, options.strict, options.boot_selected)
    {
        suites.push(not_judged(verdict, &reason));
    }
    suites
}

/// The suite that stands for a kernel that cannot be judged.
fn not_judged(verdict: &Verdict, reason: &str) -> TestSuite {
    let mut status = status(words::NOT_JUDGED);
    status.set_message(text::line(reason)).set_type("not judged");
    let mut test = TestCase::new(NOT_JUDGED.1, status);
    test.set_classname(NOT_JUDGED.0).set_time(Duration::ZERO);
    let mut suite = suite(NOT_JUDGED.0, verdict);
    suite.add_test_case(test);
    suite
}

/// An empty suite that says what was tested.
fn suite(name: &str, verdict: &Verdict) -> TestSuite {
    let kernel = &verdict.kernel;
    let mut suite = TestSuite::new(name);
    suite.set_time(Duration::ZERO);
    for (name, value) in [
        ("sudbox", &verdict.sudbox),
        ("kernel", &kernel.release),
        ("reference", &kernel.reference),
        ("stands-in", kernel.stands_in.as_ref().unwrap_or(&String::new())),
        ("arch", &kernel.arch),
        ("flavour", &kernel.flavour),
        ("source", &kernel.source),
        ("machine", &verdict.machine),
    ] {
        if !value.is_empty() {
            suite.add_property((name, text::line(value).as_str()));
        }
    }
    suite
}

fn test(case: &CaseReport, group: &str, words: Words) -> TestCase {
    let mut status = status(words);
    let word = case.outcome.as_str();
    status.set_type(word).set_message(format!("{word}: {}", text::line(&case.got)));
    if case.outcome.is_failure() {
        status.set_description(description(case));
    }
    let mut test = TestCase::new(text::line(&case.id), status);
    test.set_classname(group).set_time(Duration::from_micros(case.micros));
    let mut out = Vec::new();
    if case.outcome == Outcome::Fixed {
        // A success has no place for a message.
        out.push(format!("fixed: {}", text::line(&case.got)));
    }
    out.extend(case.log.iter().flat_map(|l| text::lines(l)));
    if !out.is_empty() {
        test.set_system_out(out.join("\n"));
    }
    if let Some(console) = &case.console {
        test.set_system_err(text::lines(console).join("\n"));
    }
    test
}

fn status(words: Words) -> TestCaseStatus {
    match words.junit {
        Junit::Success => TestCaseStatus::success(),
        Junit::Failure => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Junit::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        Junit::Skipped => TestCaseStatus::skipped(),
    }
}

fn description(case: &CaseReport) -> String {
    let mut out = String::new();
    for (label, value) in [
        ("promise", &case.promise),
        ("expected", &case.expected),
        ("got", &case.got),
        ("kernel", &case.kernel_function),
        ("again", &case.rerun),
    ] {
        for line in text::lines(value) {
            out.push_str(&format!("{label}: {line}\n"));
        }
    }
    out
}
