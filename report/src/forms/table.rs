// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The form for people: a text with the failures, the cases that were not tested, the passes by group, and
//! the totals.

use sudbox_protocol::Feature;

use crate::console_excerpt::most_informative;
use crate::form::Form;
use crate::judgement::Judgement;
use crate::terminal::{Colour, ReportWriter, Screen};
use crate::text::{self, Printable};
use crate::{CaseReport, Outcome, Verdict};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Verdict> =
    Form { name: "table", about: "For people", file_name: "report.txt", render };

/// Number of console lines to show for a failure.
const CONSOLE_LINES: usize = 12;
/// Number of the last log lines to show for a failure.
const LOG_LINES: usize = 8;

fn render(verdict: &Verdict, screen: Screen) -> Printable {
    let mut writer = ReportWriter::new(screen);
    write_header(&mut writer, verdict);
    for outcome in Outcome::ALL.into_iter().filter(|outcome| outcome.is_failure()) {
        for case in verdict.cases.iter().filter(|case| case.outcome == outcome) {
            write_failure(&mut writer, case);
        }
    }
    write_exceptions(&mut writer, verdict);
    write_passes(&mut writer, verdict);
    write_totals(&mut writer, verdict);
    writer.finish()
}

/// Writes the kernel, its origin and the machine.
fn write_header(writer: &mut ReportWriter, verdict: &Verdict) {
    let kernel = &verdict.kernel;
    let name = if kernel.release.is_empty() { &kernel.reference } else { &kernel.release };
    let kernel_words = [name, &kernel.arch, &kernel.flavour];
    let kernel_words: Vec<String> = kernel_words
        .iter()
        .filter(|word| !word.is_empty())
        .map(|word| text::escaped_line(word))
        .collect();
    let note =
        kernel.substitution_note.as_ref().map(|note| format!(". {}", text::escaped_line(note)));
    let headline = format!("Linux {}{}", kernel_words.join(", "), note.unwrap_or_default());
    writer.write_wrapped_in(Some(Colour::Bold), "", "  ", &headline);
    writer.write_labelled("date", &verdict.start_time);
    writer.write_labelled("options", &verdict.options);
    writer.write_labelled("source", &kernel.source);
    writer.write_labelled("machine", &verdict.machine);
    for fact in &verdict.guest_facts {
        writer.write_labelled("guest", fact);
    }
    if let Some(comparison) = &verdict.comparison {
        writer.write_labelled("recorded", &comparison.summary());
    }
}

fn write_failure(writer: &mut ReportWriter, case: &CaseReport) {
    let outcome =
        writer.paint(Colour::Red, &format!("{:<6}", case.outcome.as_str().to_uppercase()));
    let id = writer.paint(Colour::Bold, &text::escaped_line(&case.id));
    writer.write_empty_line();
    writer.write_line(&format!("{outcome} {id}"));
    writer.write_labelled("promise", &case.promise);
    writer.write_labelled("expected", &case.expected);
    writer.write_labelled("got", &case.detail);
    writer.write_labelled("kernel", &case.kernel_function);
    let log: Vec<String> = case.log.iter().flat_map(|line| text::escaped_lines(line)).collect();
    let skipped = log.len().saturating_sub(LOG_LINES);
    writer.write_excerpt("log", log[skipped..].iter().map(String::as_str), skipped);
    if let Some(console) = &case.console {
        let lines = text::escaped_lines(console);
        let (shown, left_out) = most_informative(&lines, CONSOLE_LINES);
        writer.write_excerpt("console", shown.into_iter(), left_out);
    }
    if !case.rerun.is_empty() {
        writer.write_command("again", &case.rerun);
    }
}

/// Writes the cases that neither passed nor failed, grouped by outcome and reason.
fn write_exceptions(writer: &mut ReportWriter, verdict: &Verdict) {
    for (outcome, meaning) in [
        (Outcome::Fixed, "a recorded kernel bug no longer shows"),
        (Outcome::Unmet, "not tried: the machine lacks what it needs"),
        (Outcome::Known, "fails as a recorded kernel bug says"),
        (Outcome::Absent, "the kernel does not offer it, as expected"),
    ] {
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for case in verdict.cases.iter().filter(|case| case.outcome == outcome) {
            match reasons.iter_mut().find(|(reason, _)| *reason == case.detail) {
                Some((_, ids)) => ids.push(&case.id),
                None => reasons.push((&case.detail, vec![&case.id])),
            }
        }
        if reasons.is_empty() {
            continue;
        }
        write_heading(writer, Colour::Yellow, outcome.as_str(), meaning);
        for (reason, ids) in reasons {
            let (reason, id_list) =
                (text::escaped_line(reason), text::escaped_line(&ids.join(" ")));
            let line = match ids.len() {
                1 => format!("{id_list}: {reason}"),
                _ => format!("{reason}: {id_list}"),
            };
            writer.write_wrapped("  ", "    ", &line);
        }
    }
}

