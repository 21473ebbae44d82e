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
    #[error("`{one}` and `{other}` are parts of different matrices: {difference}")]
    DifferentMatrices {
        /// Name of the first part.
        one: String,
        /// Name of the second part.
        other: String,
        /// The difference.
        difference: String,
    },
    /// Two parts have different verdicts on the same cell.
    #[error("`{one}` and `{other}` hold different verdicts on {cell}: give only one of them")]
    DifferentVerdicts {
        /// Name of the first part.
        one: String,
        /// Name of the second part.
        other: String,
        /// The cell.
        cell: String,
    },
}

/// Merges parts, each with a name for error messages. If two parts have the same cell, a verdict takes
/// precedence over a failure. The result does not depend on the order of the parts.
///
/// # Errors
/// [`MergeError`] if they are not parts of one matrix.
pub fn merge(parts: Vec<(String, Matrix)>) -> Result<Matrix, MergeError> {
    let mut parts = parts.into_iter();
    let (first, mut whole) = parts.next().ok_or(MergeError::NoParts)?;
    let mut sources: Vec<String> = vec![first.clone(); whole.results.len()];
    for (name, part) in parts {
        let different = |difference: &str| MergeError::DifferentMatrices {
            one: first.clone(),
            other: name.clone(),
            difference: difference.to_owned(),
        };
        if part.plan != whole.plan {
            let (one, other) = (&whole.plan, &part.plan);
            return Err(different(&if one.command != other.command {
                format!("the first is of `{}`, the second of `{}`", one.command, other.command)
            } else if one.sudbox_version != other.sudbox_version {
                format!(
                    "sudbox {} made the first, {} the second",
                    one.sudbox_version, other.sudbox_version
                )
            } else {
                "their cells differ".to_owned()
            }));
        }
        whole.shards = match (whole.shards, part.shards) {
            (Some(one), Some(other)) if one != other => {
                return Err(different(&format!("{one} shards and {other} shards")));
            }
            (Some(shards), _) | (None, Some(shards)) => Some(shards),
            (None, None) => None,
        };
        for (index, theirs) in part.results.into_iter().enumerate() {
            let ours = &mut whole.results[index];
            let takes_precedence = match (&*ours, &theirs) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(CellResult::Failed { .. }), Some(CellResult::Judged(_))) => true,
                (Some(CellResult::Judged(_)), Some(CellResult::Failed { .. })) => false,
                // Of two failures, one is chosen independently of the order.
                (
                    Some(CellResult::Failed { exit_code: one, reason: our_reason }),
                    Some(CellResult::Failed { exit_code: other, reason: their_reason }),
                ) => (other, their_reason) > (one, our_reason),
                (Some(CellResult::Judged(one)), Some(CellResult::Judged(other)))
                    if one == other =>
                {
                    false
                }
                (Some(CellResult::Judged(_)), Some(CellResult::Judged(_))) => {
                    return Err(MergeError::DifferentVerdicts {
                        one: sources[index].clone(),
                        other: name.clone(),
                        cell: whole.plan.cells[index].to_string(),
                    });
                }
            };
            if takes_precedence {
                *ours = theirs;
                sources[index].clone_from(&name);
            }
        }
    }
    if whole.results.iter().all(Option::is_some) {
        whole.shards = None;
    }
    Ok(whole)
}
