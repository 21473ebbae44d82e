//! What was found out about many kernels: one cell for each kernel, architecture and flavour.
//!
//! A matrix can be run in shards, each of which holds some of the cells; [`merge()`] makes one of
//! them, the same whatever the split was and in whatever order they come.

mod differences;
pub(crate) mod html;
mod json;
mod merge;
mod table;

use serde::{Deserialize, Serialize};

use crate::judgement::Judgement;
use crate::{Options, Verdict};

pub use differences::{Change, Difference, differences};
pub use html::render as html;
pub use json::{Unreadable, parse, render as json};
pub use merge::{MergeError, merge};
pub use table::render as table;

/// The place of one kernel in a matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The kernel, as the person typed it.
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

/// What is to be judged and how: the same for all shards of a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Version of sudbox.
    pub sudbox: String,
    /// The command that runs all of it; with `--shard I/N` added, a part.
    pub command: String,
    /// Whether `fixed` and `unmet` count as not expected.
    pub strict: bool,
    /// Whether `boot/reaches-init` was selected.
    pub boot_selected: bool,
    /// The cells in their order: kernels that follow each other are neighbours.
    pub cells: Vec<Cell>,
}

/// What became of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A verdict.
    Judged(Box<Verdict>),
    /// None: the exit code that `sudbox run` had ended with, and why.
    Failed {
        /// 125, 128 or 129.
        exit_code: u8,
        /// One sentence.
        reason: String,
    },
}

/// A matrix, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// What was to be done.
    pub plan: Plan,
    /// Into how many shards it was split; `None` if it is whole.
    pub shards: Option<usize>,
    /// For each cell of the plan what was found, `None` if that is in another shard.
    pub found: Vec<Option<Found>>,
}

/// The shard, from 1 to `shards`, that holds the cell at this place of the plan.
#[must_use]
pub fn shard_of(place: usize, shards: usize) -> usize {
    place % shards + 1
}

impl Matrix {
    /// How the forms of one verdict are to be made here.
    #[must_use]
    pub fn options(&self) -> Options {
        Options { colour: false, strict: self.plan.strict, boot_selected: self.plan.boot_selected }
    }

    /// The cells that are in it, with what was found.
    pub fn cells(&self) -> impl Iterator<Item = (&Cell, &Found)> {
        self.plan
            .cells
            .iter()
            .zip(&self.found)
            .filter_map(|(cell, found)| Some((cell, found.as_ref()?)))
    }

    /// What a cell comes to.
    #[must_use]
    pub fn judgement(&self, found: &Found) -> Judgement {
        match found {
            Found::Judged(verdict) => {
                Judgement::of(verdict, self.plan.strict, self.plan.boot_selected)
            }
            Found::Failed { reason, .. } => Judgement::NotJudged(reason.clone()),
        }
    }

    /// The exit code that `sudbox run` gave for a cell.
    #[must_use]
    pub fn exit_code_of(&self, found: &Found) -> u8 {
        match found {
            Found::Judged(_) => self.judgement(found).exit_code(),
            Found::Failed { exit_code, .. } => *exit_code,
        }
    }

    /// The worst exit code of its cells. A kernel that breaks a promise is the worst: no other cell
    /// can take that back. Then comes what keeps the matrix from being whole, the highest code
    /// first: bad input, the machine, a kernel that cannot be judged.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let codes = self.cells().map(|(_, found)| self.exit_code_of(found));
        codes.max_by_key(|code| (*code == 1, *code)).unwrap_or(0)
    }

    /// The shards of which cells are missing.
    #[must_use]
    pub fn missing_shards(&self) -> Vec<usize> {
        let shards = self.shards.unwrap_or(1);
        let missing = |shard: &usize| {
            let mut places = self.found.iter().enumerate();
            places.any(|(place, found)| found.is_none() && shard_of(place, shards) == *shard)
        };
        (1..=shards).filter(missing).collect()
    }

    /// The verdict of a cell that was judged, with the place of the cell.
    fn judged(&self) -> impl Iterator<Item = (usize, &Verdict)> {
        let found = self.found.iter().enumerate();
        found.filter_map(|(place, found)| Some((place, found.as_ref()?))).filter_map(
            |(place, found)| {
                let Found::Judged(verdict) = found else { return None };
                let judged = !matches!(self.judgement(found), Judgement::NotJudged(_));
                judged.then_some((place, &**verdict))
            },
        )
    }
}
