// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The matrix as JSON, for scripts and for merging shards.

use serde::{Deserialize, Serialize};

use super::{Cell, CellResult, Matrix, Plan};
use crate::Verdict;
use crate::form::Form;
use crate::forms::json as verdict_json;
use crate::text::Printable;

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Matrix> = Form {
    name: "json",
    about: "All that is known; shards are merged from it",
    file_name: FILE_NAME,
    render: |matrix, _| render(matrix),
};

/// Name of the file in the folder of a run.
pub const FILE_NAME: &str = "matrix.json";

/// Version of the schema. It is raised if a field is removed or changes its meaning, not if one is added.
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
    cells: Vec<CellDocument<'a>>,
}

/// A cell and its result: `report`, `failed`, or neither if it is in another shard.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CellDocument<'a> {
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

/// The fields of a [`Document`] that [`parse`] reads.
#[derive(Deserialize)]
struct ReadDocument {
    schema: u32,
    sudbox: String,
    command: String,
    strict: bool,
    boot_selected: bool,
    shards: Option<usize>,
    cells: Vec<ReadCell>,
}

/// The fields of a [`CellDocument`] that [`parse`] reads.
#[derive(Deserialize)]
struct ReadCell {
    #[serde(flatten)]
    cell: Cell,
    report: Option<Verdict>,
    failed: Option<Failed>,
}

/// Error: the text is not a matrix.
#[derive(Debug)]
pub enum ParseError {
    /// The text is truncated, like the output of a killed shard.
    Truncated,
    /// The text is not the JSON form of a matrix. Has the reason.
    NotAMatrix(String),
}

fn render(matrix: &Matrix) -> Printable {
    // The patterns name every field, so that the compiler reports a new field that is missing here.
    let Matrix { plan, shards, results } = matrix;
    let Plan { sudbox_version: sudbox, command, strict, boot_selected, cells } = plan;
    let documents = cells.iter().zip(results).map(|(cell, result)| CellDocument {
        cell,
        report: match result {
            Some(CellResult::Judged(verdict)) => {
                Some(verdict_json::Document::from_verdict(verdict))
            }
            _ => None,
        },
        failed: match result {
            Some(CellResult::Failed { exit_code, reason }) => {
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
        cells: documents.collect(),
    };
    verdict_json::to_json(&document)
}

/// Reads the JSON form of a matrix.
///
/// # Errors
/// See [`ParseError`].
pub fn parse(text: &str) -> Result<Matrix, ParseError> {
    let document: ReadDocument = serde_json::from_str(text).map_err(|error| {
        if error.is_eof() {
            ParseError::Truncated
        } else {
            ParseError::NotAMatrix(error.to_string())
        }
    })?;
    if document.schema != SCHEMA {
        let reason = format!("its schema is {}, not {SCHEMA}", document.schema);
        return Err(ParseError::NotAMatrix(reason));
    }
    if document.shards == Some(0) {
        return Err(ParseError::NotAMatrix("it has no shards".into()));
    }
    let (mut cells, mut results) = (Vec::new(), Vec::new());
    for ReadCell { cell, report, failed } in document.cells {
        cells.push(cell);
        let failed =
            failed.map(|Failed { exit_code, reason }| CellResult::Failed { exit_code, reason });
        let judged = report.map(|verdict| {
            // The plan's settings apply, because reports in older documents do not have these fields.
            let (strict, boot_selected) = (document.strict, document.boot_selected);
            CellResult::Judged(Box::new(Verdict { strict, boot_selected, ..verdict }))
        });
        results.push(judged.or(failed));
    }
    let plan = Plan {
        sudbox_version: document.sudbox,
        command: document.command,
        strict: document.strict,
        boot_selected: document.boot_selected,
        cells,
    };
    Ok(Matrix { plan, shards: document.shards, results })
}
