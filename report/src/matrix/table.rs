// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The matrix as a table for people: the kernels, passes by group, differences between neighbours, and
//! failures.

use super::{Cell, CellResult, Change, Matrix, differences};
use crate::form::Form;
use crate::terminal::{Colour, ReportWriter, Screen};
use crate::{Judgement, Outcome, Verdict, text};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Matrix> =
    Form { name: "table", about: "For people", file_name: "matrix.txt", render };

/// Width of a column of the grid, for `23/24 absent` and a space.
const COLUMN: usize = 13;
/// Minimum width of a cell's name beside a case.
const CELL: usize = 20;
/// Maximum width of a group's name in the grid.
const GROUP: usize = 16;

fn render(matrix: &Matrix, screen: Screen) -> String {
    let mut writer = ReportWriter::new(screen);
    for (place, (cell, found)) in matrix.plan.cells.iter().zip(&matrix.found).enumerate() {
        let says = found.as_ref().map_or_else(|| "in another shard".to_owned(), summary);
        let line = format!("{}: {}", text::line(&cell.to_string()), text::line(&says));
        writer.wrapped(&format!("{:>3}  ", place + 1), "     ", &line);
    }
    grid(&mut writer, matrix);
    differing(&mut writer, matrix);
    failures(&mut writer, matrix);
    total(&mut writer, matrix);
    writer.finish()
}

/// The result of a cell in one line.
fn summary(found: &CellResult) -> String {
    let word = match (found, Matrix::judgement(found)) {
        (CellResult::Judged(verdict), Judgement::Kept) => Judgement::claim(&verdict.coverage()),
        (CellResult::Failed { .. }, Judgement::Kept) => String::new(),
        (_, Judgement::Broken(n)) => format!("BROKEN: {n}"),
        (_, Judgement::Surprised(n)) => format!("NOT AS EXPECTED: {n} fixed or unmet"),
        (CellResult::Judged(_), Judgement::NotJudged(why)) => return format!("NOT JUDGED: {why}"),
        (CellResult::Failed { exit_code, .. }, Judgement::NotJudged(why)) => {
            return format!("NOT JUDGED ({exit_code}): {why}");
        }
    };
    let CellResult::Judged(verdict) = found else { return word };
    let stands_in = verdict.kernel.stands_in.as_ref().map(|why| format!(" ({why})"));
    format!(
        "Linux {}, {word} ({}){}",
        verdict.kernel.release,
        verdict.totals().list(),
        stands_in.unwrap_or_default()
    )
}

/// Groups in the order in which they first appear.
fn groups(matrix: &Matrix) -> Vec<&str> {
    let mut groups = Vec::new();
    for (_, verdict) in matrix.judged() {
        for case in &verdict.cases {
            if !groups.contains(&case.group()) {
                groups.push(case.group());
            }
        }
    }
    groups
}

/// Passes, cases and the worst outcome of a group; `None` if the kernel has no case of it.
fn of_group(verdict: &Verdict, name: &str) -> Option<(usize, usize, Outcome)> {
    let outcomes = || verdict.cases.iter().filter(|c| c.group() == name).map(|c| c.outcome);
    // Outcomes are declared the worst first.
    let worst = outcomes().min()?;
    Some((outcomes().filter(|o| *o == Outcome::Pass).count(), outcomes().count(), worst))
}

/// The passes of each group on each judged kernel. Kernels that do not fit the width go to another block.
fn grid(writer: &mut ReportWriter, matrix: &Matrix) {
    let judged: Vec<(usize, &Verdict)> = matrix.judged().collect();
    let groups = groups(matrix);
    let names: Vec<String> =
        groups.iter().map(|name| text::cut(&text::line(name), GROUP)).collect();
    let title = names.iter().map(|name| text::columns(name)).max().unwrap_or(0).max(4) + 4;
    for block in judged.chunks(((writer.width() - title) / COLUMN).max(1)) {
        let mut head = writer.paint(Colour::Green, &text::fill("pass", title));
        for (place, _) in block {
            let name = text::line(&matrix.plan.cells[*place].kernel);
            let label = text::cut(&format!("{} {name}", place + 1), COLUMN - 1);
            head.push_str(&text::fill(&label, COLUMN));
        }
        writer.empty_line();
        writer.line(&head);
        for (name, shown) in groups.iter().zip(&names) {
            let mut row = text::fill(&format!("  {shown}"), title);
            for (_, verdict) in block {
                let (text, colour) = match of_group(verdict, name) {
                    None => (String::new(), None),
                    Some((passed, all, worst)) => entry(passed, all, worst),
                };
                let text = text::fill(&text, COLUMN);
                row.push_str(&colour.map_or_else(|| text.clone(), |c| writer.paint(c, &text)));
            }
            writer.line(&row);
        }
    }
}

fn entry(passed: usize, all: usize, worst: Outcome) -> (String, Option<Colour>) {
    match worst {
        Outcome::Pass => (all.to_string(), None),
        worst if worst.is_failure() => {
            (format!("{passed}/{all} {}", worst.as_str().to_uppercase()), Some(Colour::Red))
        }
        worst => (format!("{passed}/{all} {}", worst.as_str()), Some(Colour::Yellow)),
    }
}

