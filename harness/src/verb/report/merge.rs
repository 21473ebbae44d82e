// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox report merge`: merges the parts of a matrix into one report.

use crate::cli::MergeArgs;
use crate::failure::{Code, Failure};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::reports;
use std::path::Path;
use sudbox_images::Cache;
use sudbox_report::matrix::{FILE_NAME, Matrix, ParseError, merge as merge_parts, parse};

/// Merges the parts. Returns the exit code.
pub(crate) fn merge(args: &MergeArgs) -> anyhow::Result<u8> {
    let mut progress = Progress::new();
    let mut parts = Vec::new();
    for path in &args.parts {
        match read_part(path)? {
            Some(part) => parts.push((path.display().to_string(), part)),
            None => progress.print("note", &format!("{} is truncated: left out", path.display())),
        }
    }
    let matrix = merge_parts(parts).map_err(|error| Failure::usage(error.to_string()))?;
    let folder = RunFolder::create(&Cache::open()?)?;
    reports::print_and_write(&matrix, args.format, &folder, &mut progress)?;
    let missing_shards = matrix.missing_shards();
    if missing_shards.is_empty() {
        return Ok(matrix.exit_code());
    }
    let shard_count = matrix.shards.unwrap_or(1);
    for shard in missing_shards {
        let command = &matrix.plan.command;
        progress
            .print("missing", &format!("{command} --shard {shard}/{shard_count} --format json"));
    }
    Ok(Code::Machine as u8)
}

/// Reads a part; `None` if the file is truncated, because its shard was killed.
fn read_part(path: &Path) -> anyhow::Result<Option<Matrix>> {
    let file = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
    let unusable = |reason: &dyn std::fmt::Display| {
        Failure::usage(format!("{} is no part of a matrix: {reason}", file.display()))
    };
    let text = sudbox_images::read_text(&file).map_err(|error| unusable(&error))?;
    match parse(&text) {
        Ok(matrix) => Ok(Some(matrix)),
        Err(ParseError::Truncated) => Ok(None),
        Err(ParseError::NotAMatrix(reason)) => Err(unusable(&reason)),
    }
}
