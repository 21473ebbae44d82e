//! Makes one matrix of its shards.

use super::{Found, Matrix};

/// Why parts do not make one matrix.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// There is nothing to merge.
    #[error("there is no part to merge")]
    Nothing,
    /// Two parts are of different matrices.
    #[error("`{one}` and `{other}` are not of the same matrix: {what}")]
    Apart {
        /// Name of the one.
        one: String,
        /// Name of the other.
        other: String,
        /// What differs.
        what: String,
    },
    /// Two parts say different things of the same cell.
    #[error(
        "`{one}` and `{other}` each have a verdict on {cell}, and not the same: give one of them"
    )]
    Contradiction {
        /// Name of the one.
        one: String,
        /// Name of the other.
        other: String,
        /// The cell.
        cell: String,
    },
}

/// Merges parts, each with the name that an error calls it by. Of a cell that is in two parts, a
/// verdict counts more than the lack of one. What comes out does not depend on the order.
///
/// # Errors
/// [`MergeError`], if they are not parts of one matrix.
pub fn merge(parts: Vec<(String, Matrix)>) -> Result<Matrix, MergeError> {
    let mut parts = parts.into_iter();
    let (first, mut whole) = parts.next().ok_or(MergeError::Nothing)?;
    let mut sources: Vec<String> = vec![first.clone(); whole.found.len()];
    for (name, part) in parts {
        let apart = |what: &str| MergeError::Apart {
            one: first.clone(),
            other: name.clone(),
            what: what.to_owned(),
        };
        if part.plan != whole.plan {
            let (one, other) = (&whole.plan, &part.plan);
            return Err(apart(&if one.command != other.command {
                format!("the one is of `{}`, the other of `{}`", one.command, other.command)
            } else if one.sudbox != other.sudbox {
                format!("sudbox {} made the one, {} the other", one.sudbox, other.sudbox)
            } else {
                "their cells differ".to_owned()
            }));
        }
        whole.shards = match (whole.shards, part.shards) {
            (Some(one), Some(other)) if one != other => {
                return Err(apart(&format!("{one} shards and {other} shards")));
            }
            (Some(shards), _) | (None, Some(shards)) => Some(shards),
            (None, None) => None,
        };
        for (place, theirs) in part.found.into_iter().enumerate() {
            let ours = &mut whole.found[place];
            let take = match (&*ours, &theirs) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(Found::Failed { .. }), Some(Found::Judged(_))) => true,
                (Some(Found::Judged(_)), Some(Found::Failed { .. })) => false,
                // Of two reasons one is enough, always the same.
                (
                    Some(Found::Failed { exit_code: one, reason: why }),
                    Some(Found::Failed { exit_code: other, reason: because }),
                ) => (other, because) > (one, why),
                (Some(Found::Judged(one)), Some(Found::Judged(other))) if one == other => false,
                (Some(Found::Judged(_)), Some(Found::Judged(_))) => {
                    return Err(MergeError::Contradiction {
                        one: sources[place].clone(),
                        other: name.clone(),
                        cell: whole.plan.cells[place].to_string(),
                    });
                }
            };
            if take {
                *ours = theirs;
                sources[place].clone_from(&name);
            }
        }
    }
    if whole.found.iter().all(Option::is_some) {
        whole.shards = None;
    }
    Ok(whole)
}
