// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The form for people: a text with the failures, the cases that were not tested, the passes by group, and
//! the totals.

use sudbox_protocol::Feature;

use crate::console_excerpt::most_informative;
use crate::form::Form;
use crate::judgement::Judgement;
use crate::terminal::{Colour, ReportWriter, Screen};
use crate::text;
use crate::{CaseReport, Outcome, Verdict};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Verdict> =
    Form { name: "table", about: "For people", file_name: "report.txt", render };

/// Number of console lines to show for a failure.
const CONSOLE_LINES: usize = 12;
/// Number of the last log lines to show for a failure.
const LOG_LINES: usize = 8;

fn render(verdict: &Verdict, screen: Screen) -> String {
    let mut writer = ReportWriter::new(screen);
    head(&mut writer, verdict);
    for outcome in Outcome::ALL.into_iter().filter(|outcome| outcome.is_failure()) {
        for case in verdict.cases.iter().filter(|case| case.outcome == outcome) {
            failure(&mut writer, case);
        }
    }
    exceptions(&mut writer, verdict);
    passes(&mut writer, verdict);
    totals(&mut writer, verdict);
    writer.finish()
}

/// Writes the kernel, its origin and the machine.
fn head(writer: &mut ReportWriter, verdict: &Verdict) {
    let kernel = &verdict.kernel;
    let name = if kernel.release.is_empty() { &kernel.reference } else { &kernel.release };
    let named = [name, &kernel.arch, &kernel.flavour];
    let named: Vec<String> =
        named.iter().filter(|word| !word.is_empty()).map(|word| text::line(word)).collect();
    let note = kernel.stands_in.as_ref().map(|note| format!(". {}", text::line(note)));
    let first = format!("Linux {}{}", named.join(", "), note.unwrap_or_default());
    writer.wrapped_in(Some(Colour::Bold), "", "  ", &first);
    writer.labelled("date", &verdict.date);
    writer.labelled("options", &verdict.options);
    writer.labelled("source", &kernel.source);
    writer.labelled("machine", &verdict.machine);
    for fact in &verdict.guest {
        writer.labelled("guest", fact);
    }
}

fn failure(writer: &mut ReportWriter, case: &CaseReport) {
    let word = writer.paint(Colour::Red, &format!("{:<6}", case.outcome.as_str().to_uppercase()));
    let id = writer.paint(Colour::Bold, &text::line(&case.id));
    writer.empty_line();
    writer.line(&format!("{word} {id}"));
    writer.labelled("promise", &case.promise);
    writer.labelled("expected", &case.expected);
    writer.labelled("got", &case.got);
    writer.labelled("kernel", &case.kernel_function);
    let log: Vec<String> = case.log.iter().flat_map(|line| text::lines(line)).collect();
    let skipped = log.len().saturating_sub(LOG_LINES);
    writer.excerpt("log", log[skipped..].iter().map(String::as_str), skipped);
    if let Some(console) = &case.console {
        let lines = text::lines(console);
        let (shown, left_out) = most_informative(&lines, CONSOLE_LINES);
        writer.excerpt("console", shown.into_iter(), left_out);
    }
    if !case.rerun.is_empty() {
        writer.command("again", &case.rerun);
    }
}

/// Writes the cases that neither passed nor failed, grouped by outcome and reason.
fn exceptions(writer: &mut ReportWriter, verdict: &Verdict) {
    for (outcome, meaning) in [
        (Outcome::Fixed, "a recorded kernel bug no longer shows"),
        (Outcome::Unmet, "not tried: the machine lacks what it needs"),
        (Outcome::Known, "fails as a recorded kernel bug says"),
        (Outcome::Absent, "the kernel does not offer it, as expected"),
    ] {
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for case in verdict.cases.iter().filter(|case| case.outcome == outcome) {
            match reasons.iter_mut().find(|(reason, _)| *reason == case.got) {
                Some((_, ids)) => ids.push(&case.id),
                None => reasons.push((&case.got, vec![&case.id])),
            }
        }
        if reasons.is_empty() {
            continue;
        }
        heading(writer, Colour::Yellow, outcome.as_str(), meaning);
        for (reason, ids) in reasons {
            let (reason, all) = (text::line(reason), text::line(&ids.join(" ")));
            let line = match ids.len() {
                1 => format!("{all}: {reason}"),
                _ => format!("{reason}: {all}"),
            };
            writer.wrapped("  ", "    ", &line);
        }
    }
}

