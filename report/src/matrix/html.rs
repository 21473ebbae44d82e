// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The matrix as one HTML page: a heat map of cases by kernels, details on click, differences, and
//! failures with their consoles.
//!
//! The page contains the results as a JSON block, in which `<`, `>` and `&` are escaped. The script
//! `page.js` shows them as text nodes, so text of a guest never becomes markup.

use serde::Serialize;
use std::collections::BTreeMap;

use super::{Cell, CellResult, Matrix, differences, table};
use crate::form::Form;
use crate::forms::json;
use crate::html_page::{self, CASES_STYLE, escape_html};
use crate::judgement::is_unselected_boot_failure;
use crate::{CaseReport, Judgement, Outcome, Printable, text};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Matrix> = Form {
    name: "html",
    about: "A page for a browser",
    file_name: "matrix.html",
    render: |matrix, _| render(matrix),
};

const SCRIPT: &str = include_str!("page.js");

/// The JSON block of the page, which page.js reads.
#[derive(Serialize)]
struct PageData {
    cases: Vec<PageCase>,
    cells: Vec<Column>,
    differences: Vec<PageDifference>,
}

#[derive(Serialize)]
struct PageCase {
    id: String,
    promise: String,
    kernel_function: String,
}

/// A column of the heat map: one kernel.
#[derive(Default, Serialize)]
struct Column {
    /// Number of the cell in the plan, from 1.
    number: usize,
    name: String,
    /// The name without the parts that are the same in all cells.
    short: String,
    arch: String,
    flavour: String,
    release: String,
    source: String,
    stands_in: String,
    machine: String,
    guest: Vec<String>,
    judgement: &'static str,
    /// The judgement in words, such as `2 broken`.
    word: String,
    /// The reason why the kernel was not judged.
    reason: String,
    exit_code: u8,
    /// Console of a kernel that does not boot.
    console: Vec<String>,
    /// A letter for the outcome of each case; a dot if the kernel has no such case.
    outcomes: String,
    /// Details of the cases that did not pass, by the index of the case.
    details: BTreeMap<usize, CaseDetails>,
}

#[derive(Serialize)]
struct CaseDetails {
    expected: String,
    got: String,
    log: Vec<String>,
    console: Vec<String>,
    rerun: String,
}

#[derive(Serialize)]
struct PageDifference {
    title: String,
    changes: Vec<PageChange>,
}

#[derive(Serialize)]
struct PageChange {
    /// The outcomes before and after, such as `pass -> fail`.
    step: String,
    cases: Vec<String>,
}

fn render(matrix: &Matrix) -> Printable {
    let data =
        json::escape_json(&serde_json::to_string(&page_data(matrix)).expect("strings and numbers"));
    let data = data.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    let count = matrix.cells_with_results().count();
    let judged = if count == 1 { "1 kernel".to_owned() } else { format!("{count} kernels") };
    let command = escape_html(&text::escaped_line(&matrix.plan.command));
    let sudbox = escape_html(&text::escaped_line(&matrix.plan.sudbox_version));
    let body = format!(
        r#"<p class="faint wrap">sudbox {sudbox}: <code>{command}</code></p>
<noscript><p>This page needs its script; matrix.txt has the same results without one.</p></noscript>
<ol id="kernels" class="kernels"></ol>
<h2>Cases by kernel</h2>
<ul id="legend" class="legend"></ul>
<div id="map" class="map"></div>
<h2>What differs from the one before</h2>
<div id="differences"></div>
<h2>What failed</h2>
<div id="failures"></div>
<aside id="details" aria-live="polite" hidden></aside>
<script id="data" type="application/json">{data}</script>"#
    );
    html_page::render_page(
        &format!("Syscall User Dispatch on {judged}"),
        CASES_STYLE,
        Some(SCRIPT),
        &body,
    )
}

fn page_data(matrix: &Matrix) -> PageData {
    let mut cases: Vec<PageCase> = Vec::new();
    let mut case_indices: BTreeMap<String, usize> = BTreeMap::new();
    for (_, result) in matrix.cells_with_results() {
        for case in mapped_cases(result) {
            case_indices.entry(case.id.clone()).or_insert_with(|| {
                cases.push(PageCase {
                    id: text::escaped_line(&case.id),
                    promise: text::escaped_line(&case.promise),
                    kernel_function: text::escaped_line(&case.kernel_function),
                });
                cases.len() - 1
            });
        }
    }
    let cells = matrix.plan.cells.iter().zip(&matrix.results).enumerate();
    let cells = cells.filter_map(|(index, (cell, result))| {
        Some(page_column(matrix, index, cell, result.as_ref()?, &case_indices, cases.len()))
    });
    let cells = cells.collect();
    let differences = differences(matrix).into_iter().map(|difference| {
        let (first_name, second_name) =
            table::differing_part_names(matrix, difference.first_index, difference.second_index);
        let changes = difference.changes.iter().map(|change| PageChange {
            step: table::outcomes_before_and_after(change),
            cases: change.cases.iter().map(|id| text::escaped_line(id)).collect(),
        });
        PageDifference {
            title: format!(
                "{first_name} \u{2192} {second_name}{}",
                table::arch_and_flavour_suffix(matrix, difference.second_index)
            ),
            changes: changes.collect(),
        }
    });
    let differences = differences.collect();
    PageData { cases, cells, differences }
}

