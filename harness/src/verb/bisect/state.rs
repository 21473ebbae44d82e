// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state of a bisection. sudbox saves the state after every step, so that `--resume` works
//! after a kill or a reboot. Some fields have another name in the file: the name that older
//! versions of sudbox gave them.

use super::differences::{BisectedCases, RunOutcomes};
use super::slowdown::MilliInstructions;
use crate::cli::{BisectArgs, UserOptions};
use crate::failure::Failure;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use sudbox_images::{Cache, Commit, Mark, Owner};

/// A commit and the results of its runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JudgedCommit {
    pub(super) commit: Commit,
    /// The outcomes of each run. A commit is run again if its first run was doubtful.
    pub(super) runs: Vec<RunOutcomes>,
    /// Name of the folder of each run, within the folder of the bisection.
    pub(super) folders: Vec<String>,
    pub(super) times: StepTimes,
}

/// Times of the parts of a step, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StepTimes {
    /// Time of make.
    #[serde(rename = "make")]
    pub(super) make_millis: u64,
    /// Time of the VMs, from the start of the first to the last outcome.
    #[serde(rename = "vm")]
    pub(super) vm_millis: u64,
    /// Time of the whole step.
    #[serde(rename = "all")]
    pub(super) total_millis: u64,
}

impl StepTimes {
    /// Time for everything but make and VMs, in milliseconds: git, checkout, storing the image,
    /// reports.
    pub(super) fn other_millis(self) -> u64 {
        self.total_millis.saturating_sub(self.make_millis + self.vm_millis)
    }

    pub(super) fn add(&mut self, other: StepTimes) {
        self.make_millis += other.make_millis;
        self.vm_millis += other.vm_millis;
        self.total_millis += other.total_millis;
    }
}

/// A bisection, finished or not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BisectionState {
    /// The arguments of the command line, with absolute paths.
    pub(super) args: BisectArgs,
    /// The options that were given on the command line or by make, with absolute paths.
    #[serde(rename = "given")]
    pub(super) user_options: UserOptions,
    /// The commit of the good end when the bisection began. A branch may have moved since.
    pub(super) good: Commit,
    /// The commit of the bad end when the bisection began.
    pub(super) bad: Commit,
    /// Whether the good end is the newer end.
    pub(super) good_is_new: bool,
    /// The results of the ends that are judged: the good end, then the bad end.
    pub(super) ends: Vec<JudgedCommit>,
    /// The bisected cases; `None` until both ends are judged.
    #[serde(rename = "sought")]
    pub(super) bisected: Option<BisectedCases>,
    /// The judged commits between the ends with their marks, in the order of judging.
    pub(super) steps: Vec<(JudgedCommit, Mark)>,
    /// Whether the bisection has ended.
    #[serde(rename = "over")]
    pub(super) finished: bool,
}

impl BisectionState {
    /// The older end and the newer end.
    pub(super) fn old_and_new_end(&self) -> (&Commit, &Commit) {
        if self.good_is_new { (&self.bad, &self.good) } else { (&self.good, &self.bad) }
    }

    /// The cost of the benchmark with this case id at the good end; `None` until that end is
    /// judged.
    pub(super) fn cost_at_good_end(&self, id: &str) -> Option<MilliInstructions> {
        self.ends.first()?.runs.first()?.case(id)?.cost
    }
}

/// The folder in the cache with the bisection of one git history. Each history has at most one.
#[derive(Clone, Debug)]
pub(super) struct BisectionStore {
    path: PathBuf,
    owner: Owner,
}

impl BisectionStore {
    /// The store for this history. Its folder may not exist yet.
    pub(super) fn for_history(cache: &Cache, history: &str) -> BisectionStore {
        let path = cache.root().join("bisections").join(history);
        BisectionStore { path, owner: cache.owner_of("bisections") }
    }

    /// The state of the most recent unfinished bisection; if all have ended, of the most recent
    /// bisection.
    ///
    /// # Errors
    /// If no bisection was saved.
    pub(super) fn last_state(cache: &Cache) -> anyhow::Result<BisectionState> {
        let entries = fs::read_dir(cache.root().join("bisections")).into_iter().flatten().flatten();
        let states = entries.filter_map(|entry| {
            let store = BisectionStore { path: entry.path(), owner: Owner::default() };
            let modified =
                fs::metadata(store.state_file()).and_then(|metadata| metadata.modified()).ok()?;
            let state = store.read().ok()?;
            Some((!state.finished, modified, state))
        });
        let last_state = states.max_by_key(|(unfinished, modified, _)| (*unfinished, *modified));
        last_state.map(|(.., state)| state).ok_or_else(no_saved_bisection)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    fn state_file(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// Removes the folder with the files of an earlier bisection, and makes an empty folder.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        // The state is removed first, so that a partly removed bisection cannot be resumed.
        for removal in [fs::remove_file(self.state_file()), fs::remove_dir_all(&self.path)] {
            match removal {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove {}", self.path.display()));
                }
                _ => {}
            }
        }
        let _impersonation = self.owner.impersonate();
        fs::create_dir_all(&self.path)
            .with_context(|| format!("cannot make {}", self.path.display()))
    }

    pub(super) fn read(&self) -> anyhow::Result<BisectionState> {
        let path = self.state_file();
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(no_saved_bisection());
            }
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        serde_json::from_slice(&text).map_err(|error| {
            Failure::usage(format!(
                "{} was written by another version of sudbox ({error}): start a new one with --good and --bad",
                path.display()
            ))
        })
    }

    /// Saves the state atomically and durably.
    pub(super) fn write(&self, state: &BisectionState) -> anyhow::Result<()> {
        self.write_file("state.json", &serde_json::to_string_pretty(state)?).map(|_| ())
    }

    /// Writes a file of the folder atomically, and syncs it. Returns its path.
    pub(super) fn write_file(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        let _impersonation = self.owner.impersonate();
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            fs::File::open(&self.path)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

fn no_saved_bisection() -> anyhow::Error {
    Failure::usage("no bisection to resume: start one with --good and --bad")
}