/// The differences between neighbours.
fn differing(writer: &mut ReportWriter, matrix: &Matrix) {
    let differences = differences(matrix);
    if differences.is_empty() {
        return;
    }
    let word = writer.paint(Colour::Yellow, &format!("{:<10}", "differs"));
    writer.empty_line();
    writer.line(&format!("{word}  from the one before it"));
    for difference in differences {
        let (from, to) = names(matrix, difference.from, difference.to);
        let kind = kind(matrix, difference.to);
        let nothing = if difference.changes.is_empty() { ": nothing" } else { "" };
        let line = format!("{from} -> {to}{kind}{nothing}");
        writer.line(&format!("  {}", text::cut(&line, writer.width() - 2)));
        for change in &difference.changes {
            let line = format!("{}: {}", step(change), text::line(&change.cases.join(" ")));
            writer.wrapped("    ", "      ", &line);
        }
    }
}

/// The names of the part (kernel, architecture or flavour) in which two neighbours differ.
pub(super) fn names(matrix: &Matrix, from: usize, to: usize) -> (String, String) {
    let [from, to] = [from, to].map(|place| &matrix.plan.cells[place]);
    let (from, to) = if from.kernel != to.kernel {
        (&from.kernel, &to.kernel)
    } else if from.arch != to.arch {
        (&from.arch, &to.arch)
    } else {
        (&from.flavour, &to.flavour)
    };
    (text::line(from), text::line(to))
}

/// Architecture and flavour of a cell, each only if it is not the same in all cells.
pub(super) fn kind(matrix: &Matrix, place: usize) -> String {
    let cells = &matrix.plan.cells;
    let differing = |of: fn(&Cell) -> &str| cells.iter().any(|cell| of(cell) != of(&cells[0]));
    let kinds: [fn(&Cell) -> &str; 2] = [|cell| cell.arch.as_str(), |cell| cell.flavour.as_str()];
    let shown = kinds.into_iter().filter(|of| differing(*of));
    shown.map(|of| format!(", {}", text::line(of(&cells[place])))).collect()
}

/// The outcomes before and after a change.
pub(super) fn step(change: &Change) -> String {
    let word = |outcome: Option<Outcome>| outcome.map_or("not there", Outcome::as_str);
    format!("{} -> {}", word(change.before), word(change.after))
}

/// The failures. Their consoles are in the reports of the cells.
fn failures(writer: &mut ReportWriter, matrix: &Matrix) {
    for (place, verdict) in matrix.judged() {
        for case in verdict.cases.iter().filter(|case| case.outcome.is_failure()) {
            let word = format!("{:<6}", case.outcome.as_str().to_uppercase());
            let word = writer.paint(Colour::Red, &word);
            let cell = text::line(&matrix.plan.cells[place].to_string());
            let id = text::line(&case.id);
            let room = writer.width().saturating_sub(11 + text::columns(&id)).min(60);
            let id = writer.paint(Colour::Bold, &id);
            writer.empty_line();
            if room < CELL {
                writer.line(&format!("{word} {id}"));
                writer.labelled("on", &cell);
            } else {
                writer.line(&format!("{word} {id} on {}", text::cut(&cell, room)));
            }
            writer.labelled("expected", &case.expected);
            writer.labelled("got", &case.got);
            writer.command("again", &case.rerun);
        }
    }
}

/// The last line: the number of kernels by judgement.
fn total(writer: &mut ReportWriter, matrix: &Matrix) {
    let (mut kept, mut broken, mut surprised, mut unjudged) = (0, 0, 0, 0);
    for (_, found) in matrix.cells() {
        *match Matrix::judgement(found) {
            Judgement::Kept => &mut kept,
            Judgement::Broken(_) => &mut broken,
            Judgement::Surprised(_) => &mut surprised,
            Judgement::NotJudged(_) => &mut unjudged,
        } += 1;
    }
    let count = kept + broken + surprised + unjudged;
    let of = match matrix.plan.cells.len() {
        all if all == count => String::new(),
        all => format!(" of {all}"),
    };
    let parts = [
        (broken, "broken", Colour::Red),
        (surprised, "not as expected", Colour::Yellow),
        (unjudged, "not judged", Colour::Yellow),
        (kept, "as expected", Colour::Green),
    ];
    let parts = parts.into_iter().filter(|(count, ..)| *count > 0);
    let (plain, painted): (Vec<String>, Vec<String>) = parts
        .map(|(count, what, colour)| {
            let part = format!("{count} {what}");
            let painted = writer.paint(colour, &part);
            (part, painted)
        })
        .unzip();
    let kernels = if count == 1 { "kernel" } else { "kernels" };
    writer.empty_line();
    let first = format!("{count}{of} {kernels}: ");
    let fits = text::columns(&first) + text::columns(&plain.join(", ")) <= writer.width();
    let between = if fits { ", " } else { ",\n  " };
    for line in format!("{first}{}", painted.join(between)).lines() {
        writer.line(line);
    }
}
