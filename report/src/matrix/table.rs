// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The matrix as a table for people: the kernels, passes by group, differences between neighbours, and
//! failures.

use super::{Cell, CellResult, Matrix, OutcomeChange, differences};
use crate::form::Form;
use crate::terminal::{Colour, ReportWriter, Screen};
use crate::{Judgement, Outcome, Verdict, text};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Matrix> =
    Form { name: "table", about: "For people", file_name: "matrix.txt", render };

/// Width of a column of the grid, for `23/24 absent` and a space.
const GRID_COLUMN_WIDTH: usize = 13;
/// Minimum width of a cell's name beside a case.
const MIN_CELL_NAME_WIDTH: usize = 20;
/// Maximum width of a group's name in the grid.
const MAX_GROUP_NAME_WIDTH: usize = 16;

fn render(matrix: &Matrix, screen: Screen) -> String {
    let mut writer = ReportWriter::new(screen);
    for (place, (cell, found)) in matrix.plan.cells.iter().zip(&matrix.results).enumerate() {
        let result = found.as_ref().map_or_else(|| "in another shard".to_owned(), result_line);
        let line =
            format!("{}: {}", text::escaped_line(&cell.to_string()), text::escaped_line(&result));
        writer.write_wrapped(&format!("{:>3}  ", place + 1), "     ", &line);
    }
    write_grid(&mut writer, matrix);
    write_differences(&mut writer, matrix);
    write_failures(&mut writer, matrix);
    write_total(&mut writer, matrix);
    writer.finish()
}

/// The result of a cell in one line.
fn result_line(found: &CellResult) -> String {
    let word = match (found, Matrix::judgement_of(found)) {
        (CellResult::Judged(verdict), Judgement::AsExpected) => {
            Judgement::success_phrase(&verdict.coverage())
        }
        (CellResult::Failed { .. }, Judgement::AsExpected) => String::new(),
        (_, Judgement::Broken(n)) => format!("BROKEN: {n}"),
        (_, Judgement::NotAsExpected(n)) => format!("NOT AS EXPECTED: {n} fixed or unmet"),
        (CellResult::Judged(_), Judgement::NotJudged(why)) => return format!("NOT JUDGED: {why}"),
        (CellResult::Failed { exit_code, .. }, Judgement::NotJudged(why)) => {
            return format!("NOT JUDGED ({exit_code}): {why}");
        }
    };
    let CellResult::Judged(verdict) = found else { return word };
    let stands_in = verdict.kernel.substitution_note.as_ref().map(|why| format!(" ({why})"));
    format!(
        "Linux {}, {word} ({}){}",
        verdict.kernel.release,
        verdict.totals().listed(),
        stands_in.unwrap_or_default()
    )
}

/// Groups in the order in which they first appear.
fn group_names(matrix: &Matrix) -> Vec<&str> {
    let mut groups = Vec::new();
    for (_, verdict) in matrix.judged_verdicts() {
        for case in &verdict.cases {
            if !groups.contains(&case.group()) {
                groups.push(case.group());
            }
        }
    }
    groups
}

/// Passes, cases and the worst outcome of a group; `None` if the kernel has no case of the group.
fn group_result(verdict: &Verdict, name: &str) -> Option<(usize, usize, Outcome)> {
    let outcomes = || verdict.cases.iter().filter(|c| c.group() == name).map(|c| c.outcome);
    // `Outcome` orders from the worst to the best.
    let worst = outcomes().min()?;
    Some((outcomes().filter(|o| *o == Outcome::Pass).count(), outcomes().count(), worst))
}

/// The passes of each group on each judged kernel. Kernels that do not fit the width go to another block.
fn write_grid(writer: &mut ReportWriter, matrix: &Matrix) {
    let judged: Vec<(usize, &Verdict)> = matrix.judged_verdicts().collect();
    let groups = group_names(matrix);
    let names: Vec<String> = groups
        .iter()
        .map(|name| text::truncated(&text::escaped_line(name), MAX_GROUP_NAME_WIDTH))
        .collect();
    let title = names.iter().map(|name| text::width_in_columns(name)).max().unwrap_or(0).max(4) + 4;
    for block in judged.chunks(((writer.width() - title) / GRID_COLUMN_WIDTH).max(1)) {
        let mut head = writer.paint(Colour::Green, &text::padded("pass", title));
        for (place, _) in block {
            let name = text::escaped_line(&matrix.plan.cells[*place].kernel);
            let label = text::truncated(&format!("{} {name}", place + 1), GRID_COLUMN_WIDTH - 1);
            head.push_str(&text::padded(&label, GRID_COLUMN_WIDTH));
        }
        writer.write_empty_line();
        writer.write_line(&head);
        for (name, shown) in groups.iter().zip(&names) {
            let mut row = text::padded(&format!("  {shown}"), title);
            for (_, verdict) in block {
                let (text, colour) = match group_result(verdict, name) {
                    None => (String::new(), None),
                    Some((passed, all, worst)) => grid_field(passed, all, worst),
                };
                let text = text::padded(&text, GRID_COLUMN_WIDTH);
                row.push_str(&colour.map_or_else(|| text.clone(), |c| writer.paint(c, &text)));
            }
            writer.write_line(&row);
        }
    }
}

