// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Compares the observations of the cases with the recordings of the kernel's neighbours.
//!
//! A first run of the cases gives only digests of observations. Cases whose digests differ run once
//! more, and their observations are recorded. A case with a difference that no known change explains
//! gets the outcome `changed`.

use super::outcome::add_or_keep_worse;
use super::shape::group_cases;
use super::{CaseRunner, Environment};
use crate::behaviour::{self, Behaviour, Explanation, RawDifference, Recorder};
use crate::expectations::Expectations;
use crate::failure::Failure;
use crate::output::progress::Progress;
use crate::recordings::Recording;
use std::collections::BTreeSet;
use std::sync::Arc;
use sudbox_guest_init::case::Case;
use sudbox_protocol::Hello;
use sudbox_report::diff::Difference;
use sudbox_report::{CaseReport, Outcome, RecordingComparison, Verdict};

/// Maximum number of differences in the summary of a case.
const MAX_SUMMARISED: usize = 4;
/// Maximum number of differences in the log of a case.
const MAX_LOGGED: usize = 40;

/// The digest of the observations that one run of a case made.
#[derive(Clone, Copy, Debug)]
pub(super) struct CaseDigest {
    pub(super) case: &'static Case,
    pub(super) digest: u64,
}

impl CaseRunner<'_> {
    /// Compares the cases with the recordings of the kernel's neighbours. Sets the outcome `changed`
    /// for cases with unexplained differences. `hello` is the `Hello` of the first guest.
    ///
    /// # Errors
    /// As [`CaseRunner::judge`].
    pub(super) fn compare_with_recordings(
        &self,
        digests: &[CaseDigest],
        hello: &Hello,
        expectations: &Expectations,
        verdict: &mut Verdict,
        console_log: &mut String,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let Some(baseline) = self.baseline.as_ref().filter(|_| !digests.is_empty()) else {
            return Ok(());
        };
        let neighbours = match baseline {
            Ok(baseline) => baseline.neighbours(&hello.release, &hello.floating_state_layout),
            Err(reason) => Err(reason.clone()),
        };
        let neighbours = match neighbours {
            Ok(neighbours) => neighbours,
            Err(reason) => {
                let reason = Some(reason);
                verdict.comparison =
                    Some(RecordingComparison { reason, ..RecordingComparison::default() });
                return Ok(());
            }
        };
        let (compared, differing) = differing_cases(digests, &neighbours, &verdict.cases);
        let mut comparison = RecordingComparison {
            releases: neighbours.iter().map(|recording| recording.release.clone()).collect(),
            compared,
            ..RecordingComparison::default()
        };
        if !differing.is_empty() {
            let releases = comparison.releases.join(" and ");
            let message = format!(
                "{} of {compared} cases differ from the recording of {releases}",
                differing.len()
            );
            progress.print("record", &message);
            let behaviour =
                self.record(&differing, hello, expectations, verdict, console_log, progress)?;
            let arch = expectations.arch();
            let differences = classify_differences(&behaviour, &neighbours, &differing, arch)?;
            comparison.known_changes = differences.known_changes;
            for report in &mut verdict.cases {
                if !differing.iter().any(|case| case.id == report.id) || !may_change(report) {
                    continue;
                }
                let of_case = |difference: &&RawDifference| difference.place.case == report.id;
                let unexpected: Vec<RawDifference> =
                    differences.unexpected.iter().filter(of_case).cloned().collect();
                if !unexpected.is_empty() {
                    mark_changed(report, &unexpected, &releases);
                } else if !differences.differing_cases.contains(&report.id) {
                    report.log.push(format!(
                        "something differed from the recording of {releases}, but not when the \
                         case was recorded in a further run"
                    ));
                }
            }
        }
        verdict.comparison = Some(comparison);
        Ok(())
    }

    /// Runs cases once more and records their observations. Adds the failures of the run to the
    /// verdict.
    fn record(
        &self,
        cases: &[&'static Case],
        hello: &Hello,
        expectations: &Expectations,
        verdict: &mut Verdict,
        console_log: &mut String,
        progress: &mut Progress,
    ) -> anyhow::Result<Behaviour> {
        let Environment::Vm { spec, .. } = &self.environment else {
            return Ok(Behaviour::default());
        };
        let recorder = Arc::new(Recorder::default());
        recorder.add_guest_facts(hello);
        let groups = group_cases(cases, spec.cpus, |feature| !hello.features.contains(&feature));
        let runner = CaseRunner {
            recorder: Some(recorder.clone()),
            baseline: None,
            runs_per_case: 1,
            isolate_cases: false,
            ..self.clone()
        };
        for (result, boot_result) in runner.run_groups(&groups, expectations, progress) {
            verdict.boots += result.boots;
            verdict.restored += result.restored;
            console_log.push_str(&result.console_log);
            let failed = result.cases.into_iter().filter(|report| report.outcome.is_failure());
            failed.for_each(|report| add_or_keep_worse(&mut verdict.cases, report));
            boot_result?;
            if let Some(fault) = result.machine_faults.first() {
                return Err(Failure::machine(fault.to_string()));
            }
        }
        Ok(recorder.take_behaviour())
    }
}

