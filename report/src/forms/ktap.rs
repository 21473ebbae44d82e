// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The form for kernel tooling: KTAP version 1 (`Documentation/dev-tools/ktap.rst`).
//!
//! The cases are a flat list of tests. The details of a failure are diagnostic lines before its result.

use std::fmt::Write as _;

use crate::form::Form;
use crate::judgement::Judgement;
use crate::status_map::{self, FormatStatus};
use crate::{CaseReport, Outcome, Printable, RecordingComparison, Verdict, text};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Verdict> = Form {
    name: "ktap",
    about: "Kernel Test Anything Protocol, version 1",
    file_name: "report.ktap",
    render: |verdict, _| render(verdict),
};

/// Name of the test for a kernel that cannot be judged.
const NOT_JUDGED: &str = "kernel-can-be-judged";

fn render(verdict: &Verdict) -> Printable {
    let judgement = Judgement::from_verdict(verdict);
    let unjudged = judgement.reason();
    let mut out = String::from("KTAP version 1\n");
    let kernel = &verdict.kernel;
    push_diagnostic(&mut out, "sudbox", &verdict.sudbox_version);
    push_diagnostic(&mut out, "kernel", &kernel.release);
    push_diagnostic(&mut out, "reference", &kernel.reference);
    push_diagnostic(&mut out, "stands in", kernel.substitution_note.as_deref().unwrap_or_default());
    push_diagnostic(&mut out, "arch", &kernel.arch);
    push_diagnostic(&mut out, "flavour", &kernel.flavour);
    push_diagnostic(&mut out, "source", &kernel.source);
    push_diagnostic(&mut out, "machine", &verdict.machine);
    for fact in &verdict.guest_facts {
        push_diagnostic(&mut out, "guest", fact);
    }
    let recorded = verdict.comparison.as_ref().map(RecordingComparison::summary);
    push_diagnostic(&mut out, "recorded", &recorded.unwrap_or_default());
    let _ = writeln!(out, "1..{}", verdict.cases.len() + usize::from(unjudged.is_some()));
    for (index, case) in verdict.cases.iter().enumerate() {
        if case.outcome.is_failure() {
            push_failure_diagnostics(&mut out, case);
        }
        push_result(
            &mut out,
            index + 1,
            &case.id,
            status_map::status_of_case(case, verdict),
            &text_after_directive(case),
        );
    }
    if let Some(reason) = unjudged {
        let number = verdict.cases.len() + 1;
        push_result(
            &mut out,
            number,
            NOT_JUDGED,
            status_map::NOT_JUDGED,
            &text::escaped_line(reason),
        );
    }
    Printable::document(&out)
}

/// The text after the directive of a result line. The text never begins with the name of a directive.
fn text_after_directive(case: &CaseReport) -> String {
    let got = text::escaped_line(&case.detail);
    match case.outcome {
        Outcome::Pass => String::new(),
        Outcome::Fixed => format!("fixed, a recorded bug no longer shows: {got}"),
        outcome => format!("{}: {got}", outcome.as_str()),
    }
}

fn push_failure_diagnostics(out: &mut String, case: &CaseReport) {
    push_diagnostic(out, "promise", &case.promise);
    push_diagnostic(out, "expected", &case.expected);
    push_diagnostic(out, "got", &case.detail);
    push_diagnostic(out, "kernel function", &case.kernel_function);
    for log in &case.log {
        push_diagnostic(out, "log", log);
    }
    push_diagnostic(out, "console", case.console.as_deref().unwrap_or_default());
    push_diagnostic(out, "again", &case.rerun);
}

/// Adds a diagnostic line for each line of the value. The label begins each line, so that text of the
/// guest cannot forge a special line such as `# Subtest: name`.
fn push_diagnostic(out: &mut String, label: &str, value: &str) {
    for line in text::escaped_lines(value) {
        let _ = writeln!(out, "# {label}: {}", without_end_phrases(&line));
    }
}

/// Adds a result line.
fn push_result(out: &mut String, number: usize, name: &str, status: FormatStatus, reason: &str) {
    let result = if status.ktap_ok { "ok" } else { "not ok" };
    // A description may have any character except the hash sign.
    let name = text::escaped_line(name).replace('#', "_");
    let _ = write!(out, "{result} {number} {name}");
    let words: Vec<&str> = status
        .ktap_directive
        .into_iter()
        .chain(Some(reason).filter(|reason| !reason.is_empty()))
        .collect();
    if !words.is_empty() {
        // A hash sign would begin another directive; TAP 14 escapes it with a backslash.
        let _ = write!(out, " # {}", without_end_phrases(&words.join(" ")).replace('#', "\\#"));
    }
    out.push('\n');
}

/// Changes the phrases at which the kernel's parser ends the report (`KTAP_END` in
/// `tools/testing/kunit/kunit_parser.py`). The console of a crashed kernel contains such phrases.
fn without_end_phrases(line: &str) -> String {
    const ENDS: [(&str, &str); 3] = [
        ("List of all partitions:", "List of all partitions :"),
        ("Kernel panic - not syncing: VFS:", "Kernel panic - not syncing: VFS :"),
        ("reboot: System halted", "reboot : System halted"),
    ];
    ENDS.iter().fold(line.to_owned(), |line, (end, harmless)| line.replace(end, harmless))
}
