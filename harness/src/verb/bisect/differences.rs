// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The cases whose outcomes differ between the ends of a bisection, and the mark that these cases
//! give to a commit.

use super::slowdown::MilliInstructions;
use crate::selection::BOOT_CASE;
use serde::{Deserialize, Serialize};
use sudbox_images::{BisectionTerms, Mark};
use sudbox_report::Outcome;

/// Id that stands for the build. The build is bisected like a case if only one end builds.
pub(super) const BUILD_ID: &str = "build";

/// The outcome of one case, of booting or of building.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CaseOutcome {
    /// Id of a case, or [`BUILD_ID`].
    pub(super) id: String,
    pub(super) outcome: Outcome,
    /// The observed behaviour, if it is not the promised one.
    #[serde(rename = "got")]
    pub(super) actual: String,
    /// The cost of the benchmark in thousandths of an instruction, if a slowdown is bisected.
    #[serde(rename = "figure")]
    pub(super) cost: Option<MilliInstructions>,
}

/// The outcomes of one run of a commit. Cases that did not run are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunOutcomes {
    /// The outcomes, in the order of the case table.
    #[serde(rename = "shown")]
    pub(super) cases: Vec<CaseOutcome>,
    /// The reason why the kernel could not be judged.
    pub(super) unjudged: Option<String>,
}

impl RunOutcomes {
    pub(super) fn case(&self, id: &str) -> Option<&CaseOutcome> {
        self.cases.iter().find(|case| case.id == id)
    }

    fn outcome(&self, id: &str) -> Option<Outcome> {
        self.case(id).map(|case| case.outcome)
    }
}

/// A case whose outcome differs between the ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutcomeDifference {
    pub(super) id: String,
    /// The outcome at the old end.
    #[serde(rename = "old")]
    pub(super) old_outcome: Outcome,
    /// The outcome at the new end.
    #[serde(rename = "new")]
    pub(super) new_outcome: Outcome,
}

/// The cases that are bisected, and the direction of their change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BisectedCases {
    /// The cases, in the order of the case table; at least one.
    pub(super) differences: Vec<OutcomeDifference>,
    pub(super) terms: BisectionTerms,
}

impl BisectedCases {
    /// Compares the old with the new end. If some cases became worse and others better, only the
    /// cases that are worse at the bad end are bisected; the second value has the other
    /// differences. `bad_is_new` tells whether the bad end is the new end. `None` if no outcome
    /// differs.
    pub(super) fn between(
        old: &RunOutcomes,
        new: &RunOutcomes,
        bad_is_new: bool,
    ) -> Option<(BisectedCases, Vec<OutcomeDifference>)> {
        let differences = old.cases.iter().filter_map(|case| {
            let (id, old, new) = (case.id.clone(), case.outcome, new.outcome(&case.id)?);
            (old != new).then_some(OutcomeDifference { id, old_outcome: old, new_outcome: new })
        });
        // `Outcome` orders from the worst to the best.
        let (worse, better): (Vec<_>, Vec<_>) =
            differences.partition(|difference| difference.new_outcome < difference.old_outcome);
        let (terms, differences, other_differences) =
            match (bad_is_new, worse.is_empty(), better.is_empty()) {
                (_, true, true) => return None,
                (true, false, _) | (false, _, true) => (BisectionTerms::GoodBad, worse, better),
                (true, true, _) | (false, _, false) => (BisectionTerms::OldNew, better, worse),
            };
        Some((BisectedCases { differences, terms }, other_differences))
    }

    /// Removes the cases whose outcome in a repeated run of an end differs from the first run, and
    /// returns their ids. `is_new` tells whether the new end was run.
    pub(super) fn remove_unstable(&mut self, run: &RunOutcomes, is_new: bool) -> Vec<String> {
        let is_stable = |difference: &OutcomeDifference| {
            run.outcome(&difference.id)
                == Some(if is_new { difference.new_outcome } else { difference.old_outcome })
        };
        let (stable, unstable) =
            std::mem::take(&mut self.differences).into_iter().partition(is_stable);
        self.differences = stable;
        unstable.into_iter().map(|difference: OutcomeDifference| difference.id).collect()
    }

