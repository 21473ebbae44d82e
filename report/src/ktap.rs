//! The form for kernel tooling: KTAP version 1, `Documentation/dev-tools/ktap.rst`.
//!
//! One flat list of tests named by their ids. What is to be known of a test stands in diagnostic
//! lines before its result.

use std::fmt::Write as _;

use crate::judgement::Judgement;
use crate::words::{self, Words};
use crate::{CaseReport, Options, Outcome, Verdict, text};

/// Name of the test that stands for a kernel that cannot be judged.
const NOT_JUDGED: &str = "kernel-can-be-judged";

/// The verdict as KTAP.
#[must_use]
pub fn render(verdict: &Verdict, options: Options) -> String {
    let judgement = Judgement::of(verdict, options.strict, options.boot_selected);
    let unjudged = match &judgement {
        Judgement::NotJudged(reason) => Some(reason),
        _ => None,
    };
    let mut out = String::from("KTAP version 1\n");
    let kernel = &verdict.kernel;
    diagnose(&mut out, "sudbox", &verdict.sudbox);
    diagnose(&mut out, "kernel", &kernel.release);
    diagnose(&mut out, "reference", &kernel.reference);
    diagnose(&mut out, "stands in", kernel.stands_in.as_deref().unwrap_or_default());
    diagnose(&mut out, "arch", &kernel.arch);
    diagnose(&mut out, "flavour", &kernel.flavour);
    diagnose(&mut out, "source", &kernel.source);
    diagnose(&mut out, "machine", &verdict.machine);
    for fact in &verdict.guest {
        diagnose(&mut out, "guest", fact);
    }
    let _ = writeln!(out, "1..{}", verdict.cases.len() + usize::from(unjudged.is_some()));
    for (i, case) in verdict.cases.iter().enumerate() {
        if case.outcome.is_failure() {
            diagnose_failure(&mut out, case);
        }
        result(&mut out, i + 1, &case.id, words::of_case(case, options), &reason(case));
    }
    if let Some(reason) = unjudged {
        let number = verdict.cases.len() + 1;
        result(&mut out, number, NOT_JUDGED, words::NOT_JUDGED, &text::line(reason));
    }
    out
}

/// What stands after the directive. It never begins with a word that could be read as one.
fn reason(case: &CaseReport) -> String {
    let got = text::line(&case.got);
    match case.outcome {
        Outcome::Pass => String::new(),
        Outcome::Fixed => format!("fixed, a recorded bug no longer shows: {got}"),
        outcome => format!("{}: {got}", outcome.as_str()),
    }
}

fn diagnose_failure(out: &mut String, case: &CaseReport) {
    diagnose(out, "promise", &case.promise);
    diagnose(out, "expected", &case.expected);
    diagnose(out, "got", &case.got);
    diagnose(out, "kernel function", &case.kernel_function);
    for log in &case.log {
        diagnose(out, "log", log);
    }
    diagnose(out, "console", case.console.as_deref().unwrap_or_default());
    diagnose(out, "again", &case.rerun);
}

/// Diagnostic lines, each with its label: so none can be taken for another kind of line, such as
/// the `# Subtest: name` that KUnit knows.
fn diagnose(out: &mut String, label: &str, value: &str) {
    for line in text::lines(value) {
        let _ = writeln!(out, "# {label}: {}", blunt(&line));
    }
}

fn result(out: &mut String, number: usize, name: &str, words: Words, reason: &str) {
    let status = if words.ktap_ok { "ok" } else { "not ok" };
    // A description holds any character but the hash sign.
    let name = text::line(name).replace('#', "_");
    let _ = write!(out, "{status} {number} {name}");
    let after: Vec<&str> =
        words.ktap_directive.into_iter().chain(Some(reason).filter(|r| !r.is_empty())).collect();
    if !after.is_empty() {
        // A hash sign would start another directive; TAP 14 escapes it so.
        let _ = write!(out, " # {}", blunt(&after.join(" ")).replace('#', "\\#"));
    }
    out.push('\n');
}

/// The kernel's own parser (`tools/testing/kunit/kunit_parser.py`, `KTAP_END`) ends the report at
/// these words wherever in a line they stand, as they do in the console of a kernel that died.
fn blunt(line: &str) -> String {
    const ENDS: [(&str, &str); 3] = [
        ("List of all partitions:", "List of all partitions :"),
        ("Kernel panic - not syncing: VFS:", "Kernel panic - not syncing: VFS :"),
        ("reboot: System halted", "reboot : System halted"),
    ];
    ENDS.iter().fold(line.to_owned(), |line, (end, harmless)| line.replace(end, harmless))
}
