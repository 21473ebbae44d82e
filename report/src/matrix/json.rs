// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The matrix as JSON, for scripts and for merging shards.

use serde::{Deserialize, Serialize};

use super::{Cell, Found, Matrix, Plan};
use crate::Verdict;
use crate::form::Form;
use crate::forms::json as verdict_json;

/// The row of this form.
pub(crate) const FORM: Form<Matrix> = Form {
    name: "json",
    about: "All that is known; shards are merged from it",
    file_name: FILE_NAME,
    render: |matrix, _| render(matrix),
};

/// Name of the file in the folder of a run.
pub const FILE_NAME: &str = "matrix.json";

/// Version of the schema. It is raised when a field is removed or changes its meaning, not when one is
/// added.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Document<'a> {
    schema: u32,
    sudbox: &'a str,
    command: &'a str,
    strict: bool,
    boot_selected: bool,
    shards: Option<usize>,
    /// The worst exit code of the cells in this part.
    exit_code: u8,
    cells: Vec<Written<'a>>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Written<'a> {
    #[serde(flatten)]
    cell: &'a Cell,
    /// The report of `sudbox run --format json`.
    report: Option<verdict_json::Document<'a>>,
    failed: Option<Failed>,
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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

/// Why a text is not a matrix.
#[derive(Debug)]
pub enum Unreadable {
    /// It ends too early, as the output of a killed shard does.
    CutOff,
    /// It is not a matrix: why.
    Foreign(String),
}

fn render(matrix: &Matrix) -> String {
    // Without `..`, so that a new field cannot be forgotten here.
    let Matrix { plan, shards, found } = matrix;
    let Plan { sudbox, command, strict, boot_selected, cells } = plan;
    let written = cells.iter().zip(found).map(|(cell, found)| Written {
        cell,
        report: match found {
            Some(Found::Judged(verdict)) => Some(verdict_json::Document::of(verdict)),
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
    verdict_json::pretty(&document)
}

/// Reads the JSON form of a matrix.
///
/// # Errors
/// See [`Unreadable`].
pub fn parse(text: &str) -> Result<Matrix, Unreadable> {
    let read: Read = serde_json::from_str(text).map_err(|error| {
        if error.is_eof() { Unreadable::CutOff } else { Unreadable::Foreign(error.to_string()) }
    })?;
    if read.schema != SCHEMA {
        let what = format!("its schema is {}, not {SCHEMA}", read.schema);
        return Err(Unreadable::Foreign(what));
    }
    if read.shards == Some(0) {
        return Err(Unreadable::Foreign("it has no shards".into()));
    }
    let (mut cells, mut found) = (Vec::new(), Vec::new());
    for ReadCell { cell, report, failed } in read.cells {
        cells.push(cell);
        let failed = failed.map(|Failed { exit_code, reason }| Found::Failed { exit_code, reason });
        let judged = report.map(|verdict| {
            // The terms are those of the plan, also in documents that have them nowhere else.
            let (strict, boot_selected) = (read.strict, read.boot_selected);
            Found::Judged(Box::new(Verdict { strict, boot_selected, ..verdict }))
        });
        found.push(judged.or(failed));
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