    /// The mark of a commit by one run: new if at least one bisected case has the new end's
    /// outcome, old if all have the old end's, else skip.
    fn mark_of_run(&self, run: &RunOutcomes) -> Mark {
        let has_outcome =
            |difference: &OutcomeDifference, outcome| run.outcome(&difference.id) == Some(outcome);
        if self.differences.iter().any(|difference| has_outcome(difference, difference.new_outcome))
        {
            Mark::New
        } else if self
            .differences
            .iter()
            .all(|difference| has_outcome(difference, difference.old_outcome))
        {
            Mark::Old
        } else {
            Mark::Skip
        }
    }

    /// Whether a repeated run might give a different mark: a bisected case has the outcome of
    /// neither end, or crashed or hung the kernel.
    pub(super) fn is_doubtful(&self, run: &RunOutcomes) -> bool {
        self.differences.iter().any(|difference| {
            run.outcome(&difference.id).is_some_and(|outcome| {
                matches!(outcome, Outcome::Crash | Outcome::Hang)
                    || (difference.id == BOOT_CASE && outcome.is_failure())
                    || ![difference.old_outcome, difference.new_outcome].contains(&outcome)
            })
        })
    }

    /// The mark of a commit by all of its runs: skip if the marks of the runs disagree.
    pub(super) fn mark(&self, runs: &[RunOutcomes]) -> Mark {
        let mut marks =
            runs.iter().map(|run| self.mark_of_run(run)).filter(|mark| *mark != Mark::Skip);
        match marks.next() {
            Some(first) if marks.all(|mark| mark == first) => first,
            _ => Mark::Skip,
        }
    }

