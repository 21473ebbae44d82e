// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What differs between the ends of a bisection, and what a commit between them is by that.

use super::slower::Figure;
use crate::selection::BOOT;
use serde::{Deserialize, Serialize};
use sudbox_images::{Mark, Terms};
use sudbox_report::Outcome;

/// Stands for building, which is sought like a case where only one end builds.
pub(super) const BUILD: &str = "build";

/// The outcome of one case, of booting or of building.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    /// Id of a case, or [`BUILD`].
    pub(super) id: String,
    pub(super) outcome: Outcome,
    /// The behaviour that was seen in place of the promised one.
    pub(super) got: String,
    /// Its cost, if a slowdown is bisected.
    pub(super) figure: Option<Figure>,
}

/// The outcomes of one run of a commit, without those of cases that did not run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// In the order of the table.
    pub(super) shown: Vec<Shown>,
    /// Why the cases could not be run, if so.
    pub(super) unjudged: Option<String>,
}

impl Seen {
    pub(super) fn of(&self, id: &str) -> Option<&Shown> {
        self.shown.iter().find(|shown| shown.id == id)
    }

    fn outcome(&self, id: &str) -> Option<Outcome> {
        self.of(id).map(|shown| shown.outcome)
    }
}

/// One thing that is sought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Difference {
    pub(super) id: String,
    /// Its outcome at the old end.
    pub(super) old: Outcome,
    /// Its outcome at the new end.
    pub(super) new: Outcome,
}

/// The cases that are bisected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sought {
    /// In the order of the table; at least one.
    pub(super) differences: Vec<Difference>,
    pub(super) terms: Terms,
}

impl Sought {
    /// What differs between the old and the new end. Where some things became worse and others
    /// better, those are sought that are worse at the end that the person calls bad; `bad_is_new`
    /// says which that is. The second value is what is left aside. `None` if nothing differs.
    pub(super) fn between(
        old: &Seen,
        new: &Seen,
        bad_is_new: bool,
    ) -> Option<(Sought, Vec<Difference>)> {
        let differences = old.shown.iter().filter_map(|shown| {
            let (id, old, new) = (shown.id.clone(), shown.outcome, new.outcome(&shown.id)?);
            (old != new).then_some(Difference { id, old, new })
        });
        // Outcomes are declared the worst first.
        let (worse, better): (Vec<_>, Vec<_>) = differences.partition(|d| d.new < d.old);
        let (terms, differences, aside) = match (bad_is_new, worse.is_empty(), better.is_empty()) {
            (_, true, true) => return None,
            (true, false, _) | (false, _, true) => (Terms::GoodBad, worse, better),
            (true, true, _) | (false, _, false) => (Terms::OldNew, better, worse),
        };
        Some((Sought { differences, terms }, aside))
    }

    /// Leaves out what another run of an end did not show again; `is_new` says which end. Gives back
    /// the ids that were left out.
    pub(super) fn confirm(&mut self, seen: &Seen, is_new: bool) -> Vec<String> {
        let stable =
            |d: &Difference| seen.outcome(&d.id) == Some(if is_new { d.new } else { d.old });
        let (kept, gone) = std::mem::take(&mut self.differences).into_iter().partition(stable);
        self.differences = kept;
        gone.into_iter().map(|d: Difference| d.id).collect()
    }

    /// The mark of a commit by one run: new if one thing sought is as at the new end, old if all
    /// are as at the old end.
    fn reading(&self, seen: &Seen) -> Mark {
        let is = |d: &Difference, outcome| seen.outcome(&d.id) == Some(outcome);
        if self.differences.iter().any(|d| is(d, d.new)) {
            Mark::New
        } else if self.differences.iter().all(|d| is(d, d.old)) {
            Mark::Old
        } else {
            Mark::Skip
        }
    }

    /// Whether another run might say something else: something sought came out as at neither end,
    /// or killed or hung the kernel.
    pub(super) fn is_doubtful(&self, seen: &Seen) -> bool {
        self.differences.iter().any(|d| {
            seen.outcome(&d.id).is_some_and(|outcome| {
                matches!(outcome, Outcome::Crash | Outcome::Hang)
                    || (d.id == BOOT && outcome.is_failure())
                    || ![d.old, d.new].contains(&outcome)
            })
        })
    }

    /// The mark of a commit by all of its runs. Those that say old or new must agree.
    pub(super) fn mark(&self, runs: &[Seen]) -> Mark {
        let mut readings =
            runs.iter().map(|seen| self.reading(seen)).filter(|mark| *mark != Mark::Skip);
        match readings.next() {
            Some(first) if readings.all(|mark| mark == first) => first,
            _ => Mark::Skip,
        }
    }

