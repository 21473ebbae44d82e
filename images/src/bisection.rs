// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs `git bisect` on a [`History`].
//!
//! The state of git is not relied on: the caller records the marks, and after an interruption
//! replays them into a new bisection.

use crate::error::{Error, GitError};
use crate::history::History;
use crate::monitor::Monitor;

/// git's terms for the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Terms {
    /// The commit that broke something.
    GoodBad,
    /// The commit that changed something, for the better.
    OldNew,
}

/// The judgement of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Mark {
    /// As the old end.
    Old,
    /// As the new end.
    New,
    /// It cannot be judged.
    Skip,
}

impl Mark {
    /// git's term for it.
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

/// A bisection that is going on.
#[derive(Debug)]
pub struct Bisection<'a> {
    history: &'a History<'a>,
    terms: Terms,
}

/// The next step of a bisection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This commit is to be judged; the number is that of the commits that are left.
    Judge(String, u64),
    /// This is the first commit with what the new end has.
    Found(String),
    /// The first commit is one of these; all but the last one were skipped.
    Skipped(Vec<String>),
    /// The ends' common ancestor already has what the new end has: it was changed on the old
    /// end's side.
    ChangedBefore(String),
}

impl<'a> Bisection<'a> {
    /// Begins between two commits, named by their object names. A former bisection is dropped.
    ///
    /// # Errors
    /// [`GitError`] if git cannot.
    pub fn begin(
        history: &'a History<'a>,
        terms: Terms,
        old: &str,
        new: &str,
        monitor: &mut dyn Monitor,
    ) -> Result<(Bisection<'a>, Next), Error> {
        history.begin(monitor)?;
        let mut git = history.command();
        git.args(["update-ref", "--no-deref", "HEAD", new]);
        history.done("begin a bisection", git, monitor)?;
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

    /// The log of the bisection, as `git bisect replay` takes it.
    ///
    /// # Errors
    /// As [`Bisection::begin`].
    pub fn log(&self, monitor: &mut dyn Monitor) -> Result<Vec<String>, Error> {
        let mut git = self.history.command();
        git.args(["bisect", "log"]);
        self.history.done("read git's log of the bisection", git, monitor)
    }

    /// Runs `git bisect` with these arguments, which are about this commit.
    fn bisect(
        &self,
        arguments: &[&str],
        commit: &str,
        monitor: &mut dyn Monitor,
    ) -> Result<Next, Error> {
        let mut git = self.history.command();
        git.arg("bisect").args(arguments);
        let (status, said) = self.history.run(git, monitor)?;
        if let Some(end) = self.end(&self.log(monitor)?) {
            return Ok(end);
        }
        if status.code() == Some(MERGE_BASE) {
            return Ok(Next::ChangedBefore(commit.to_owned()));
        }
        self.proposed(&said, monitor)
    }

    /// The end of the bisection, if git's log has one.
    fn end(&self, log: &[String]) -> Option<Next> {
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

    /// The commit that git proposes next. Its exit status does not tell: it is an error also when
    /// git proposes the ends' common ancestor (`BISECT_INTERNAL_...` in git's bisect.h).
    fn proposed(&self, said: &[String], monitor: &mut dyn Monitor) -> Result<Next, Error> {
        let history = self.history;
        let mut git = history.command();
        git.args(["rev-parse", "--verify", "--quiet", "BISECT_HEAD"]);
        let (_, proposed) = history.run(git, monitor)?;
        let Some(commit) = proposed.first() else {
            return Err(GitError::CannotBisect { said: said.join("; ") }.into());
        };
        let mut git = history.command();
        git.args([
            "rev-list",
            "--count",
            &format!("refs/bisect/{}", Mark::New.word(self.terms)),
            "--not",
        ]);
        git.arg(format!("--glob=refs/bisect/{}-*", Mark::Old.word(self.terms)));
        let left = history.done("count the commits that are left", git, monitor)?;
        let left = left.first().and_then(|count| count.parse().ok()).unwrap_or_default();
        Ok(Next::Judge(commit.clone(), left))
    }
}

/// `BISECT_MERGE_BASE_BAD` of git's bisect.h, as an exit status.
const MERGE_BASE: i32 = 3;

#[cfg(test)]
mod tests;