/// The number of cases that were compared with a neighbour, and the cases whose digests no neighbour
/// has. Cases whose outcome cannot become `changed` are left out.
fn differing_cases(
    digests: &[CaseDigest],
    neighbours: &[&Recording],
    reports: &[CaseReport],
) -> (usize, Vec<&'static Case>) {
    let mut compared = BTreeSet::new();
    let mut differing: Vec<&'static Case> = Vec::new();
    for CaseDigest { case, digest } in digests {
        let can_change = reports.iter().any(|report| report.id == case.id && may_change(report));
        let recorded_digests: Vec<u64> = neighbours
            .iter()
            .filter_map(|recording| recording.digests.get(case.id).copied())
            .collect();
        if recorded_digests.is_empty() || !can_change {
            continue;
        }
        compared.insert(case.id);
        if !recorded_digests.contains(digest) && !differing.iter().any(|other| other.id == case.id)
        {
            differing.push(case);
        }
    }
    (compared.len(), differing)
}

/// Whether the outcome becomes `changed` if the observations differ. A failure stays a failure.
fn may_change(report: &CaseReport) -> bool {
    matches!(report.outcome, Outcome::Pass | Outcome::Known | Outcome::Fixed)
}

/// The differences between a kernel and its neighbours.
#[derive(Default)]
struct ClassifiedDifferences {
    /// Descriptions of the known changes that explain differences.
    known_changes: Vec<String>,
    /// The cases that differ from at least one neighbour.
    differing_cases: BTreeSet<String>,
    /// The unexplained differences from all neighbours. The recorded values are those of the first
    /// neighbour.
    unexpected: Vec<RawDifference>,
}