/// Writes the numbers of passes by group; on a verbose screen, each passed case with its promise.
fn passes(writer: &mut ReportWriter, verdict: &Verdict) {
    if writer.is_verbose() {
        let passed = verdict.cases.iter().filter(|case| case.outcome == Outcome::Pass);
        for (i, case) in passed.enumerate() {
            if i == 0 {
                heading(writer, Colour::Green, "pass", "promises kept");
            }
            let (id, promise) = (text::line(&case.id), text::line(&case.promise));
            writer.wrapped("  ", "    ", &format!("{id}: {promise}"));
        }
        return;
    }
    let mut groups: Vec<(&str, usize, usize)> = Vec::new();
    for case in &verdict.cases {
        let at = groups.iter().position(|group| group.0 == case.group()).unwrap_or_else(|| {
            groups.push((case.group(), 0, 0));
            groups.len() - 1
        });
        groups[at].1 += usize::from(case.outcome == Outcome::Pass);
        groups[at].2 += 1;
    }
    let cells: Vec<String> = groups
        .into_iter()
        .filter(|(_, passed, _)| *passed > 0)
        .map(|(name, passed, all)| {
            let all_of = if passed == all { String::new() } else { format!("{passed} of ") };
            format!("{} {all_of}{all}", text::line(name))
        })
        .collect();
    if cells.is_empty() {
        return;
    }
    heading(writer, Colour::Green, "pass", "promises kept, by group");
    let room = writer.width() - 2;
    let widest = cells.iter().map(|cell| text::columns(cell)).max().unwrap_or(0);
    let cell = (widest + 2).min(room);
    for row in cells.chunks(room / cell) {
        let row: String = row.iter().map(|one| text::fill(one, cell)).collect();
        writer.line(&format!("  {row}"));
    }
}

fn heading(writer: &mut ReportWriter, colour: Colour, word: &str, meaning: &str) {
    writer.empty_line();
    let painted = writer.paint(colour, &format!("{word:<10}"));
    writer.wrapped(&format!("{painted}  "), "            ", meaning);
}

/// Writes the totals and the conclusion.
fn totals(writer: &mut ReportWriter, verdict: &Verdict) {
    let totals = verdict.totals();
    let all = verdict.cases.len();
    let list = totals.list();
    let counts = if list.is_empty() { list } else { list + "; " };
    let count = verdict.boots.saturating_add(verdict.restored);
    let vms = match count {
        0 => "no VM".to_owned(),
        1 => "1 VM".to_owned(),
        _ => format!("{count} VMs"),
    };
    let restored = match verdict.restored {
        0 => String::new(),
        restored => format!(", {restored} of them restored"),
    };
    let cases = if all == 1 { "case" } else { "cases" };
    let line = format!("{all} {cases}: {counts}{vms}{restored}, {} ms", verdict.millis);
    let (colour, word) = conclusion(verdict);
    writer.empty_line();
    if text::columns(&line) + 2 + text::columns(&word) <= writer.width() {
        let word = writer.paint(colour, &word);
        writer.line(&format!("{line}  {word}"));
    } else {
        writer.wrapped("", "", &line);
        writer.wrapped_in(Some(colour), "", "", &word);
    }
}

/// The conclusion and the coverage for the judgement `Kept`.
pub(crate) fn claim(verdict: &Verdict) -> String {
    let coverage = verdict.coverage();
    let claim = if is_without_dispatch(&verdict.cases) {
        "no dispatch in this kernel, as expected".to_owned()
    } else {
        Judgement::claim(&coverage)
    };
    format!("{claim}: {coverage}")
}

/// The last line of the report, and its colour.
fn conclusion(verdict: &Verdict) -> (Colour, String) {
    let all = verdict.cases.len();
    match Judgement::of(verdict) {
        Judgement::Kept => (Colour::Green, format!("VERDICT: {}", claim(verdict))),
        Judgement::Broken(n) => (Colour::Red, format!("BROKEN: {n} of {all}")),
        Judgement::Surprised(n) => {
            (Colour::Yellow, format!("NOT AS EXPECTED: {n} of {all} fixed or unmet (--strict)"))
        }
        Judgement::NotJudged(reason) => {
            (Colour::Yellow, format!("NOT JUDGED: {}", text::line(&reason)))
        }
    }
}

/// Whether these are the cases of a kernel without dispatch that is expected to have none. If all cases are
/// absent for another feature, the kernel may still have dispatch.
fn is_without_dispatch(cases: &[CaseReport]) -> bool {
    let is_absence = |case: &CaseReport| case.group() == "absence";
    let lacks_it = |case: &CaseReport| case.got == Feature::Dispatch.as_str();
    cases.iter().all(|case| case.outcome == Outcome::Absent || is_absence(case))
        && cases.iter().any(|case| is_absence(case) || lacks_it(case))
}
