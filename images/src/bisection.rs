// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs `git bisect` on a [`History`].
//!
//! The caller records the marks. After an interruption, the caller begins a new bisection and sets
//! the recorded marks again, so a bisection does not depend on the state that git keeps.

use crate::error::{Error, GitError};
use crate::history::History;
use crate::monitor::Monitor;

/// git's pair of terms (git-bisect(1), "Alternate terms").
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum BisectionTerms {
    /// `good` and `bad`: looks for the commit that broke something.
    GoodBad,
    /// `old` and `new`: looks for the commit that fixed something.
    OldNew,
}

/// The mark of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Mark {
    /// The commit behaves like the old end of the range.
    Old,
    /// The commit behaves like the new end of the range.
    New,
    /// The commit cannot be judged.
    Skip,
}

impl Mark {
    /// The subcommand of `git bisect` that sets this mark.
    #[must_use]
    pub fn subcommand(self, terms: BisectionTerms) -> &'static str {
        match (self, terms) {
            (Mark::Old, BisectionTerms::GoodBad) => "good",
            (Mark::New, BisectionTerms::GoodBad) => "bad",
            (Mark::Old, BisectionTerms::OldNew) => "old",
            (Mark::New, BisectionTerms::OldNew) => "new",
            (Mark::Skip, _) => "skip",
        }
    }
}

/// A running bisection.
#[derive(Debug)]
pub struct Bisection<'a> {
    history: &'a History<'a>,
    terms: BisectionTerms,
}

/// The next step of a bisection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Judge this commit. The number is that of the remaining candidates for the first commit that
    /// behaves like the new end.
    Judge(String, u64),
    /// This commit is the first commit that behaves like the new end.
    Found(String),
    /// The first commit that behaves like the new end is one of these commits. All but the last
    /// were skipped.
    Skipped(Vec<String>),
    /// This merge base of the two ends behaves like the new end, so the change happened on the
    /// branch of the old end.
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
        terms: BisectionTerms,
        old: &str,
        new: &str,
        monitor: &mut dyn Monitor,
    ) -> Result<(Bisection<'a>, NextStep), Error> {
        history.recreate(monitor)?;
        let mut git = history.command();
        git.args(["update-ref", "--no-deref", "HEAD", new]);
        history.run_checked("begin a bisection", git, monitor)?;
        let mut start = vec!["start"];
        if terms == BisectionTerms::OldNew {
            start.extend(["--term-old=old", "--term-new=new"]);
        }
        start.extend([new, old]);
        let bisection = Bisection { history, terms };
        let next_step = bisection.bisect(&start, new, monitor)?;
        Ok((bisection, next_step))
    }

    /// Marks a commit.
    ///
    /// # Errors
    /// As [`Bisection::begin`].
    pub fn mark(
        &self,
        commit: &str,
        mark: Mark,
        monitor: &mut dyn Monitor,
    ) -> Result<NextStep, Error> {
        self.bisect(&[mark.subcommand(self.terms), commit], commit, monitor)
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
    ) -> Result<NextStep, Error> {
        let mut git = self.history.command();
        git.arg("bisect").args(arguments);
        let (status, output) = self.history.run(git, monitor)?;
        if let Some(result) = self.found_result(&self.log(monitor)?) {
            return Ok(result);
        }
        if status.code() == Some(MERGE_BASE_IS_NEW_STATUS) {
            return Ok(NextStep::ChangedBefore(commit.to_owned()));
        }
        self.proposed_commit(&output, monitor)
    }

    /// The result of the bisection, if git's log has one.
    fn found_result(&self, log: &[String]) -> Option<NextStep> {
        // Commits of the log's lines `# first bad commit: [ID]` or `# possible first bad commit: [ID]`.
        let commits_after = |word: &str| -> Vec<String> {
            let prefix = format!("# {word}first {} commit: [", Mark::New.subcommand(self.terms));
            let ids =
                log.iter().filter_map(|line| line.strip_prefix(prefix.as_str())?.split_once(']'));
            ids.map(|(id, _)| id.to_owned()).collect()
        };
        if let Some(first_commit) = commits_after("").pop() {
            return Some(NextStep::Found(first_commit));
        }
        let candidates = commits_after("possible ");
        (!candidates.is_empty()).then_some(NextStep::Skipped(candidates))
    }

    /// The commit that git proposes next, from `BISECT_HEAD`. The exit status of git is no help: git
    /// exits with an error when it proposes the merge base (`BISECT_INTERNAL_...` in git's
    /// bisect.h).
    fn proposed_commit(
        &self,
        output: &[String],
        monitor: &mut dyn Monitor,
    ) -> Result<NextStep, Error> {
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
            &format!("refs/bisect/{}", Mark::New.subcommand(self.terms)),
            "--not",
        ]);
        git.arg(format!("--glob=refs/bisect/{}-*", Mark::Old.subcommand(self.terms)));
        let output = history.run_checked("count the remaining commits", git, monitor)?;
        let commits_left = output.first().and_then(|count| count.parse().ok()).unwrap_or_default();
        Ok(NextStep::Judge(commit.clone(), commits_left))
    }
}

/// Exit status of `git bisect` if the merge base behaves like the new end: `BISECT_MERGE_BASE_BAD`
/// of git's bisect.h.
const MERGE_BASE_IS_NEW_STATUS: i32 = 3;

#[cfg(test)]
mod tests;