/// Compares the behaviour in `cases` with the neighbours. A difference is expected if one of the
/// neighbours has the same value, or if a known change explains it.
fn classify_differences(
    behaviour: &Behaviour,
    neighbours: &[&Recording],
    cases: &[&'static Case],
    arch: sudbox_protocol::Arch,
) -> anyhow::Result<ClassifiedDifferences> {
    let mut classified = ClassifiedDifferences::default();
    let mut changes: BTreeSet<Explanation> = BTreeSet::new();
    let is_differing = |id: &str| cases.iter().any(|case| case.id == id);
    let mut unexpected_by_neighbour = Vec::new();
    for neighbour in neighbours {
        let recorded = neighbour.behaviour()?;
        let (expected, unexpected) =
            behaviour::differences_of_observations([&recorded, behaviour], is_differing, arch);
        for (change, differences) in expected {
            changes.insert(change);
            let ids = differences.into_iter().map(|difference| difference.place.case);
            classified.differing_cases.extend(ids);
        }
        let ids = unexpected.iter().map(|difference| difference.place.case.clone());
        classified.differing_cases.extend(ids);
        unexpected_by_neighbour.push((neighbour, unexpected));
    }
    let mut unexpected_by_neighbour = unexpected_by_neighbour.into_iter();
    if let Some((_, first)) = unexpected_by_neighbour.next() {
        classified.unexpected = first;
    }
    for (neighbour, unexpected) in unexpected_by_neighbour {
        // A neighbour without a recording of the case does not make a difference expected.
        let lacks_case = |id: &str| !neighbour.digests.contains_key(id);
        let differs_from_neighbour = |difference: &RawDifference| {
            lacks_case(&difference.place.case)
                || unexpected.iter().any(|other| difference.is_about_same_value(other))
        };
        classified.unexpected.retain(differs_from_neighbour);
    }
    let description = |change: Explanation| format!("{} ({})", change.about, change.commit);
    classified.known_changes = changes.into_iter().map(description).collect();
    Ok(classified)
}

/// Gives a report the outcome `changed`, with these differences from `releases`.
fn mark_changed(report: &mut CaseReport, unexpected: &[RawDifference], releases: &str) {
    let groups = behaviour::group_by_values(unexpected);
    let list = |value: fn(&Difference) -> String| {
        let listed: Vec<String> = groups.iter().take(MAX_SUMMARISED).map(value).collect();
        let unlisted_count = groups.len().saturating_sub(MAX_SUMMARISED);
        let suffix =
            if unlisted_count > 0 { format!("; and {unlisted_count} more") } else { String::new() };
        listed.join("; ") + &suffix
    };
    report.outcome = Outcome::Changed;
    let recorded_values = list(|difference| format!("{} = {}", difference.field, difference.first));
    report.expected = format!("as recorded of {releases}: {recorded_values}");
    report.detail = list(|difference| {
        let function = match difference.kernel_function.as_str() {
            "" => String::new(),
            function => format!(" [{function}]"),
        };
        format!("{} = {}{function}", difference.field, difference.second)
    });
    report.bug = None;
    for group in groups.iter().take(MAX_LOGGED) {
        let first = group.places.first();
        let place = first.map(|place| format!("{}, {}", place.scenario, place.step));
        let unlisted_count = group.places.len().saturating_sub(1);
        let suffix =
            if unlisted_count > 0 { format!(" and {unlisted_count} more") } else { String::new() };
        report.log.push(format!(
            "{}: {} -> {} in {}{suffix}",
            group.field,
            group.first,
            group.second,
            place.unwrap_or_default()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::CaseBehaviour;
    use sudbox_protocol::{Arch, Observation, ObservedPart};

    /// The behaviour of a kernel in `compare/trap`, with one value for each of these fields.
    fn behaviour(release: &str, values: [(&str, u8); 2]) -> Behaviour {
        let observation = |(field, value): (&str, u8)| Observation {
            scenario: "plain".into(),
            step: "handler 0".into(),
            field: field.into(),
            function: "a_function()".into(),
            parts: vec![ObservedPart { name: String::new(), bytes: vec![value] }],
        };
        let case = CaseBehaviour {
            result: "pass".into(),
            observations: values.into_iter().map(observation).collect(),
            digest: Some(u64::from(values[0].1) << 8 | u64::from(values[1].1)),
            ..CaseBehaviour::default()
        };
        let cases = [("compare/trap".to_owned(), case)].into();
        Behaviour { release: release.into(), cases, ..Behaviour::default() }
    }

    fn report(outcome: Outcome) -> CaseReport {
        CaseReport {
            id: "compare/trap".into(),
            promise: String::new(),
            kernel_function: String::new(),
            outcome,
            expected: String::new(),
            detail: String::new(),
            bug: None,
            log: Vec::new(),
            console: None,
            rerun: String::new(),
            duration_micros: 0,
        }
    }

    fn trap() -> &'static Case {
        let case = crate::selection::all_cases().find(|case| case.id == "compare/trap");
        case.expect("a case of the table")
    }

    #[test]
    fn only_a_value_that_both_neighbours_lack_is_unexpected() {
        let older = Recording::of_behaviour("default", behaviour("6.1.7", [("a", 1), ("b", 1)]));
        let newer = Recording::of_behaviour("default", behaviour("6.12.7", [("a", 2), ("b", 1)]));
        let neighbours = [&older, &newer];
        let unexpected_fields = |values| {
            let middle = behaviour("6.6.7", values);
            let differences =
                classify_differences(&middle, &neighbours, &[trap()], Arch::X86_64).unwrap();
            let fields = differences.unexpected.iter().map(|difference| difference.field.clone());
            fields.collect::<Vec<String>>().join(" ")
        };
        assert_eq!(unexpected_fields([("a", 1), ("b", 1)]), "");
        assert_eq!(unexpected_fields([("a", 2), ("b", 1)]), "");
        assert_eq!(unexpected_fields([("a", 3), ("b", 1)]), "a");
        assert_eq!(unexpected_fields([("a", 2), ("b", 2)]), "b");
    }

    #[test]
    fn a_case_that_did_not_fail_differs_if_no_neighbour_has_its_digest() {
        let older = Recording::of_behaviour("default", behaviour("6.1.7", [("a", 1), ("b", 1)]));
        let newer = Recording::of_behaviour("default", behaviour("6.12.7", [("a", 2), ("b", 1)]));
        let differing = |digest, outcome| {
            let digests = [CaseDigest { case: trap(), digest }];
            let (compared, cases) =
                differing_cases(&digests, &[&older, &newer], &[report(outcome)]);
            (compared, cases.len())
        };
        assert_eq!(differing(0x101, Outcome::Pass), (1, 0));
        assert_eq!(differing(0x201, Outcome::Pass), (1, 0));
        assert_eq!(differing(0x202, Outcome::Pass), (1, 1));
        assert_eq!(differing(0x202, Outcome::Known), (1, 1));
        assert_eq!(differing(0x202, Outcome::Fail), (0, 0));
    }

    #[test]
    fn a_changed_report_names_field_values_function_and_place() {
        let older = Recording::of_behaviour("default", behaviour("7.3.4", [("a", 1), ("b", 1)]));
        let newer = behaviour("7.3.5", [("a", 1), ("b", 9)]);
        let differences = classify_differences(&newer, &[&older], &[trap()], Arch::X86_64).unwrap();
        let mut changed = report(Outcome::Pass);
        mark_changed(&mut changed, &differences.unexpected, "7.3.4");
        assert_eq!(changed.outcome, Outcome::Changed);
        assert_eq!(changed.expected, "as recorded of 7.3.4: b = 0x1");
        assert_eq!(changed.detail, "b = 0x9 [a_function()]");
        assert_eq!(changed.log, ["b: 0x1 -> 0x9 in plain, handler 0"]);
    }
}
