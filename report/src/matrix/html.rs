//! The matrix as one page that needs nothing else: a heat map of cases by kernels, details on
//! click, differences, failures with their consoles.
//!
//! What a guest said is data of the page, never part of its markup: it stands in a JSON block in
//! which `<`, `>` and `&` are escapes, and the script makes text nodes of it. The policy of the page
//! lets the browser run that script alone, by its digest, and load nothing.

use serde::Serialize;
use std::collections::BTreeMap;

use super::{Cell, Found, Matrix, differences, table};
use crate::judgement::is_unasked_boot_failure;
use crate::page::{self, escaped};
use crate::{CaseReport, Judgement, Outcome, json, text};

const STYLE: &str = include_str!("page.css");
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
    /// Its place in the plan, from 1.
    number: usize,
    name: String,
    /// The name without what all have in common.
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
    /// Of a kernel that does not boot.
    console: Vec<String>,
    /// A letter for each case, a dot where there is no such case.
    outcomes: String,
    /// What there is to say of a case, by its place, if it is more than that it passed.
    said: BTreeMap<usize, Said>,
}

#[derive(Serialize)]
struct Said {
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

/// The matrix as a page of HTML.
///
/// # Panics
/// Never: nothing in a matrix is without a form in JSON.
#[must_use]
pub fn render(matrix: &Matrix) -> String {
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
    page::whole(&format!("Syscall User Dispatch on {judged}"), STYLE, Some(SCRIPT), &body)
}

fn data(matrix: &Matrix) -> Data {
    let mut cases: Vec<Case> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (_, found) in matrix.cells() {
        for case in reports(matrix, found) {
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

/// The cases of a cell that have a place in the map: that a kernel does not boot is, where nobody
/// asked for it, the reason why it is not judged.
fn reports<'a>(matrix: &'a Matrix, found: &'a Found) -> impl Iterator<Item = &'a CaseReport> {
    let cases = match found {
        Found::Judged(verdict) => verdict.cases.as_slice(),
        Found::Failed { .. } => &[],
    };
    let boot_selected = matrix.plan.boot_selected;
    cases.iter().filter(move |case| !is_unasked_boot_failure(case, boot_selected))
}

fn column(
    matrix: &Matrix,
    place: usize,
    cell: &Cell,
    found: &Found,
    places: &BTreeMap<String, usize>,
    cases: usize,
) -> Column {
    let judgement = matrix.judgement(found);
    let (word, reason) = match &judgement {
        Judgement::Kept => ("kept".to_owned(), String::new()),
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
        exit_code: matrix.exit_code_of(found),
        ..Column::default()
    };
    if let Found::Judged(verdict) = found {
        let kernel = &verdict.kernel;
        column.release = text::line(&kernel.release);
        column.source = text::line(&kernel.source);
        column.stands_in = text::line(kernel.stands_in.as_deref().unwrap_or_default());
        column.machine = text::line(&verdict.machine);
        let boot = verdict.cases.iter().find(|case| {
            is_unasked_boot_failure(case, matrix.plan.boot_selected) && case.console.is_some()
        });
        column.console = boot.map(|case| said(case).console).unwrap_or_default();
        column.guest = verdict.guest.iter().map(|fact| text::line(fact)).collect();
    }
    let mut outcomes = vec!['.'; cases];
    for case in reports(matrix, found) {
        let at = places[&case.id];
        outcomes[at] = letter(case.outcome);
        if case.outcome != Outcome::Pass {
            column.said.insert(at, said(case));
        }
    }
    column.outcomes = outcomes.into_iter().collect();
    column
}

fn said(case: &CaseReport) -> Said {
    Said {
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
