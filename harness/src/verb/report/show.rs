// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox report show`: the report of an earlier run, in any form.

use crate::cli::ShowArgs;
use crate::failure::Failure;
use crate::output::{self, archive};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use sudbox_images::Cache;
use sudbox_report::costs::Costs;
use sudbox_report::costs::comparison::Comparison;
use sudbox_report::diff::Diff;
use sudbox_report::matrix::{self, Matrix, ParseError};
use sudbox_report::{Printable, Report, Verdict};

/// Prints the report and returns the exit code.
pub(crate) fn show(args: &ShowArgs) -> anyhow::Result<u8> {
    let folder = find_run_folder(args.run.as_deref())?;
    let format = &args.format;
    // The verdict comes last, because the folder of a matrix, bench, comparison or diff may also
    // have verdicts.
    let text =
        if let Some(text) = read_file(&folder, Matrix::form("json").map(|form| form.file_name))? {
            let matrix = matrix::parse(&text).map_err(|error| match error {
                ParseError::Truncated => unreadable(&folder, "its matrix.json is cut off"),
                ParseError::NotAMatrix(reason) => unreadable(&folder, &reason),
            })?;
            rendered(&matrix, format)?
        } else if let Some(comparison) = parse_json_form::<Comparison>(&folder)? {
            rendered(&comparison, format)?
        } else if let Some(diff) = parse_json_form::<Diff>(&folder)? {
            rendered(&diff, format)?
        } else if let Some(costs) = parse_json_form::<Costs>(&folder)? {
            rendered(&costs, format)?
        } else if let Some(verdict) = parse_json_form::<Verdict>(&folder)? {
            rendered(&verdict, format)?
        } else {
            return Err(unreadable(
                &folder,
                "it holds no report: the run ended before it had a result",
            ));
        };
    output::print(&text)?;
    Ok(0)
}

/// Finds the folder of a run by number, name or path. If `run` is `None`, finds the newest run with
/// a result.
fn find_run_folder(run: Option<&str>) -> anyhow::Result<PathBuf> {
    let folder = archive::runs_folder(&Cache::open()?);
    let runs = archive::archived_runs(&folder);
    let Some(run) = run else {
        let newest = runs.into_iter().find(|run| run.summary.is_some());
        let no_run = || Failure::usage("no run has left a report yet: `sudbox run` makes one");
        return newest.map(|run| run.path).ok_or_else(no_run);
    };
    let run_with_number =
        run.parse::<usize>().ok().and_then(|number| runs.get(number.checked_sub(1)?));
    let folder_with_name =
        [folder.join(run), PathBuf::from(run)].into_iter().find(|path| path.is_dir());
    run_with_number.map(|run| run.path.clone()).or(folder_with_name).ok_or_else(|| {
        Failure::usage(format!(
            "there is no run `{run}`: `sudbox report list` shows their numbers and folders"
        ))
    })
}

fn unreadable(folder: &Path, reason: &str) -> anyhow::Error {
    Failure::usage(format!("{} cannot be shown: {reason}", folder.display()))
}

/// Reads a file of the folder; `None` if the file does not exist.
fn read_file(folder: &Path, name: Option<&str>) -> anyhow::Result<Option<String>> {
    let Some(path) = name.map(|name| folder.join(name)).filter(|path| path.exists()) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&path);
    text.map(Some).map_err(|error| unreadable(folder, &format!("{}: {error}", path.display())))
}

/// Parses the JSON form of `T` in the folder; `None` if the file does not exist.
fn parse_json_form<T: Report + DeserializeOwned>(folder: &Path) -> anyhow::Result<Option<T>> {
    let Some(text) = read_file(folder, T::form("json").map(|form| form.file_name))? else {
        return Ok(None);
    };
    serde_json::from_str(&text).map(Some).map_err(|error| unreadable(folder, &error.to_string()))
}

fn rendered<T: Report>(subject: &T, form_name: &str) -> anyhow::Result<Printable> {
    let Some(form) = T::form(form_name) else {
        let names: Vec<&str> = T::FORMS.iter().map(|form| form.name).collect();
        return Err(Failure::usage(format!(
            "this report has no form `{form_name}`: it has {}",
            names.join(", ")
        )));
    };
    Ok((form.render)(subject, output::screen()))
}
