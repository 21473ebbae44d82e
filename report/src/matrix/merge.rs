// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Merges the shards of a matrix.

use super::{CellResult, Matrix};

/// Error: the parts cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// No part was given.
    #[error("no part to merge was given")]
    NoParts,
    /// Two parts belong to different matrices.
    #[error("`{first}` and `{second}` are parts of different matrices: {difference}")]
    DifferentMatrices {
        /// Name of the first part.
        first: String,
        /// Name of the second part.
        second: String,
        /// The difference.
        difference: String,
    },
    /// Two parts have different verdicts on the same cell.
    #[error("`{first}` and `{second}` hold different verdicts on {cell}: give only one of them")]
    DifferentVerdicts {
        /// Name of the first part.
        first: String,
        /// Name of the second part.
        second: String,
        /// The cell.
        cell: String,
    },
}

/// Merges the parts of a matrix, each with a name for error messages. If two parts have the same cell, a verdict takes
/// precedence over a failure. The result does not depend on the order of the parts.
///
/// # Errors
/// [`MergeError`] if the parts do not belong to one matrix.
pub fn merge(parts: Vec<(String, Matrix)>) -> Result<Matrix, MergeError> {
    let mut parts = parts.into_iter();
    let (first_name, mut merged) = parts.next().ok_or(MergeError::NoParts)?;
    let mut source_names: Vec<String> = vec![first_name.clone(); merged.results.len()];
    for (name, part) in parts {
        let mismatch = |difference: &str| MergeError::DifferentMatrices {
            first: first_name.clone(),
            second: name.clone(),
            difference: difference.to_owned(),
        };
        if part.plan != merged.plan {
            let (first, second) = (&merged.plan, &part.plan);
            return Err(mismatch(&if first.command != second.command {
                format!("the first is of `{}`, the second of `{}`", first.command, second.command)
            } else if first.sudbox_version != second.sudbox_version {
                format!(
                    "sudbox {} made the first, {} the second",
                    first.sudbox_version, second.sudbox_version
                )
            } else {
                "their cells differ".to_owned()
            }));
        }
        merged.shards = match (merged.shards, part.shards) {
            (Some(first), Some(second)) if first != second => {
                return Err(mismatch(&format!("{first} shards and {second} shards")));
            }
            (Some(shards), _) | (None, Some(shards)) => Some(shards),
            (None, None) => None,
        };
        for (index, result) in part.results.into_iter().enumerate() {
            let merged_result = &mut merged.results[index];
            let takes_precedence = match (&*merged_result, &result) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(CellResult::Failed { .. }), Some(CellResult::Judged(_))) => true,
                (Some(CellResult::Judged(_)), Some(CellResult::Failed { .. })) => false,
                // Of two failures, one is chosen independently of the order.
                (
                    Some(CellResult::Failed { exit_code: first_code, reason: first_reason }),
                    Some(CellResult::Failed { exit_code: second_code, reason: second_reason }),
                ) => (second_code, second_reason) > (first_code, first_reason),
                (Some(CellResult::Judged(first)), Some(CellResult::Judged(second)))
                    if first == second =>
                {
                    false
                }
                (Some(CellResult::Judged(_)), Some(CellResult::Judged(_))) => {
                    return Err(MergeError::DifferentVerdicts {
                        first: source_names[index].clone(),
                        second: name.clone(),
                        cell: merged.plan.cells[index].to_string(),
                    });
                }
            };
            if takes_precedence {
                *merged_result = result;
                source_names[index].clone_from(&name);
            }
        }
    }
    if merged.results.iter().all(Option::is_some) {
        merged.shards = None;
    }
    Ok(merged)
}
