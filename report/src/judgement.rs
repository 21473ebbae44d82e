//! What a verdict comes to, and the exit code that says so.

use crate::verdict::{CaseReport, Outcome, Verdict};

/// Id of the case that the kernel boots as far as guest-init.
pub const BOOT_CASE: &str = "boot/reaches-init";

/// What a verdict comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Every selected case ended as expected.
    Kept,
    /// So many cases failed, crashed or hung.
    Broken(usize),
    /// No promise is broken, but under `--strict` so many cases (`fixed`, `unmet`) are not as
    /// expected.
    Surprised(usize),
    /// The kernel cannot be judged: why, in one sentence.
    NotJudged(String),
}

impl Judgement {
    /// Judges. `strict` makes `fixed` and `unmet` count; `boot_selected` says whether
    /// [`BOOT_CASE`] is among the cases a person asked for.
    #[must_use]
    pub fn of(verdict: &Verdict, strict: bool, boot_selected: bool) -> Judgement {
        let boot = verdict.cases.iter().find(|case| case.id == BOOT_CASE);
        let boot_broken = boot.filter(|case| case.outcome.is_failure());
        match (&verdict.unjudged, boot_broken) {
            // That it does not boot is then the answer, whatever else could not be found out.
            (_, Some(_)) if boot_selected => {}
            (Some(reason), _) => return Judgement::NotJudged(reason.clone()),
            (None, Some(case)) => {
                return Judgement::NotJudged(format!("this kernel does not boot: {}", case.got));
            }
            // An account of nothing is no success.
            (None, None) if verdict.cases.is_empty() => {
                return Judgement::NotJudged("no case was run".into());
            }
            (None, None) => {}
        }
        let totals = verdict.totals();
        let broken = count(&totals, Outcome::is_failure);
        let surprising = totals.of(Outcome::Fixed) + totals.of(Outcome::Unmet);
        match (broken, surprising) {
            (0, n) if strict && n > 0 => Judgement::Surprised(n),
            (0, _) => Judgement::Kept,
            (n, _) => Judgement::Broken(n),
        }
    }

    /// Exit code of `sudbox run` for it, as `git bisect run` understands it: 0 good, 1 bad, 125
    /// to be skipped.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Judgement::Kept => 0,
            Judgement::Broken(_) | Judgement::Surprised(_) => 1,
            Judgement::NotJudged(_) => 125,
        }
    }

    /// One word for it, stable for scripts.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Judgement::Kept => "kept",
            Judgement::Broken(_) => "broken",
            Judgement::Surprised(_) => "surprised",
            Judgement::NotJudged(_) => "not-judged",
        }
    }
}

/// Exit code of `sudbox run` for a verdict: see [`Judgement::of`] and [`Judgement::exit_code`].
/// The codes from 128 on, for which there is no verdict, are the caller's.
#[must_use]
pub fn exit_code(verdict: &Verdict, strict: bool, boot_selected: bool) -> u8 {
    Judgement::of(verdict, strict, boot_selected).exit_code()
}

/// Whether this is the boot case of a kernel that does not boot, where nobody asked for it: then
/// it is the reason why there is no judgement, and not a broken promise.
pub(crate) fn is_unasked_boot_failure(case: &CaseReport, boot_selected: bool) -> bool {
    !boot_selected && case.id == BOOT_CASE && case.outcome.is_failure()
}

fn count(totals: &crate::Totals, which: impl Fn(Outcome) -> bool) -> usize {
    Outcome::ALL.iter().filter(|o| which(**o)).map(|o| totals.of(*o)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outcomes: &[(&str, Outcome)]) -> Verdict {
        let case = |(id, outcome): &(&str, Outcome)| CaseReport {
            id: (*id).into(),
            promise: String::new(),
            kernel_function: String::new(),
            outcome: *outcome,
            expected: String::new(),
            got: "seen".into(),
            log: vec![],
            console: None,
            rerun: String::new(),
            micros: 0,
        };
        Verdict { cases: outcomes.iter().map(case).collect(), ..Verdict::default() }
    }

    #[test]
    fn each_outcome_has_its_code() {
        for (outcome, lenient, strict) in [
            (Outcome::Crash, 1, 1),
            (Outcome::Hang, 1, 1),
            (Outcome::Fail, 1, 1),
            (Outcome::Fixed, 0, 1),
            (Outcome::Unmet, 0, 1),
            (Outcome::Known, 0, 0),
            (Outcome::Absent, 0, 0),
            (Outcome::Pass, 0, 0),
        ] {
            let verdict = verdict(&[("range/empty", Outcome::Pass), ("range/x", outcome)]);
            assert_eq!(exit_code(&verdict, false, true), lenient, "{outcome:?}");
            assert_eq!(exit_code(&verdict, true, true), strict, "{outcome:?} --strict");
        }
    }

    #[test]
    fn booting_counts_only_when_it_is_selected() {
        let dead = verdict(&[(BOOT_CASE, Outcome::Crash)]);
        assert_eq!(exit_code(&dead, false, true), 1);
        assert_eq!(exit_code(&dead, false, false), 125);
        let said = Verdict { unjudged: Some("it panics before init".into()), ..dead };
        assert_eq!(exit_code(&said, false, true), 1);
        assert_eq!(
            Judgement::of(&said, false, false),
            Judgement::NotJudged("it panics before init".into())
        );
    }

    #[test]
    fn what_cannot_be_judged_is_skipped() {
        let unbuilt = Verdict { unjudged: Some("it does not build".into()), ..Verdict::default() };
        assert_eq!(exit_code(&unbuilt, false, true), 125);
        // Also where cases failed before that became clear.
        let mut half = verdict(&[("range/x", Outcome::Fail)]);
        half.unjudged = Some("the guest speaks another protocol".into());
        assert_eq!(exit_code(&half, false, true), 125);
    }

    #[test]
    fn an_empty_account_is_no_success() {
        assert_eq!(exit_code(&Verdict::default(), false, true), 125);
    }

    #[test]
    fn a_broken_promise_outweighs_a_surprise() {
        let both = verdict(&[("a/b", Outcome::Fixed), ("a/c", Outcome::Fail)]);
        assert_eq!(Judgement::of(&both, true, true), Judgement::Broken(1));
    }
}