    /// The first thing sought that is as at the new end, and the run that showed it.
    pub(super) fn first<'a>(&self, runs: &'a [Seen]) -> Option<(usize, &'a Shown)> {
        self.differences.iter().find_map(|d| {
            runs.iter().enumerate().find_map(|(run, seen)| {
                let shown = seen.of(&d.id).filter(|shown| shown.outcome == d.new)?;
                Some((run, shown))
            })
        })
    }

    /// Only whether it builds is of interest.
    pub(super) fn only_build(&self) -> bool {
        self.differences.iter().all(|d| d.id == BUILD)
    }

    /// The ids, for `--cases`.
    pub(super) fn cases(&self) -> String {
        let ids: Vec<&str> = self.differences.iter().map(|d| d.id.as_str()).collect();
        ids.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Absent, Crash, Fail, Hang, Known, Pass};

    fn seen(shown: &[(&str, Outcome)]) -> Seen {
        let shown = shown.iter().map(|(id, outcome)| Shown {
            id: (*id).to_owned(),
            outcome: *outcome,
            got: String::new(),
            figure: None,
        });
        Seen { shown: shown.collect(), unjudged: None }
    }

    fn between(old: &Seen, new: &Seen, bad_is_new: bool) -> (Sought, Vec<String>) {
        let (sought, aside) = Sought::between(old, new, bad_is_new).unwrap();
        (sought, aside.into_iter().map(|d| d.id).collect())
    }

    #[test]
    fn what_differs_is_sought_in_the_direction_of_the_ends() {
        let fine =
            seen(&[(BUILD, Pass), (BOOT, Pass), ("a/x", Pass), ("a/y", Pass), ("a/z", Fail)]);
        let broken =
            seen(&[(BUILD, Pass), (BOOT, Pass), ("a/x", Fail), ("a/y", Known), ("a/z", Fail)]);
        for (old, new, bad_is_new, terms) in [
            (&fine, &broken, true, Terms::GoodBad),
            (&broken, &fine, true, Terms::OldNew),
            (&broken, &fine, false, Terms::OldNew),
            (&fine, &broken, false, Terms::GoodBad),
        ] {
            let (sought, aside) = between(old, new, bad_is_new);
            assert_eq!((sought.terms, sought.cases().as_str()), (terms, "a/x a/y"));
            assert!(aside.is_empty());
        }
        assert_eq!(Sought::between(&fine, &fine, true), None);
    }

    #[test]
    fn of_two_directions_the_persons_counts() {
        let one = seen(&[("a/x", Pass), ("a/y", Absent)]);
        let other = seen(&[("a/x", Fail), ("a/y", Pass)]);
        let (sought, aside) = between(&one, &other, true);
        assert_eq!(
            (sought.terms, sought.cases(), aside),
            (Terms::GoodBad, "a/x".into(), vec!["a/y".into()])
        );
        let (sought, aside) = between(&one, &other, false);
        assert_eq!(
            (sought.terms, sought.cases(), aside),
            (Terms::OldNew, "a/y".into(), vec!["a/x".into()])
        );
    }

    #[test]
    fn what_only_one_end_came_to_is_not_sought() {
        let runs = seen(&[(BUILD, Pass), (BOOT, Pass), ("a/x", Pass)]);
        let (sought, _) = between(&runs, &seen(&[(BUILD, Pass), (BOOT, Fail)]), true);
        assert_eq!(sought.cases(), BOOT);
        let (sought, _) = between(&runs, &seen(&[(BUILD, Fail)]), true);
        assert!(sought.only_build());
        assert_eq!(sought.mark(&[seen(&[(BUILD, Pass)])]), Mark::Old);
    }

    #[test]
    fn one_new_outcome_makes_a_commit_new_and_all_old_ones_make_it_old() {
        let fine = seen(&[("a/x", Pass), ("a/y", Pass)]);
        let (sought, _) = between(&fine, &seen(&[("a/x", Fail), ("a/y", Crash)]), true);
        let mark = |shown: &[(&str, Outcome)]| sought.mark(&[seen(shown)]);
        assert_eq!(mark(&[("a/x", Fail), ("a/y", Pass)]), Mark::New);
        assert_eq!(mark(&[("a/x", Hang), ("a/y", Crash)]), Mark::New);
        assert_eq!(mark(&[("a/x", Pass), ("a/y", Pass)]), Mark::Old);
        assert_eq!(mark(&[("a/x", Pass), ("a/y", Hang)]), Mark::Skip);
        assert_eq!(mark(&[(BUILD, Fail)]), Mark::Skip);
        assert!(!sought.is_doubtful(&fine));
        assert!(!sought.is_doubtful(&seen(&[(BUILD, Fail)])), "it would not build again");
        assert!(sought.is_doubtful(&seen(&[("a/x", Known), ("a/y", Pass)])));
        assert!(sought.is_doubtful(&seen(&[("a/x", Pass), ("a/y", Crash)])));
        let first = [fine, seen(&[("a/x", Pass), ("a/y", Crash)])];
        let (run, shown) = sought.first(&first).unwrap();
        assert_eq!((run, shown.id.as_str()), (1, "a/y"));
    }

    #[test]
    fn a_flake_does_not_mislead() {
        let fine = seen(&[("a/x", Pass), ("a/y", Pass)]);
        let broken = seen(&[("a/x", Crash), ("a/y", Fail)]);
        let hung = seen(&[("a/x", Hang), ("a/y", Pass)]);
        let (mut sought, _) = between(&fine, &broken, true);
        assert_eq!(sought.mark(&[hung.clone(), fine.clone()]), Mark::Old);
        assert_eq!(sought.mark(&[hung.clone(), hung.clone()]), Mark::Skip);
        assert_eq!(sought.mark(&[broken.clone(), fine.clone()]), Mark::Skip, "they disagree");
        // A difference that an end does not show again is not bisected.
        assert_eq!(sought.confirm(&broken, true), Vec::<String>::new());
        assert_eq!(sought.confirm(&hung, false), ["a/x"]);
        assert_eq!(sought.cases(), "a/y");
    }
}