    /// The first bisected case with the new end's outcome, and the index of the run that showed it.
    pub(super) fn first_new_outcome<'a>(
        &self,
        runs: &'a [RunOutcomes],
    ) -> Option<(usize, &'a CaseOutcome)> {
        self.differences.iter().find_map(|difference| {
            runs.iter().enumerate().find_map(|(index, run)| {
                let case = run
                    .case(&difference.id)
                    .filter(|case| case.outcome == difference.new_outcome)?;
                Some((index, case))
            })
        })
    }

    /// Whether only the build is bisected.
    pub(super) fn is_build_only(&self) -> bool {
        self.differences.iter().all(|difference| difference.id == BUILD_ID)
    }

    /// The ids of the cases, separated by spaces, for `--cases`.
    pub(super) fn case_ids(&self) -> String {
        let ids: Vec<&str> =
            self.differences.iter().map(|difference| difference.id.as_str()).collect();
        ids.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Absent, Crash, Fail, Hang, Known, Pass};

    fn seen(shown: &[(&str, Outcome)]) -> RunOutcomes {
        let shown = shown.iter().map(|(id, outcome)| CaseOutcome {
            id: (*id).to_owned(),
            outcome: *outcome,
            actual: String::new(),
            cost: None,
        });
        RunOutcomes { cases: shown.collect(), unjudged: None }
    }

    fn between(
        old: &RunOutcomes,
        new: &RunOutcomes,
        bad_is_new: bool,
    ) -> (BisectedCases, Vec<String>) {
        let (bisected, opposite) = BisectedCases::between(old, new, bad_is_new).unwrap();
        (bisected, opposite.into_iter().map(|difference| difference.id).collect())
    }

    #[test]
    fn differences_are_bisected_in_the_direction_of_the_ends() {
        let fine = seen(&[
            (BUILD_ID, Pass),
            (BOOT_CASE, Pass),
            ("a/x", Pass),
            ("a/y", Pass),
            ("a/z", Fail),
        ]);
        let broken = seen(&[
            (BUILD_ID, Pass),
            (BOOT_CASE, Pass),
            ("a/x", Fail),
            ("a/y", Known),
            ("a/z", Fail),
        ]);
        for (old, new, bad_is_new, terms) in [
            (&fine, &broken, true, BisectionTerms::GoodBad),
            (&broken, &fine, true, BisectionTerms::OldNew),
            (&broken, &fine, false, BisectionTerms::OldNew),
            (&fine, &broken, false, BisectionTerms::GoodBad),
        ] {
            let (bisected, opposite) = between(old, new, bad_is_new);
            assert_eq!((bisected.terms, bisected.case_ids().as_str()), (terms, "a/x a/y"));
            assert!(opposite.is_empty());
        }
        assert_eq!(BisectedCases::between(&fine, &fine, true), None);
    }

    #[test]
    fn if_cases_changed_in_both_directions_the_bad_end_decides() {
        let one = seen(&[("a/x", Pass), ("a/y", Absent)]);
        let other = seen(&[("a/x", Fail), ("a/y", Pass)]);
        let (bisected, opposite) = between(&one, &other, true);
        assert_eq!(
            (bisected.terms, bisected.case_ids(), opposite),
            (BisectionTerms::GoodBad, "a/x".into(), vec!["a/y".into()])
        );
        let (bisected, opposite) = between(&one, &other, false);
        assert_eq!(
            (bisected.terms, bisected.case_ids(), opposite),
            (BisectionTerms::OldNew, "a/y".into(), vec!["a/x".into()])
        );
    }

    #[test]
    fn a_case_that_ran_at_one_end_only_is_not_bisected() {
        let runs = seen(&[(BUILD_ID, Pass), (BOOT_CASE, Pass), ("a/x", Pass)]);
        let (bisected, _) = between(&runs, &seen(&[(BUILD_ID, Pass), (BOOT_CASE, Fail)]), true);
        assert_eq!(bisected.case_ids(), BOOT_CASE);
        let (bisected, _) = between(&runs, &seen(&[(BUILD_ID, Fail)]), true);
        assert!(bisected.is_build_only());
        assert_eq!(bisected.mark(&[seen(&[(BUILD_ID, Pass)])]), Mark::Old);
    }

    #[test]
    fn one_new_outcome_makes_a_commit_new_and_all_old_ones_make_it_old() {
        let fine = seen(&[("a/x", Pass), ("a/y", Pass)]);
        let (bisected, _) = between(&fine, &seen(&[("a/x", Fail), ("a/y", Crash)]), true);
        let mark = |shown: &[(&str, Outcome)]| bisected.mark(&[seen(shown)]);
        assert_eq!(mark(&[("a/x", Fail), ("a/y", Pass)]), Mark::New);
        assert_eq!(mark(&[("a/x", Hang), ("a/y", Crash)]), Mark::New);
        assert_eq!(mark(&[("a/x", Pass), ("a/y", Pass)]), Mark::Old);
        assert_eq!(mark(&[("a/x", Pass), ("a/y", Hang)]), Mark::Skip);
        assert_eq!(mark(&[(BUILD_ID, Fail)]), Mark::Skip);
        assert!(!bisected.is_doubtful(&fine));
        assert!(!bisected.is_doubtful(&seen(&[(BUILD_ID, Fail)])), "it would not build again");
        assert!(bisected.is_doubtful(&seen(&[("a/x", Known), ("a/y", Pass)])));
        assert!(bisected.is_doubtful(&seen(&[("a/x", Pass), ("a/y", Crash)])));
        let first = [fine, seen(&[("a/x", Pass), ("a/y", Crash)])];
        let (run, shown) = bisected.first_new_outcome(&first).unwrap();
        assert_eq!((run, shown.id.as_str()), (1, "a/y"));
    }

    #[test]
    fn a_flake_does_not_mislead() {
        let fine = seen(&[("a/x", Pass), ("a/y", Pass)]);
        let broken = seen(&[("a/x", Crash), ("a/y", Fail)]);
        let hung = seen(&[("a/x", Hang), ("a/y", Pass)]);
        let (mut bisected, _) = between(&fine, &broken, true);
        assert_eq!(bisected.mark(&[hung.clone(), fine.clone()]), Mark::Old);
        assert_eq!(bisected.mark(&[hung.clone(), hung.clone()]), Mark::Skip);
        assert_eq!(bisected.mark(&[broken.clone(), fine.clone()]), Mark::Skip, "they disagree");
        // A difference that an end does not show again is not bisected.
        assert_eq!(bisected.remove_unstable(&broken, true), Vec::<String>::new());
        assert_eq!(bisected.remove_unstable(&hung, false), ["a/x"]);
        assert_eq!(bisected.case_ids(), "a/y");
    }
}