/// Writes the numbers of passes by group; on a verbose screen, each passed case with its promise.
fn write_passes(writer: &mut ReportWriter, verdict: &Verdict) {
    if writer.is_verbose() {
        let passed = verdict.cases.iter().filter(|case| case.outcome == Outcome::Pass);
        for (index, case) in passed.enumerate() {
            if index == 0 {
                write_heading(writer, Colour::Green, "pass", "promises kept");
            }
            let (id, promise) = (text::escaped_line(&case.id), text::escaped_line(&case.promise));
            writer.write_wrapped("  ", "    ", &format!("{id}: {promise}"));
        }
        return;
    }
    let mut groups: Vec<(&str, usize, usize)> = Vec::new();
    for case in &verdict.cases {
        let index = groups.iter().position(|group| group.0 == case.group()).unwrap_or_else(|| {
            groups.push((case.group(), 0, 0));
            groups.len() - 1
        });
        groups[index].1 += usize::from(case.outcome == Outcome::Pass);
        groups[index].2 += 1;
    }
    let cells: Vec<String> = groups
        .into_iter()
        .filter(|(_, passed, _)| *passed > 0)
        .map(|(name, passed, total)| {
            let passed_of = if passed == total { String::new() } else { format!("{passed} of ") };
            format!("{} {passed_of}{total}", text::escaped_line(name))
        })
        .collect();
    if cells.is_empty() {
        return;
    }
    write_heading(writer, Colour::Green, "pass", "promises kept, by group");
    let row_width = writer.width() - 2;
    let widest = cells.iter().map(|cell| text::width_in_columns(cell)).max().unwrap_or(0);
    let cell_width = (widest + 2).min(row_width);
    for row in cells.chunks(row_width / cell_width) {
        let row: String = row.iter().map(|cell| text::padded(cell, cell_width)).collect();
        writer.write_line(&format!("  {row}"));
    }
}

fn write_heading(writer: &mut ReportWriter, colour: Colour, word: &str, meaning: &str) {
    writer.write_empty_line();
    let painted = writer.paint(colour, &format!("{word:<10}"));
    writer.write_wrapped(&format!("{painted}  "), "            ", meaning);
}

/// Writes the totals and the conclusion.
fn write_totals(writer: &mut ReportWriter, verdict: &Verdict) {
    let totals = verdict.totals();
    let case_count = verdict.cases.len();
    let counts = totals.listed();
    let counts = if counts.is_empty() { counts } else { counts + "; " };
    let vm_count = verdict.boots.saturating_add(verdict.restored);
    let vms = match vm_count {
        0 => "no VM".to_owned(),
        1 => "1 VM".to_owned(),
        _ => format!("{vm_count} VMs"),
    };
    let restored = match verdict.restored {
        0 => String::new(),
        restored => format!(", {restored} of them restored"),
    };
    let cases = if case_count == 1 { "case" } else { "cases" };
    let line =
        format!("{case_count} {cases}: {counts}{vms}{restored}, {} ms", verdict.duration_millis);
    let (colour, conclusion) = conclusion(verdict);
    writer.write_empty_line();
    if text::width_in_columns(&line) + 2 + text::width_in_columns(&conclusion) <= writer.width() {
        let conclusion = writer.paint(colour, &conclusion);
        writer.write_line(&format!("{line}  {conclusion}"));
    } else {
        writer.write_wrapped("", "", &line);
        writer.write_wrapped_in(Some(colour), "", "", &conclusion);
    }
}

/// The conclusion and the coverage for the judgement [`Judgement::AsExpected`].
pub(crate) fn success_claim(verdict: &Verdict) -> String {
    let coverage = verdict.coverage();
    let claim = if is_without_dispatch(&verdict.cases) {
        "no dispatch in this kernel, as expected".to_owned()
    } else {
        Judgement::success_phrase(&coverage)
    };
    format!("{claim}: {coverage}")
}

/// The last line of the report, and its colour.
fn conclusion(verdict: &Verdict) -> (Colour, String) {
    let case_count = verdict.cases.len();
    match Judgement::from_verdict(verdict) {
        Judgement::AsExpected => (Colour::Green, format!("VERDICT: {}", success_claim(verdict))),
        Judgement::Broken(count) => (Colour::Red, format!("BROKEN: {count} of {case_count}")),
        Judgement::NotAsExpected(count) => (
            Colour::Yellow,
            format!("NOT AS EXPECTED: {count} of {case_count} fixed or unmet (--strict)"),
        ),
        Judgement::NotJudged(reason) => {
            (Colour::Yellow, format!("NOT JUDGED: {}", text::escaped_line(&reason)))
        }
    }
}

/// Whether these are the cases of a kernel that has no dispatch, as expected. A kernel all of whose cases are
/// absent because of another feature may have dispatch.
fn is_without_dispatch(cases: &[CaseReport]) -> bool {
    let is_absence_case = |case: &CaseReport| case.group() == "absence";
    let lacks_dispatch = |case: &CaseReport| case.detail == Feature::Dispatch.as_str();
    cases.iter().all(|case| case.outcome == Outcome::Absent || is_absence_case(case))
        && cases.iter().any(|case| is_absence_case(case) || lacks_dispatch(case))
}
