// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs `git bisect` on a [`History`].
//!
//! The caller records the marks. After an interruption, the caller begins a new bisection and sets the
//! recorded marks again, so that git's own state need not survive.

use crate::error::{Error, GitError};
use crate::history::History;
use crate::monitor::Monitor;

/// git's pair of terms (git-bisect(1), "Alternate terms").
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Terms {
    /// `good` and `bad`: looks for the commit that broke something.
    GoodBad,
    /// `old` and `new`: looks for the commit that fixed something.
    OldNew,
}

/// The mark of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Mark {
    /// The commit behaves like the old end.
    Old,
    /// The commit behaves like the new end.
    New,
    /// The commit cannot be judged.
    Skip,
}

impl Mark {
    /// The subcommand of `git bisect` that sets this mark.
    #[must_use]
    pub fn word(self, terms: Terms) -> &'static str {
        match (self, terms) {
            (Mark::Old, Terms::GoodBad) => "good",
            (Mark::New, Terms::GoodBad) => "bad",
            (Mark::Old, Terms::OldNew) => "old",
            (Mark::New, Terms::OldNew) => "new",
            (Mark::Skip, _) => "skip",
        }
    }
}

/// A running bisection.
#[derive(Debug)]
pub struct Bisection<'a> {
    history: &'a History<'a>,
    terms: Terms,
}

/// The next step of a bisection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Judge this commit. The number is the count of candidates left.
    Judge(String, u64),
    /// This commit is the first one that behaves like the new end.
    Found(String),
    /// The first such commit is one of these; all but the last were skipped.
    Skipped(Vec<String>),
    /// The merge base of the two ends already behaves like the new end, so the change happened on the
    /// old end's branch.
    ChangedBefore(String),
}

impl<'a> Bisection<'a> {
    /// Begins a bisection between two commits, given by their object names. Discards an earlier
    /// bisection.
    ///
    /// # Errors
    /// [`GitError`] if git fails.
    pub fn begin(
        history: &'a History<'a>,
        terms: Terms,
        old: &str,
        new: &str,
        monitor: &mut dyn Monitor,
    ) -> Result<(Bisection<'a>, Next), Error> {
        history.recreate(monitor)?;
        let mut git = history.command();
        git.args(["update-ref", "--no-deref", "HEAD", new]);
        history.run_checked("begin a bisection", git, monitor)?;
        let mut start = vec!["start"];
        if terms == Terms::OldNew {
            start.extend(["--term-old=old", "--term-new=new"]);
        }
        start.extend([new, old]);
        let bisection = Bisection { history, terms };
        let next = bisection.bisect(&start, new, monitor)?;
        Ok((bisection, next))
    }

    /// Marks a commit.
    ///
    /// # Errors
    /// As [`Bisection::begin`].
    pub fn mark(&self, commit: &str, mark: Mark, monitor: &mut dyn Monitor) -> Result<Next, Error> {
        self.bisect(&[mark.word(self.terms), commit], commit, monitor)
    }

    /// The lines of `git bisect log`, which `git bisect replay` accepts.
    ///
    /// # Errors
    /// As [`Bisection::begin`].
    pub fn log(&self, monitor: &mut dyn Monitor) -> Result<Vec<String>, Error> {
        let mut git = self.history.command();
        git.args(["bisect", "log"]);
        self.history.run_checked("read git's log of the bisection", git, monitor)
    }

    /// Runs `git bisect` with these arguments, which mark or name `commit`.
    fn bisect(
        &self,
        arguments: &[&str],
        commit: &str,
        monitor: &mut dyn Monitor,
    ) -> Result<Next, Error> {
        let mut git = self.history.command();
        git.arg("bisect").args(arguments);
        let (status, output) = self.history.run(git, monitor)?;
        if let Some(result) = self.result(&self.log(monitor)?) {
            return Ok(result);
        }
        if status.code() == Some(MERGE_BASE) {
            return Ok(Next::ChangedBefore(commit.to_owned()));
        }
        self.proposed(&output, monitor)
    }

    /// The result of the bisection, if git's log has one.
    fn result(&self, log: &[String]) -> Option<Next> {
        let commits = |mark: &str| -> Vec<String> {
            let mark = format!("# {mark}first {} commit: [", Mark::New.word(self.terms));
            let ids =
                log.iter().filter_map(|line| line.strip_prefix(mark.as_str())?.split_once(']'));
            ids.map(|(id, _)| id.to_owned()).collect()
        };
        if let Some(found) = commits("").pop() {
            return Some(Next::Found(found));
        }
        let possible = commits("possible ");
        (!possible.is_empty()).then_some(Next::Skipped(possible))
    }

    /// The commit that git proposes next, from `BISECT_HEAD`. git's exit status is of no use: git also
    /// exits with an error when it proposes the merge base (`BISECT_INTERNAL_...` in git's bisect.h).
    fn proposed(&self, output: &[String], monitor: &mut dyn Monitor) -> Result<Next, Error> {
        let history = self.history;
        let mut git = history.command();
        git.args(["rev-parse", "--verify", "--quiet", "BISECT_HEAD"]);
        let (_, proposed) = history.run(git, monitor)?;
        let Some(commit) = proposed.first() else {
            return Err(GitError::CannotBisect { output: output.join("; ") }.into());
        };
        let mut git = history.command();
        git.args([
            "rev-list",
            "--count",
            &format!("refs/bisect/{}", Mark::New.word(self.terms)),
            "--not",
        ]);
        git.arg(format!("--glob=refs/bisect/{}-*", Mark::Old.word(self.terms)));
        let left = history.run_checked("count the commits that are left", git, monitor)?;
        let left = left.first().and_then(|count| count.parse().ok()).unwrap_or_default();
        Ok(Next::Judge(commit.clone(), left))
    }
}

/// `BISECT_MERGE_BASE_BAD` of git's bisect.h, as an exit status.
const MERGE_BASE: i32 = 3;

#[cfg(test)]
mod tests;
