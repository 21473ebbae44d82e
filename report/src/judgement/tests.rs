// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

fn verdict(outcomes: &[(&str, Outcome)]) -> Verdict {
    let case = |(id, outcome): &(&str, Outcome)| CaseReport {
        id: (*id).into(),
        promise: String::new(),
        kernel_function: String::new(),
        outcome: *outcome,
        expected: String::new(),
        detail: "seen".into(),
        bug: None,
        log: vec![],
        console: None,
        rerun: String::new(),
        duration_micros: 0,
    };
    Verdict {
        cases: outcomes.iter().map(case).collect(),
        boot_selected: true,
        ..Verdict::default()
    }
}

fn exit_code(verdict: &Verdict) -> u8 {
    Judgement::from_verdict(verdict).exit_code()
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
        let mut verdict = verdict(&[("range/empty", Outcome::Pass), ("range/x", outcome)]);
        assert_eq!(exit_code(&verdict), lenient, "{outcome:?}");
        verdict.strict = true;
        assert_eq!(exit_code(&verdict), strict, "{outcome:?} --strict");
    }
}

#[test]
fn booting_counts_only_when_it_is_selected() {
    let mut verdict = verdict(&[(BOOT_CASE, Outcome::Crash)]);
    assert_eq!(exit_code(&verdict), 1);
    verdict.boot_selected = false;
    assert_eq!(exit_code(&verdict), 125);
    verdict.unjudged_reason = Some("it panics before init".into());
    assert_eq!(Judgement::from_verdict(&verdict).reason(), Some("it panics before init"));
    verdict.boot_selected = true;
    assert_eq!(exit_code(&verdict), 1);
}

#[test]
fn a_kernel_that_cannot_be_judged_is_skipped() {
    let unbuilt =
        Verdict { unjudged_reason: Some("it does not build".into()), ..Verdict::default() };
    assert_eq!(exit_code(&unbuilt), 125);
    // A failed case does not change the judgement.
    let mut with_failure = verdict(&[("range/x", Outcome::Fail)]);
    with_failure.unjudged_reason = Some("the guest speaks another protocol".into());
    assert_eq!(exit_code(&with_failure), 125);
}

#[test]
fn a_verdict_without_cases_is_not_judged() {
    assert_eq!(exit_code(&Verdict::default()), 125);
}

#[test]
fn a_verdict_that_tested_nothing_is_not_judged() {
    for outcome in [Outcome::Absent, Outcome::Unmet] {
        let mut verdict = verdict(&[("sysctl/x", outcome)]);
        assert_eq!(exit_code(&verdict), 125, "{outcome:?}");
        verdict.strict = true;
        assert_eq!(exit_code(&verdict), 125, "{outcome:?} --strict");
    }
    assert_eq!(exit_code(&verdict(&[("sysctl/x", Outcome::Known)])), 0);
}

#[test]
fn a_failure_takes_precedence_over_a_fixed_bug() {
    let both = verdict(&[("a/b", Outcome::Fixed), ("a/c", Outcome::Fail)]);
    let strict = Verdict { strict: true, ..both };
    assert_eq!(Judgement::from_verdict(&strict), Judgement::Broken(1));
}
