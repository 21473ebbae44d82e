// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The form for people: failures first, then what was not tested, then counts.

use sudbox_protocol::Feature;

use crate::console_excerpt::most_informative;
use crate::form::Form;
use crate::judgement::Judgement;
use crate::terminal::{Colour, Screen, Sheet};
use crate::text;
use crate::{CaseReport, Outcome, Verdict};

/// The row of this form.
pub(crate) const FORM: Form<Verdict> =
    Form { name: "table", about: "For people", file_name: "report.txt", render };

/// Lines of console shown with a failure.
const CONSOLE_LINES: usize = 12;
/// Lines of a case's log shown with a failure: the last ones.
const LOG_LINES: usize = 8;

fn render(verdict: &Verdict, screen: Screen) -> String {
    let mut sheet = Sheet::new(screen);
    head(&mut sheet, verdict);
    for outcome in Outcome::ALL.into_iter().filter(|outcome| outcome.is_failure()) {
        for case in verdict.cases.iter().filter(|case| case.outcome == outcome) {
            failure(&mut sheet, case);
        }
    }
    exceptions(&mut sheet, verdict);
    passes(&mut sheet, verdict);
    totals(&mut sheet, verdict);
    sheet.finish()
}

/// The kernel, its origin, and the machine.
fn head(sheet: &mut Sheet, verdict: &Verdict) {
    let kernel = &verdict.kernel;
    let name = if kernel.release.is_empty() { &kernel.reference } else { &kernel.release };
    let named = [name, &kernel.arch, &kernel.flavour];
    let named: Vec<String> =
        named.iter().filter(|word| !word.is_empty()).map(|word| text::line(word)).collect();
    let note = kernel.stands_in.as_ref().map(|note| format!(". {}", text::line(note)));
    let first = format!("Linux {}{}", named.join(", "), note.unwrap_or_default());
    sheet.wrapped_in(Some(Colour::Bold), "", "  ", &first);
    sheet.labelled("date", &verdict.date);
    sheet.labelled("options", &verdict.options);
    sheet.labelled("source", &kernel.source);
    sheet.labelled("machine", &verdict.machine);
    for fact in &verdict.guest {
        sheet.labelled("guest", fact);
    }
}

fn failure(sheet: &mut Sheet, case: &CaseReport) {
    let word = sheet.paint(Colour::Red, &format!("{:<6}", case.outcome.as_str().to_uppercase()));
    let id = sheet.paint(Colour::Bold, &text::line(&case.id));
    sheet.empty_line();
    sheet.line(&format!("{word} {id}"));
    sheet.labelled("promise", &case.promise);
    sheet.labelled("expected", &case.expected);
    sheet.labelled("got", &case.got);
    sheet.labelled("kernel", &case.kernel_function);
    let log: Vec<String> = case.log.iter().flat_map(|line| text::lines(line)).collect();
    let skipped = log.len().saturating_sub(LOG_LINES);
    sheet.excerpt("log", log[skipped..].iter().map(String::as_str), skipped);
    if let Some(console) = &case.console {
        let lines = text::lines(console);
        let (shown, left_out) = most_informative(&lines, CONSOLE_LINES);
        sheet.excerpt("console", shown.into_iter(), left_out);
    }
    if !case.rerun.is_empty() {
        sheet.command("again", &case.rerun);
    }
}

/// The cases that neither passed nor failed: each outcome by its reasons.
fn exceptions(sheet: &mut Sheet, verdict: &Verdict) {
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
        heading(sheet, Colour::Yellow, outcome.as_str(), meaning);
        for (reason, ids) in reasons {
            let (reason, all) = (text::line(reason), text::line(&ids.join(" ")));
            let line = match ids.len() {
                1 => format!("{all}: {reason}"),
                _ => format!("{reason}: {all}"),
            };
            sheet.wrapped("  ", "    ", &line);
        }
    }
}

/// Passed cases of each group, as a grid; on a verbose screen, each with its promise.
fn passes(sheet: &mut Sheet, verdict: &Verdict) {
    if sheet.is_verbose() {
        let passed = verdict.cases.iter().filter(|case| case.outcome == Outcome::Pass);
        for (i, case) in passed.enumerate() {
            if i == 0 {
                heading(sheet, Colour::Green, "pass", "promises kept");
            }
            let (id, promise) = (text::line(&case.id), text::line(&case.promise));
            sheet.wrapped("  ", "    ", &format!("{id}: {promise}"));
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
    heading(sheet, Colour::Green, "pass", "promises kept, by group");
    let room = sheet.width() - 2;
    let widest = cells.iter().map(|cell| text::columns(cell)).max().unwrap_or(0);
    let cell = (widest + 2).min(room);
    for row in cells.chunks(room / cell) {
        let row: String = row.iter().map(|one| text::fill(one, cell)).collect();
        sheet.line(&format!("  {row}"));
    }
}

fn heading(sheet: &mut Sheet, colour: Colour, word: &str, meaning: &str) {
    sheet.empty_line();
    let painted = sheet.paint(colour, &format!("{word:<10}"));
    sheet.wrapped(&format!("{painted}  "), "            ", meaning);
}

/// The counts, and what the verdict amounts to.
fn totals(sheet: &mut Sheet, verdict: &Verdict) {
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
    sheet.empty_line();
    if text::columns(&line) + 2 + text::columns(&word) <= sheet.width() {
        let word = sheet.paint(colour, &word);
        sheet.line(&format!("{line}  {word}"));
    } else {
        sheet.wrapped("", "", &line);
        sheet.wrapped_in(Some(colour), "", "", &word);
    }
}

/// The claim of a verdict in which nothing unexpected was found, with what it stands on.
pub(crate) fn claim(verdict: &Verdict) -> String {
    let coverage = verdict.coverage();
    let claim = if is_without_dispatch(&verdict.cases) {
        "no dispatch in this kernel, as expected".to_owned()
    } else {
        Judgement::claim(&coverage)
    };
    format!("{claim}: {coverage}")
}

/// The last line of the report.
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

/// Whether these are the cases of a kernel that has no dispatch and should have none. All cases of one
/// feature are absent too if the kernel lacks that feature alone.
fn is_without_dispatch(cases: &[CaseReport]) -> bool {
    let is_absence = |case: &CaseReport| case.group() == "absence";
    let lacks_it = |case: &CaseReport| case.got == Feature::Dispatch.as_str();
    cases.iter().all(|case| case.outcome == Outcome::Absent || is_absence(case))
        && cases.iter().any(|case| is_absence(case) || lacks_it(case))
}