/// The cases of a cell for the map, without the boot case if it is the reason why the kernel is not
/// judged.
fn mapped_cases(result: &CellResult) -> impl Iterator<Item = &CaseReport> {
    let verdict = match result {
        CellResult::Judged(verdict) => Some(verdict),
        CellResult::Failed { .. } => None,
    };
    verdict.into_iter().flat_map(|verdict| {
        verdict.cases.iter().filter(|case| !is_unselected_boot_failure(case, verdict))
    })
}

fn page_column(
    matrix: &Matrix,
    cell_index: usize,
    cell: &Cell,
    result: &CellResult,
    case_indices: &BTreeMap<String, usize>,
    case_count: usize,
) -> Column {
    let judgement = Matrix::judgement_of(result);
    let (word, reason) = match &judgement {
        Judgement::AsExpected => ("as expected".to_owned(), String::new()),
        Judgement::Broken(count) => (format!("{count} broken"), String::new()),
        Judgement::NotAsExpected(count) => (format!("{count} not as expected"), String::new()),
        Judgement::NotJudged(reason) => ("not judged".to_owned(), text::escaped_line(reason)),
    };
    let mut column = Column {
        number: cell_index + 1,
        name: text::escaped_line(&cell.to_string()),
        short: text::escaped_line(&cell.kernel)
            + &table::arch_and_flavour_suffix(matrix, cell_index),
        arch: text::escaped_line(&cell.arch),
        flavour: text::escaped_line(&cell.flavour),
        judgement: judgement.as_str(),
        word,
        reason,
        exit_code: Matrix::exit_code_of(result),
        ..Column::default()
    };
    if let CellResult::Judged(verdict) = result {
        let kernel = &verdict.kernel;
        column.release = text::escaped_line(&kernel.release);
        column.source = text::escaped_line(&kernel.source);
        column.stands_in =
            text::escaped_line(kernel.substitution_note.as_deref().unwrap_or_default());
        column.machine = text::escaped_line(&verdict.machine);
        let boot = verdict
            .cases
            .iter()
            .find(|case| is_unselected_boot_failure(case, verdict) && case.console.is_some());
        column.console = boot.map(|case| case_details(case).console).unwrap_or_default();
        column.guest = verdict.guest_facts.iter().map(|fact| text::escaped_line(fact)).collect();
    }
    let mut outcomes = vec!['.'; case_count];
    for case in mapped_cases(result) {
        let index = case_indices[&case.id];
        outcomes[index] = outcome_letter(case.outcome);
        if case.outcome != Outcome::Pass {
            column.details.insert(index, case_details(case));
        }
    }
    column.outcomes = outcomes.into_iter().collect();
    column
}

fn case_details(case: &CaseReport) -> CaseDetails {
    CaseDetails {
        expected: text::escaped_lines(&case.expected).join("\n"),
        got: text::escaped_lines(&case.detail).join("\n"),
        log: case.log.iter().flat_map(|line| text::escaped_lines(line)).collect(),
        console: case.console.as_deref().map(text::escaped_lines).unwrap_or_default(),
        rerun: text::escaped_line(&case.rerun),
    }
}

fn outcome_letter(outcome: Outcome) -> char {
    match outcome {
        Outcome::Crash => 'c',
        Outcome::Hang => 'h',
        Outcome::Fail => 'f',
        Outcome::Changed => 'd',
        Outcome::Fixed => 'x',
        Outcome::Unmet => 'u',
        Outcome::Known => 'k',
        Outcome::Absent => 'a',
        Outcome::Pass => 'p',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_lists_every_outcome_worst_first() {
        for outcome in Outcome::ALL {
            let entry = format!("  {}: [\"{}\", ", outcome_letter(outcome), outcome.as_str());
            assert!(SCRIPT.contains(&entry), "`{entry}` is not in page.js");
        }
        let letters: String = Outcome::ALL.into_iter().map(outcome_letter).collect();
        assert!(SCRIPT.contains(&format!("const WORST = \"{letters}\";")));
        let failures: String = Outcome::ALL
            .into_iter()
            .filter(|outcome| outcome.is_failure())
            .map(outcome_letter)
            .collect();
        assert!(SCRIPT.contains(&format!("const FAILURES = \"{failures}\";")));
    }
}
