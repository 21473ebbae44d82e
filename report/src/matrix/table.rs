// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The matrix as a table for people: the kernels, passes by group, differences between neighbours, and
//! failures.

use super::{Cell, CellResult, Matrix, OutcomeChange, differences};
use crate::form::Form;
use crate::terminal::{Colour, ReportWriter, Screen};
use crate::{Judgement, Outcome, Printable, Verdict, text};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Matrix> =
    Form { name: "table", about: "For people", file_name: "matrix.txt", render };

/// Width of a column of the grid, for `23/24 changed` and a space.
const GRID_COLUMN_WIDTH: usize = 14;
/// Minimum width of a cell's name beside the id of a case.
const MIN_CELL_NAME_WIDTH: usize = 20;
/// Maximum width of a cell's name beside the id of a case.
const MAX_CELL_NAME_WIDTH: usize = 60;
/// Maximum width of a group's name in the grid.
const MAX_GROUP_NAME_WIDTH: usize = 16;

fn render(matrix: &Matrix, screen: Screen) -> Printable {
    let mut writer = ReportWriter::new(screen);
    for (index, (cell, result)) in matrix.plan.cells.iter().zip(&matrix.results).enumerate() {
        let description =
            result.as_ref().map_or_else(|| "in another shard".to_owned(), result_line);
        let line = format!(
            "{}: {}",
            text::escaped_line(&cell.to_string()),
            text::escaped_line(&description)
        );
        writer.write_wrapped(&format!("{:>3}  ", index + 1), "     ", &line);
    }
    write_grid(&mut writer, matrix);
    write_differences(&mut writer, matrix);
    write_failures(&mut writer, matrix);
    write_total(&mut writer, matrix);
    writer.finish()
}

