// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Decides the overall result of a verdict, and its exit code.

use crate::verdict::{CaseReport, Coverage, Outcome, Verdict};

/// Id of the case that checks whether the kernel boots and its init reaches the host.
pub const BOOT_CASE: &str = "boot/reaches-init";

/// The overall result of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Every selected case ended as expected.
    AsExpected,
    /// The number of cases that failed, crashed or hung.
    Broken(usize),
    /// With `--strict`, if no promise is broken: the number of cases that are `fixed` or `unmet`.
    NotAsExpected(usize),
    /// The kernel cannot be judged, with the reason in one sentence.
    NotJudged(String),
}

impl Judgement {
    /// The judgement on a verdict.
    #[must_use]
    pub fn from_verdict(verdict: &Verdict) -> Judgement {
        let boot = verdict.cases.iter().find(|case| case.id == BOOT_CASE);
        let boot_failure = boot.filter(|case| case.outcome.is_failure());
        match (&verdict.unjudged_reason, boot_failure) {
            // If booting was selected, a failure to boot is a broken promise like any other.
            (_, Some(_)) if verdict.boot_selected => {}
            (Some(reason), _) => return Judgement::NotJudged(reason.clone()),
            (None, Some(case)) => {
                return Judgement::NotJudged(format!("this kernel does not boot: {}", case.detail));
            }
            (None, None) if verdict.cases.is_empty() => {
                return Judgement::NotJudged("no case was run".into());
            }
            (None, None) => {}
        }
        let coverage = verdict.coverage();
        if coverage.tested_except_known + coverage.known == 0 {
            return Judgement::NotJudged(format!("no case could be tested: {coverage}"));
        }
        let totals = verdict.totals();
        let broken = totals.count_where(Outcome::is_failure);
        let not_as_expected = totals.count_of(Outcome::Fixed) + totals.count_of(Outcome::Unmet);
        match (broken, not_as_expected) {
            (0, count) if verdict.strict && count > 0 => Judgement::NotAsExpected(count),
            (0, _) => Judgement::AsExpected,
            (count, _) => Judgement::Broken(count),
        }
    }

    /// Exit code of `sudbox run`, in the convention of `git bisect run`: 0 is good, 1 bad, 125 skip. The
    /// harness exits with 128 or more after an error without a verdict.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Judgement::AsExpected => 0,
            Judgement::Broken(_) | Judgement::NotAsExpected(_) => 1,
            Judgement::NotJudged(_) => 125,
        }
    }

    /// The phrase for `AsExpected`. It claims that every promise is kept only if every promise that the
    /// kernel offers was tested.
    #[must_use]
    pub(crate) fn success_phrase(coverage: &Coverage) -> String {
        match (coverage.is_complete(), coverage.known) {
            (false, _) => "kept where tested".to_owned(),
            (true, 0) => "every promise kept".to_owned(),
            (true, 1) => "every promise kept but for 1 known bug".to_owned(),
            (true, known) => format!("every promise kept but for {known} known bugs"),
        }
    }

    /// The name of the judgement in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Judgement::AsExpected => "kept",
            Judgement::Broken(_) => "broken",
            Judgement::NotAsExpected(_) => "surprised",
            Judgement::NotJudged(_) => "not-judged",
        }
    }

    /// The reason of `NotJudged`.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Judgement::NotJudged(reason) => Some(reason),
            _ => None,
        }
    }
}

/// Whether `case` is a failed boot case that was not selected. Such a case is the reason why the kernel
/// cannot be judged, and not a broken promise.
pub(crate) fn is_unselected_boot_failure(case: &CaseReport, verdict: &Verdict) -> bool {
    !verdict.boot_selected && case.id == BOOT_CASE && case.outcome.is_failure()
}

#[cfg(test)]
mod tests;