fn grid_field(passed: usize, all: usize, worst: Outcome) -> (String, Option<Colour>) {
    match worst {
        Outcome::Pass => (all.to_string(), None),
        worst if worst.is_failure() => {
            (format!("{passed}/{all} {}", worst.as_str().to_uppercase()), Some(Colour::Red))
        }
        worst => (format!("{passed}/{all} {}", worst.as_str()), Some(Colour::Yellow)),
    }
}

/// The differences between neighbours.
fn write_differences(writer: &mut ReportWriter, matrix: &Matrix) {
    let differences = differences(matrix);
    if differences.is_empty() {
        return;
    }
    let word = writer.paint(Colour::Yellow, &format!("{:<10}", "differs"));
    writer.write_empty_line();
    writer.write_line(&format!("{word}  from the one before it"));
    for difference in differences {
        let (from, to) = differing_part_names(matrix, difference.first_index, difference.second_index);
        let kind = arch_and_flavour_suffix(matrix, difference.second_index);
        let nothing = if difference.changes.is_empty() { ": nothing" } else { "" };
        let line = format!("{from} -> {to}{kind}{nothing}");
        writer.write_line(&format!("  {}", text::truncated(&line, writer.width() - 2)));
        for change in &difference.changes {
            let line = format!(
                "{}: {}",
                outcomes_before_and_after(change),
                text::escaped_line(&change.cases.join(" "))
            );
            writer.write_wrapped("    ", "      ", &line);
        }
    }
}

/// The names of the part (kernel, architecture or flavour) in which two neighbours differ.
pub(super) fn differing_part_names(matrix: &Matrix, from: usize, to: usize) -> (String, String) {
    let [from, to] = [from, to].map(|place| &matrix.plan.cells[place]);
    let (from, to) = if from.kernel != to.kernel {
        (&from.kernel, &to.kernel)
    } else if from.arch != to.arch {
        (&from.arch, &to.arch)
    } else {
        (&from.flavour, &to.flavour)
    };
    (text::escaped_line(from), text::escaped_line(to))
}

/// Architecture and flavour of a cell, each only if it is not the same in all cells.
pub(super) fn arch_and_flavour_suffix(matrix: &Matrix, place: usize) -> String {
    let cells = &matrix.plan.cells;
    let is_differing =
        |part: fn(&Cell) -> &str| cells.iter().any(|cell| part(cell) != part(&cells[0]));
    let kinds: [fn(&Cell) -> &str; 2] = [|cell| cell.arch.as_str(), |cell| cell.flavour.as_str()];
    let shown = kinds.into_iter().filter(|part| is_differing(*part));
    shown.map(|part| format!(", {}", text::escaped_line(part(&cells[place])))).collect()
}

/// The outcomes before and after a change.
pub(super) fn outcomes_before_and_after(change: &OutcomeChange) -> String {
    let word = |outcome: Option<Outcome>| outcome.map_or("not there", Outcome::as_str);
    format!("{} -> {}", word(change.before), word(change.after))
}

/// The failures. Their consoles are in the reports of the cells.
fn write_failures(writer: &mut ReportWriter, matrix: &Matrix) {
    for (place, verdict) in matrix.judged_verdicts() {
        for case in verdict.cases.iter().filter(|case| case.outcome.is_failure()) {
            let word = format!("{:<6}", case.outcome.as_str().to_uppercase());
            let word = writer.paint(Colour::Red, &word);
            let cell = text::escaped_line(&matrix.plan.cells[place].to_string());
            let id = text::escaped_line(&case.id);
            let room = writer.width().saturating_sub(11 + text::width_in_columns(&id)).min(60);
            let id = writer.paint(Colour::Bold, &id);
            writer.write_empty_line();
            if room < MIN_CELL_NAME_WIDTH {
                writer.write_line(&format!("{word} {id}"));
                writer.write_labelled("on", &cell);
            } else {
                writer.write_line(&format!("{word} {id} on {}", text::truncated(&cell, room)));
            }
            writer.write_labelled("expected", &case.expected);
            writer.write_labelled("got", &case.actual);
            writer.write_command("again", &case.rerun);
        }
    }
}

/// The last line: the number of kernels by judgement.
fn write_total(writer: &mut ReportWriter, matrix: &Matrix) {
    let (mut kept, mut broken, mut surprised, mut unjudged) = (0, 0, 0, 0);
    for (_, found) in matrix.cells_with_results() {
        *match Matrix::judgement_of(found) {
            Judgement::AsExpected => &mut kept,
            Judgement::Broken(_) => &mut broken,
            Judgement::NotAsExpected(_) => &mut surprised,
            Judgement::NotJudged(_) => &mut unjudged,
        } += 1;
    }
    let count = kept + broken + surprised + unjudged;
    let of_all_cells = match matrix.plan.cells.len() {
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
    writer.write_empty_line();
    let first = format!("{count}{of_all_cells} {kernels}: ");
    let fits = text::width_in_columns(&first) + text::width_in_columns(&plain.join(", "))
        <= writer.width();
    let between = if fits { ", " } else { ",\n  " };
    for line in format!("{first}{}", painted.join(between)).lines() {
        writer.write_line(line);
    }
}
