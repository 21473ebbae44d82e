// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The result of judging many kernels: one cell for each kernel, architecture and flavour.
//!
//! A matrix can be run in shards, each with some of the cells. [`merge()`] combines them. The result
//! depends neither on the number of shards nor on their order.

mod differences;
mod forms;
mod html;
pub(crate) mod json;
mod merge;
mod table;

use serde::{Deserialize, Serialize};

use crate::Verdict;
use crate::judgement::Judgement;

pub use differences::{CellDifference, OutcomeChange, differences};
pub use json::{FILE_NAME, ParseError, parse};
pub use merge::{MergeError, merge};

/// One kernel, architecture and flavour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cell {
    /// The kernel as the user named it.
    pub kernel: String,
    /// Architecture.
    pub arch: String,
    /// Flavour of the configuration.
    pub flavour: String,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}, {}", self.kernel, self.arch, self.flavour)
    }
}

/// The cells of a matrix, and the settings for judging them. All shards have the same plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Version of sudbox.
    pub sudbox_version: String,
    /// The command that runs the whole matrix; with `--shard I/N` appended, it runs a shard.
    pub command: String,
    /// Whether `fixed` and `unmet` count as failures.
    pub strict: bool,
    /// Whether `boot/reaches-init` was selected.
    pub boot_selected: bool,
    /// The cells. Each is compared with the one before it.
    pub cells: Vec<Cell>,
}

/// The result of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellResult {
    /// A verdict.
    Judged(Box<Verdict>),
    /// No verdict, because of an error.
    Failed {
        /// The exit code of `sudbox run`: 125, 128 or 129.
        exit_code: u8,
        /// The reason in one sentence.
        reason: String,
    },
}

/// A matrix, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// The plan.
    pub plan: Plan,
    /// Number of shards, if this is a shard; `None` for a whole matrix.
    pub shards: Option<usize>,
    /// The result of each cell of the plan; `None` if the cell is in another shard.
    pub results: Vec<Option<CellResult>>,
}

/// The number of the shard, from 1 to `shards`, with the cell at this index of the plan.
#[must_use]
pub fn shard_of(index: usize, shards: usize) -> usize {
    index % shards + 1
}

impl Matrix {
    /// The cells that have a result.
    pub fn cells_with_results(&self) -> impl Iterator<Item = (&Cell, &CellResult)> {
        self.plan
            .cells
            .iter()
            .zip(&self.results)
            .filter_map(|(cell, result)| Some((cell, result.as_ref()?)))
    }

    /// The judgement on a cell.
    #[must_use]
    pub fn judgement_of(result: &CellResult) -> Judgement {
        match result {
            CellResult::Judged(verdict) => Judgement::from_verdict(verdict),
            CellResult::Failed { reason, .. } => Judgement::NotJudged(reason.clone()),
        }
    }

    /// The exit code of `sudbox run` for a cell.
    #[must_use]
    pub fn exit_code_of(result: &CellResult) -> u8 {
        match result {
            CellResult::Judged(_) => Matrix::judgement_of(result).exit_code(),
            CellResult::Failed { exit_code, .. } => *exit_code,
        }
    }

    /// The worst exit code of the cells. The code 1, a broken promise, is the worst. Of all other codes, the
    /// highest is the worst: 129 bad input, 128 the machine, 125 a kernel that cannot be judged.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let codes = self.cells_with_results().map(|(_, result)| Matrix::exit_code_of(result));
        codes.max_by_key(|code| (*code == 1, *code)).unwrap_or(0)
    }

    /// The shards that have cells without a result.
    #[must_use]
    pub fn missing_shards(&self) -> Vec<usize> {
        let shards = self.shards.unwrap_or(1);
        let missing = |shard: &usize| {
            let mut results = self.results.iter().enumerate();
            results.any(|(index, result)| result.is_none() && shard_of(index, shards) == *shard)
        };
        (1..=shards).filter(missing).collect()
    }

    /// The verdicts whose judgement is not `NotJudged`, each with the index of its cell.
    fn judged_verdicts(&self) -> impl Iterator<Item = (usize, &Verdict)> {
        let results = self.results.iter().enumerate();
        results.filter_map(|(index, result)| Some((index, result.as_ref()?))).filter_map(
            |(index, result)| {
                let CellResult::Judged(verdict) = result else { return None };
                let judged = !matches!(Matrix::judgement_of(result), Judgement::NotJudged(_));
                judged.then_some((index, &**verdict))
            },
        )
    }
}
