// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The report of a run or of a matrix in all its forms.

use super::folder::RunFolder;
use super::progress::Progress;
use crate::cli::MatrixFormat;
use sudbox_report::matrix::{self, Matrix};
use sudbox_report::{Options, Verdict, annotations, json, junit, kcidb, ktap, table};

/// Leaves the report in all its forms.
///
/// # Errors
/// When the folder cannot be written to.
pub(crate) fn write(verdict: &Verdict, options: Options, folder: &RunFolder) -> anyhow::Result<()> {
    folder.write("report.txt", table::render(verdict, options))?;
    folder.write("report.json", json::render(verdict, options))?;
    folder.write("junit.xml", junit::render(verdict, options))?;
    folder.write("kcidb.json", kcidb::render(verdict, options))?;
    folder.write("report.ktap", ktap::render(verdict, options))?;
    Ok(())
}

/// Prints the report and leaves it in all its forms.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn print_matrix(
    matrix: &Matrix,
    format: MatrixFormat,
    folder: &RunFolder,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let forms = [
        (MatrixFormat::Table, "matrix.txt", matrix::table(matrix, false)),
        (MatrixFormat::Json, "matrix.json", matrix::json(matrix)),
        (MatrixFormat::Html, "matrix.html", matrix::html(matrix)),
        (MatrixFormat::Junit, "junit.xml", junit::matrix(matrix)),
        (MatrixFormat::Kcidb, "kcidb.json", kcidb::matrix(matrix)),
        (MatrixFormat::Annotations, "annotations.txt", annotations::matrix(matrix)),
    ];
    for (_, name, text) in &forms {
        folder.write(name, text)?;
    }
    match forms.iter().find(|(form, ..)| *form == format && format != MatrixFormat::Table) {
        Some((.., text)) => super::print(text)?,
        None => super::print(&matrix::table(matrix, super::colour()))?,
    }
    progress.say("kept", &folder.path().display().to_string());
    Ok(())
}
