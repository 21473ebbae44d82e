// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The walks that a campaign keeps, because they reached code of the kernel that no walk had reached before.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::Range;
use sudbox_guest_init::walk;
use sudbox_images::InstrumentedFile;
use sudbox_report::campaign::{Coverage, FileCoverage};

/// The kept walks, and the code that they reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Corpus {
    /// The ids of the walks, in the order in which they were kept.
    kept: Vec<String>,
    /// The addresses of the reached code.
    reached: BTreeSet<u64>,
    /// The kept walks that are still to be replayed in this run.
    #[serde(skip)]
    to_replay: Vec<String>,
    /// Number of replays in all runs.
    replays: u64,
}

impl Corpus {
    /// Adds the code that a walk reached. Keeps the walk if some of it was never reached before.
    pub(super) fn add(&mut self, id: &str, code: BTreeSet<u64>) {
        let before = self.reached.len();
        self.reached.extend(code);
        if self.reached.len() > before {
            self.kept.push(id.to_owned());
        }
    }

    /// Makes all kept walks due for a replay.
    pub(super) fn begin_replay(&mut self) {
        self.to_replay.clone_from(&self.kept);
    }

    /// Takes at most this many of the walks that are due for a replay, those kept first before others.
    pub(super) fn take_replays(&mut self, limit: usize) -> Vec<String> {
        let taken: Vec<String> = self.to_replay.drain(..limit.min(self.to_replay.len())).collect();
        self.replays += taken.len() as u64;
        taken
    }

    /// The walks of a batch with these seeds. Once walks are kept, every second seed changes one of them.
    pub(super) fn walks(&self, seeds: Range<u64>) -> Vec<String> {
        let new = |seed: u64| walk::case(seed).id.to_owned();
        let walk = |(index, seed): (usize, u64)| match self.parent(seed) {
            Some(parent) if index % 2 == 1 => walk::changed_id(parent, seed),
            _ => new(seed),
        };
        seeds.enumerate().map(walk).collect()
    }

    /// The kept walk that this seed changes. Seeds that follow one another change unrelated walks.
    fn parent(&self, seed: u64) -> Option<&str> {
        let spread = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let index = usize::try_from(spread).unwrap_or(0).checked_rem(self.kept.len())?;
        self.kept.get(index).map(String::as_str)
    }

    /// The reached code of a kernel with these files.
    pub(super) fn coverage(&self, files: &[InstrumentedFile]) -> Coverage {
        let reached = |code: &Range<u64>| self.reached.range(code.clone()).count() as u64;
        let file = |file: &InstrumentedFile| FileCoverage {
            file: file.path.clone(),
            reached: file.code.iter().map(reached).sum(),
            blocks: file.blocks,
        };
        let is_changed = |id: &&String| id.contains(walk::SEPARATOR);
        Coverage {
            kept: self.kept.len() as u64,
            kept_changes: self.kept.iter().filter(is_changed).count() as u64,
            replays: self.replays,
            files: files.iter().map(file).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus() -> Corpus {
        let mut corpus = Corpus::default();
        corpus.add("walk/1", BTreeSet::from([10, 20]));
        corpus.add("walk/2", BTreeSet::from([10]));
        corpus.add("walk/1+7", BTreeSet::from([20, 30]));
        corpus
    }

    #[test]
    fn a_walk_is_kept_if_it_reached_new_code() {
        assert_eq!(corpus().kept, ["walk/1", "walk/1+7"]);
    }

    #[test]
    fn the_corpus_is_replayed_once_a_run_even_after_a_kill() {
        let text = serde_json::to_vec(&corpus()).expect("JSON");
        for _ in 0..2 {
            let mut corpus: Corpus = serde_json::from_slice(&text).expect("a corpus");
            corpus.begin_replay();
            assert_eq!(corpus.take_replays(1), ["walk/1"]);
            assert_eq!(corpus.take_replays(5), ["walk/1+7"]);
            assert!(corpus.take_replays(5).is_empty());
            assert_eq!(corpus.coverage(&[]).replays, 2);
        }
    }

    #[test]
    fn every_second_walk_of_a_batch_changes_a_kept_one() {
        assert_eq!(Corpus::default().walks(5..8), ["walk/5", "walk/6", "walk/7"]);
        let walks = corpus().walks(0..200);
        let (new, changed): (Vec<_>, Vec<_>) =
            walks.iter().enumerate().partition(|(i, _)| i % 2 == 0);
        assert!(new.iter().all(|(seed, id)| **id == format!("walk/{seed}")), "{new:?}");
        for parent in ["walk/1", "walk/1+7"] {
            let children =
                changed.iter().filter(|(seed, id)| **id == format!("{parent}+{seed}")).count();
            assert!((20..80).contains(&children), "{children} of 100 change {parent}");
        }
    }

    #[test]
    fn reached_code_is_counted_by_file() {
        let file = |path: &str, code| InstrumentedFile { path: path.into(), blocks: 9, code };
        let files = [file("a.c", vec![0..11, 30..31]), file("b.c", vec![11..15, 15..30])];
        let coverage = corpus().coverage(&files);
        let counts: Vec<u64> = coverage.files.iter().map(|file| file.reached).collect();
        assert_eq!(counts, [2, 1]);
        assert_eq!((coverage.kept, coverage.kept_changes), (2, 1));
    }
}
