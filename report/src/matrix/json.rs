//! The matrix as JSON: what shards are merged from, and what scripts read.

use serde::{Deserialize, Serialize};

use super::{Cell, Found, Matrix, Plan};
use crate::Verdict;

/// Version of the document's schema: raised when a field goes or changes its meaning, not when one
/// is added.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    sudbox: &'a str,
    command: &'a str,
    strict: bool,
    boot_selected: bool,
    shards: Option<usize>,
    /// The worst of the cells that are here.
    exit_code: u8,
    cells: Vec<Written<'a>>,
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    cell: &'a Cell,
    /// What `sudbox run --format json` says of it.
    report: Option<crate::json::Document<'a>>,
    failed: Option<Failed>,
}

#[derive(Serialize, Deserialize)]
struct Failed {
    exit_code: u8,
    reason: String,
}

#[derive(Deserialize)]
struct Read {
    schema: u32,
    sudbox: String,
    command: String,
    strict: bool,
    boot_selected: bool,
    shards: Option<usize>,
    cells: Vec<ReadCell>,
}

#[derive(Deserialize)]
struct ReadCell {
    #[serde(flatten)]
    cell: Cell,
    report: Option<Verdict>,
    failed: Option<Failed>,
}

/// Why a text is no matrix.
#[derive(Debug)]
pub enum Unreadable {
    /// It ends before it is whole, as what a shard that was killed leaves.
    CutOff,
    /// It is something else.
    Foreign(String),
}

/// The matrix as one JSON object and a line end, safe to print as [`crate::json::render`] is.
///
/// # Panics
/// Never: nothing in a matrix is without a form in JSON.
#[must_use]
pub fn render(matrix: &Matrix) -> String {
    // Taken apart, so that a field that is added cannot be forgotten here.
    let Matrix { plan, shards, found } = matrix;
    let Plan { sudbox, command, strict, boot_selected, cells } = plan;
    let options = matrix.options();
    let written = cells.iter().zip(found).map(|(cell, found)| Written {
        cell,
        report: match found {
            Some(Found::Judged(verdict)) => Some(crate::json::document(verdict, options)),
            _ => None,
        },
        failed: match found {
            Some(Found::Failed { exit_code, reason }) => {
                Some(Failed { exit_code: *exit_code, reason: reason.clone() })
            }
            _ => None,
        },
    });
    let document = Document {
        schema: SCHEMA,
        sudbox,
        command,
        strict: *strict,
        boot_selected: *boot_selected,
        shards: *shards,
        exit_code: matrix.exit_code(),
        cells: written.collect(),
    };
    crate::json::pretty(&document)
}

/// Reads what [`render`] wrote.
///
/// # Errors
/// If it is not whole, or something else.
pub fn parse(text: &str) -> Result<Matrix, Unreadable> {
    let read: Read = serde_json::from_str(text).map_err(|error| {
        if error.is_eof() { Unreadable::CutOff } else { Unreadable::Foreign(error.to_string()) }
    })?;
    if read.schema != SCHEMA {
        let what = format!("its schema is {}, and not {SCHEMA}", read.schema);
        return Err(Unreadable::Foreign(what));
    }
    if read.shards == Some(0) {
        return Err(Unreadable::Foreign("it is of no shards".into()));
    }
    let (mut cells, mut found) = (Vec::new(), Vec::new());
    for ReadCell { cell, report, failed } in read.cells {
        cells.push(cell);
        let failed = failed.map(|Failed { exit_code, reason }| Found::Failed { exit_code, reason });
        found.push(report.map(|verdict| Found::Judged(Box::new(verdict))).or(failed));
    }
    let plan = Plan {
        sudbox: read.sudbox,
        command: read.command,
        strict: read.strict,
        boot_selected: read.boot_selected,
        cells,
    };
    Ok(Matrix { plan, shards: read.shards, found })
}