/// The result of a cell in one line.
fn result_line(result: &CellResult) -> String {
    let description = match (result, Matrix::judgement_of(result)) {
        (CellResult::Judged(verdict), Judgement::AsExpected) => {
            Judgement::success_phrase(&verdict.coverage())
        }
        (CellResult::Failed { .. }, Judgement::AsExpected) => String::new(),
        (_, Judgement::Broken(count)) => format!("BROKEN: {count}"),
        (_, Judgement::NotAsExpected(count)) => format!("NOT AS EXPECTED: {count} fixed or unmet"),
        (CellResult::Judged(_), Judgement::NotJudged(reason)) => {
            return format!("NOT JUDGED: {reason}");
        }
        (CellResult::Failed { exit_code, .. }, Judgement::NotJudged(reason)) => {
            return format!("NOT JUDGED ({exit_code}): {reason}");
        }
    };
    let CellResult::Judged(verdict) = result else { return description };
    let stands_in = verdict.kernel.substitution_note.as_ref().map(|reason| format!(" ({reason})"));
    format!(
        "Linux {}, {description} ({}){}",
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
    let outcomes =
        || verdict.cases.iter().filter(|case| case.group() == name).map(|case| case.outcome);
    // `Outcome` orders from the worst to the best.
    let worst = outcomes().min()?;
    Some((
        outcomes().filter(|outcome| *outcome == Outcome::Pass).count(),
        outcomes().count(),
        worst,
    ))
}

/// The passes of each group on each judged kernel. Kernels that do not fit the width go to another block.
fn write_grid(writer: &mut ReportWriter, matrix: &Matrix) {
    let judged: Vec<(usize, &Verdict)> = matrix.judged_verdicts().collect();
    let groups = group_names(matrix);
    let names: Vec<String> = groups
        .iter()
        .map(|name| text::truncated(&text::escaped_line(name), MAX_GROUP_NAME_WIDTH))
        .collect();
    // The first column has the word `pass` and the names, with two spaces on each side.
    let title_width =
        names.iter().map(|name| text::width_in_columns(name)).max().unwrap_or(0).max(4) + 4;
    for block in judged.chunks(((writer.width() - title_width) / GRID_COLUMN_WIDTH).max(1)) {
        let mut header = writer.paint(Colour::Green, &text::padded("pass", title_width));
        for (index, _) in block {
            let name = text::escaped_line(&matrix.plan.cells[*index].kernel);
            let label = text::truncated(&format!("{} {name}", index + 1), GRID_COLUMN_WIDTH - 1);
            header.push_str(&text::padded(&label, GRID_COLUMN_WIDTH));
        }
        writer.write_empty_line();
        writer.write_line(&header);
        for (name, displayed_name) in groups.iter().zip(&names) {
            let mut row = text::padded(&format!("  {displayed_name}"), title_width);
            for (_, verdict) in block {
                let (text, colour) = match group_result(verdict, name) {
                    None => (String::new(), None),
                    Some((passed, total, worst)) => grid_field(passed, total, worst),
                };
                let text = text::padded(&text, GRID_COLUMN_WIDTH);
                row.push_str(
                    &colour.map_or_else(|| text.clone(), |colour| writer.paint(colour, &text)),
                );
            }
            writer.write_line(&row);
        }
    }
}

fn grid_field(passed: usize, total: usize, worst: Outcome) -> (String, Option<Colour>) {
    match worst {
        Outcome::Pass => (total.to_string(), None),
        worst if worst.is_failure() => {
            (format!("{passed}/{total} {}", worst.as_str().to_uppercase()), Some(Colour::Red))
        }
        worst => (format!("{passed}/{total} {}", worst.as_str()), Some(Colour::Yellow)),
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
        let (first_name, second_name) =
            differing_part_names(matrix, difference.first_index, difference.second_index);
        let suffix = arch_and_flavour_suffix(matrix, difference.second_index);
        let nothing = if difference.changes.is_empty() { ": nothing" } else { "" };
        let line = format!("{first_name} -> {second_name}{suffix}{nothing}");
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
pub(super) fn differing_part_names(
    matrix: &Matrix,
    first_index: usize,
    second_index: usize,
) -> (String, String) {
    let [first, second] = [first_index, second_index].map(|index| &matrix.plan.cells[index]);
    let (first_name, second_name) = if first.kernel != second.kernel {
        (&first.kernel, &second.kernel)
    } else if first.arch != second.arch {
        (&first.arch, &second.arch)
    } else {
        (&first.flavour, &second.flavour)
    };
    (text::escaped_line(first_name), text::escaped_line(second_name))
}

/// Architecture and flavour of a cell, each only if it is not the same in all cells.
pub(super) fn arch_and_flavour_suffix(matrix: &Matrix, cell_index: usize) -> String {
    let cells = &matrix.plan.cells;
    let differs = |part: fn(&Cell) -> &str| cells.iter().any(|cell| part(cell) != part(&cells[0]));
    let parts: [fn(&Cell) -> &str; 2] = [|cell| cell.arch.as_str(), |cell| cell.flavour.as_str()];
    let differing_parts = parts.into_iter().filter(|part| differs(*part));
    differing_parts
        .map(|part| format!(", {}", text::escaped_line(part(&cells[cell_index]))))
        .collect()
}

/// The outcomes before and after a change.
pub(super) fn outcomes_before_and_after(change: &OutcomeChange) -> String {
    let name = |outcome: Option<Outcome>| outcome.map_or("not there", Outcome::as_str);
    format!("{} -> {}", name(change.before), name(change.after))
}

/// The failures. Their consoles are in the reports of the cells.
fn write_failures(writer: &mut ReportWriter, matrix: &Matrix) {
    for (index, verdict) in matrix.judged_verdicts() {
        for case in verdict.cases.iter().filter(|case| case.outcome.is_failure()) {
            let outcome = format!("{:<7}", case.outcome.as_str().to_uppercase());
            let outcome = writer.paint(Colour::Red, &outcome);
            let cell = text::escaped_line(&matrix.plan.cells[index].to_string());
            let id = text::escaped_line(&case.id);
            // The outcome, a space and ` on ` take twelve columns.
            let cell_width = writer
                .width()
                .saturating_sub(12 + text::width_in_columns(&id))
                .min(MAX_CELL_NAME_WIDTH);
            let id = writer.paint(Colour::Bold, &id);
            writer.write_empty_line();
            if cell_width < MIN_CELL_NAME_WIDTH {
                writer.write_line(&format!("{outcome} {id}"));
                writer.write_labelled("on", &cell);
            } else {
                writer.write_line(&format!(
                    "{outcome} {id} on {}",
                    text::truncated(&cell, cell_width)
                ));
            }
            writer.write_labelled("expected", &case.expected);
            writer.write_labelled("got", &case.detail);
            writer.write_command("again", &case.rerun);
        }
    }
}

/// The last line: the number of kernels by judgement.
fn write_total(writer: &mut ReportWriter, matrix: &Matrix) {
    let (mut as_expected, mut broken, mut not_as_expected, mut unjudged) = (0, 0, 0, 0);
    for (_, result) in matrix.cells_with_results() {
        *match Matrix::judgement_of(result) {
            Judgement::AsExpected => &mut as_expected,
            Judgement::Broken(_) => &mut broken,
            Judgement::NotAsExpected(_) => &mut not_as_expected,
            Judgement::NotJudged(_) => &mut unjudged,
        } += 1;
    }
    let total = as_expected + broken + not_as_expected + unjudged;
    let of_all_cells = match matrix.plan.cells.len() {
        cells if cells == total => String::new(),
        cells => format!(" of {cells}"),
    };
    let parts = [
        (broken, "broken", Colour::Red),
        (not_as_expected, "not as expected", Colour::Yellow),
        (unjudged, "not judged", Colour::Yellow),
        (as_expected, "as expected", Colour::Green),
    ];
    let parts = parts.into_iter().filter(|(count, ..)| *count > 0);
    let (plain, painted): (Vec<String>, Vec<String>) = parts
        .map(|(count, judgement, colour)| {
            let part = format!("{count} {judgement}");
            let painted = writer.paint(colour, &part);
            (part, painted)
        })
        .unzip();
    let kernels = if total == 1 { "kernel" } else { "kernels" };
    writer.write_empty_line();
    let prefix = format!("{total}{of_all_cells} {kernels}: ");
    let fits = text::width_in_columns(&prefix) + text::width_in_columns(&plain.join(", "))
        <= writer.width();
    let separator = if fits { ", " } else { ",\n  " };
    for line in format!("{prefix}{}", painted.join(separator)).lines() {
        writer.write_line(line);
    }
}
