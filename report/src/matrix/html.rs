// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The matrix as one HTML page: a heat map of cases by kernels, details on click, differences, and
//! failures with their consoles.
//!
//! The page contains the results as a JSON block, in which `<`, `>` and `&` are escaped. A script makes
//! text nodes of them, so text of a guest never becomes markup.

use serde::Serialize;
use std::collections::BTreeMap;

use super::{Cell, CellResult, Matrix, differences, table};
use crate::form::Form;
use crate::forms::json;
use crate::html_page::{self, STYLE, escaped};
use crate::judgement::is_unselected_boot_failure;
use crate::{CaseReport, Judgement, Outcome, text};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Matrix> = Form {
    name: "html",
    about: "A page for a browser",
    file_name: "matrix.html",
    render: |matrix, _| render(matrix),
};

const SCRIPT: &str = include_str!("page.js");

#[derive(Serialize)]
struct Data {
    cases: Vec<Case>,
    cells: Vec<Column>,
    differences: Vec<Difference>,
}

#[derive(Serialize)]
struct Case {
    id: String,
    promise: String,
    kernel_function: String,
}

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
    word: String,
    reason: String,
    exit_code: u8,
    /// Console of a kernel that does not boot.
    console: Vec<String>,
    /// A letter for the outcome of each case; a dot if the kernel has no such case.
    outcomes: String,
    /// Details of the cases that did not pass, by the index of the case.
    details: BTreeMap<usize, Details>,
}

#[derive(Serialize)]
struct Details {
    expected: String,
    got: String,
    log: Vec<String>,
    console: Vec<String>,
    rerun: String,
}

#[derive(Serialize)]
struct Difference {
    title: String,
    changes: Vec<Change>,
}

#[derive(Serialize)]
struct Change {
    step: String,
    cases: Vec<String>,
}

fn render(matrix: &Matrix) -> String {
    let data = json::ascii(&serde_json::to_string(&data(matrix)).expect("strings and numbers"));
    let data = data.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    let count = matrix.cells().count();
    let judged = if count == 1 { "1 kernel".to_owned() } else { format!("{count} kernels") };
    let command = escaped(&text::line(&matrix.plan.command));
    let sudbox = escaped(&text::line(&matrix.plan.sudbox));
    let body = format!(
        r#"<p class="faint wrap">sudbox {sudbox}: <code>{command}</code></p>
<noscript><p>This page draws itself by the script in it; matrix.txt says the same without.</p></noscript>
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
    html_page::page(&format!("Syscall User Dispatch on {judged}"), STYLE, Some(SCRIPT), &body)
}

fn data(matrix: &Matrix) -> Data {
    let mut cases: Vec<Case> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (_, found) in matrix.cells() {
        for case in reports(found) {
            places.entry(case.id.clone()).or_insert_with(|| {
                cases.push(Case {
                    id: text::line(&case.id),
                    promise: text::line(&case.promise),
                    kernel_function: text::line(&case.kernel_function),
                });
                cases.len() - 1
            });
        }
    }
    let cells = matrix.plan.cells.iter().zip(&matrix.found).enumerate();
    let cells = cells.filter_map(|(place, (cell, found))| {
        Some(column(matrix, place, cell, found.as_ref()?, &places, cases.len()))
    });
    let cells = cells.collect();
    let differences = differences(matrix).into_iter().map(|difference| {
        let (from, to) = table::names(matrix, difference.from, difference.to);
        let changes = difference.changes.iter().map(|change| Change {
            step: table::step(change),
            cases: change.cases.iter().map(|id| text::line(id)).collect(),
        });
        Difference {
            title: format!("{from} \u{2192} {to}{}", table::kind(matrix, difference.to)),
            changes: changes.collect(),
        }
    });
    let differences = differences.collect();
    Data { cases, cells, differences }
}

/// The cases of a cell for the map, without the boot case if it is the reason why the kernel is not
/// judged.
fn reports(found: &CellResult) -> impl Iterator<Item = &CaseReport> {
    let verdict = match found {
        CellResult::Judged(verdict) => Some(verdict),
        CellResult::Failed { .. } => None,
    };
    verdict.into_iter().flat_map(|verdict| {
        verdict.cases.iter().filter(|case| !is_unselected_boot_failure(case, verdict))
    })
}

fn column(
    matrix: &Matrix,
    place: usize,
    cell: &Cell,
    found: &CellResult,
    places: &BTreeMap<String, usize>,
    cases: usize,
) -> Column {
    let judgement = Matrix::judgement(found);
    let (word, reason) = match &judgement {
        Judgement::Kept => ("as expected".to_owned(), String::new()),
        Judgement::Broken(n) => (format!("{n} broken"), String::new()),
        Judgement::Surprised(n) => (format!("{n} not as expected"), String::new()),
        Judgement::NotJudged(why) => ("not judged".to_owned(), text::line(why)),
    };
    let mut column = Column {
        number: place + 1,
        name: text::line(&cell.to_string()),
        short: text::line(&cell.kernel) + &table::kind(matrix, place),
        arch: text::line(&cell.arch),
        flavour: text::line(&cell.flavour),
        judgement: judgement.as_str(),
        word,
        reason,
        exit_code: Matrix::exit_code_of(found),
        ..Column::default()
    };
    if let CellResult::Judged(verdict) = found {
        let kernel = &verdict.kernel;
        column.release = text::line(&kernel.release);
        column.source = text::line(&kernel.source);
        column.stands_in = text::line(kernel.stands_in.as_deref().unwrap_or_default());
        column.machine = text::line(&verdict.machine);
        let boot = verdict
            .cases
            .iter()
            .find(|case| is_unselected_boot_failure(case, verdict) && case.console.is_some());
        column.console = boot.map(|case| details(case).console).unwrap_or_default();
        column.guest = verdict.guest.iter().map(|fact| text::line(fact)).collect();
    }
    let mut outcomes = vec!['.'; cases];
    for case in reports(found) {
        let at = places[&case.id];
        outcomes[at] = letter(case.outcome);
        if case.outcome != Outcome::Pass {
            column.details.insert(at, details(case));
        }
    }
    column.outcomes = outcomes.into_iter().collect();
    column
}

fn details(case: &CaseReport) -> Details {
    Details {
        expected: text::lines(&case.expected).join("\n"),
        got: text::lines(&case.got).join("\n"),
        log: case.log.iter().flat_map(|line| text::lines(line)).collect(),
        console: case.console.as_deref().map(text::lines).unwrap_or_default(),
        rerun: text::line(&case.rerun),
    }
}

fn letter(outcome: Outcome) -> char {
    match outcome {
        Outcome::Crash => 'c',
        Outcome::Hang => 'h',
        Outcome::Fail => 'f',
        Outcome::Fixed => 'x',
        Outcome::Unmet => 'u',
        Outcome::Known => 'k',
        Outcome::Absent => 'a',
        Outcome::Pass => 'p',
    }
}
