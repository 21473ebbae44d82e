// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is known of a bisection, written down after every step, so that it goes on after a kill or a
//! reboot.

use super::slower::Figure;
use super::sought::{Seen, Sought};
use crate::cli::{BisectArgs, Given};
use crate::failure::Failure;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use sudbox_images::{Cache, Commit, Mark, Owner};

/// A commit that was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trial {
    pub(super) commit: Commit,
    /// The result of each run; more than one where the first was doubtful.
    pub(super) runs: Vec<Seen>,
    /// The folder of each run, in that of the bisection.
    pub(super) folders: Vec<String>,
    pub(super) times: Times,
}

/// Times of the parts of a step, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Times {
    /// make.
    pub(super) make: u64,
    /// VMs, from their start to the last outcome.
    pub(super) vm: u64,
    /// The whole step.
    pub(super) all: u64,
}

impl Times {
    /// Time for all but make and VM: checkout, git, storing the image, reports.
    pub(super) fn rest(self) -> u64 {
        self.all.saturating_sub(self.make + self.vm)
    }

    pub(super) fn add(&mut self, other: Times) {
        self.make += other.make;
        self.vm += other.vm;
        self.all += other.all;
    }
}

/// A bisection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    /// As typed.
    pub(super) args: BisectArgs,
    /// The options that were given, with absolute paths.
    pub(super) given: Given,
    /// The ends, as they were when it began.
    pub(super) good: Commit,
    pub(super) bad: Commit,
    /// Whether the good end is the newer one.
    pub(super) good_is_new: bool,
    /// The ends, judged: good, bad.
    pub(super) ends: Vec<Trial>,
    /// Known once both ends are judged.
    pub(super) sought: Option<Sought>,
    /// In their order, with what each commit is.
    pub(super) steps: Vec<(Trial, Mark)>,
    /// It is over.
    pub(super) over: bool,
}

impl State {
    /// The commit that is older, and the other.
    pub(super) fn old_new(&self) -> (&Commit, &Commit) {
        if self.good_is_new { (&self.bad, &self.good) } else { (&self.good, &self.bad) }
    }

    /// The cost of this benchmark at the good end, once that is judged.
    pub(super) fn figure_of_good(&self, id: &str) -> Option<Figure> {
        self.ends.first()?.runs.first()?.of(id)?.figure
    }
}

/// The folder of the bisections of one history, of which there is one at a time.
#[derive(Clone, Debug)]
pub(super) struct Store {
    path: PathBuf,
    owner: Owner,
}

impl Store {
    /// The one of this history.
    pub(super) fn of(cache: &Cache, history: &str) -> Store {
        let path = cache.root().join("bisections").join(history);
        Store { path, owner: cache.owner_of("bisections") }
    }

    /// The one that goes on if nothing else is said: the last that is not over, else the last.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn last(cache: &Cache) -> anyhow::Result<State> {
        let entries = fs::read_dir(cache.root().join("bisections")).into_iter().flatten().flatten();
        let states = entries.filter_map(|entry| {
            let store = Store { path: entry.path(), owner: Owner::default() };
            let written = fs::metadata(store.file()).and_then(|meta| meta.modified()).ok()?;
            let state = store.read().ok()?;
            Some((!state.over, written, state))
        });
        let last = states.max_by_key(|(open, written, _)| (*open, *written));
        last.map(|(.., state)| state).ok_or_else(nothing)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    fn file(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// Begins anew; what was there goes.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        // The state first: without it the rest is nothing to go on with.
        for gone in [fs::remove_file(self.file()), fs::remove_dir_all(&self.path)] {
            match gone {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove {}", self.path.display()));
                }
                _ => {}
            }
        }
        let _acting = self.owner.impersonate();
        fs::create_dir_all(&self.path)
            .with_context(|| format!("cannot make {}", self.path.display()))
    }

    pub(super) fn read(&self) -> anyhow::Result<State> {
        let path = self.file();
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(nothing()),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        serde_json::from_slice(&text).map_err(|error| {
            Failure::usage(format!(
                "{} is not of this version of sudbox ({error}); begin the bisection again",
                path.display()
            ))
        })
    }

    /// Writes the state in one step that outlasts a loss of power.
    pub(super) fn write(&self, state: &State) -> anyhow::Result<()> {
        self.keep("state.json", &serde_json::to_string_pretty(state)?).map(|_| ())
    }

    /// Writes a file in one step.
    pub(super) fn keep(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        let _acting = self.owner.impersonate();
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

fn nothing() -> anyhow::Error {
    Failure::usage("there is no bisection to go on with: begin one with --good and --bad")
}
