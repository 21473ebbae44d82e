// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The result of judging one kernel.

use crate::case_measurement::CaseMeasurement;
use serde::{Deserialize, Serialize};

/// Outcome of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Outcome {
    /// The kernel crashed, or reported a fault, while the case ran.
    Crash,
    /// The case did not end before its deadline.
    Hang,
    /// The kernel broke the promise.
    Fail,
    /// The promise is kept, but user space sees something else than on the neighbours in the series, and
    /// no known change explains the difference.
    Changed,
    /// A recorded kernel bug no longer shows.
    Fixed,
    /// The machine lacks something that the case needs: a CPU feature, a privilege.
    Unmet,
    /// The case failed as a recorded kernel bug says.
    Known,
    /// The kernel does not offer the feature, and is not expected to.
    Absent,
    /// The kernel kept the promise.
    Pass,
}

impl Outcome {
    /// Every outcome, worst first.
    pub const ALL: [Outcome; 9] = [
        Outcome::Crash,
        Outcome::Hang,
        Outcome::Fail,
        Outcome::Changed,
        Outcome::Fixed,
        Outcome::Unmet,
        Outcome::Known,
        Outcome::Absent,
        Outcome::Pass,
    ];

    /// The name of the outcome in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Crash => "crash",
            Outcome::Hang => "hang",
            Outcome::Fail => "fail",
            Outcome::Changed => "changed",
            Outcome::Fixed => "fixed",
            Outcome::Unmet => "unmet",
            Outcome::Known => "known",
            Outcome::Absent => "absent",
            Outcome::Pass => "pass",
        }
    }

    /// Whether the kernel broke a promise, or changed what user space sees without a known reason.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Outcome::Crash | Outcome::Hang | Outcome::Fail | Outcome::Changed)
    }
}

/// The kernel that was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Kernel {
    /// The kernel as the user named it.
    pub reference: String,
    /// The release as `uname -r` prints it; if the kernel did not boot, the known part of the release.
    pub release: String,
    /// Architecture.
    pub arch: String,
    /// Flavour of the configuration.
    pub flavour: String,
    /// Origin of the source or image, with its checksum.
    pub source: String,
    /// A note if another kernel stands in for the one that the user named.
    #[serde(rename = "stands_in")]
    pub substitution_note: Option<String>,
}

/// A bug of the kernel that is recorded upstream or in its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Bug {
    /// Id in sudbox's table of bugs.
    pub id: String,
    /// The fault, and the commit or document that describes it.
    pub citation: String,
}

/// The report on one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CaseReport {
    /// Stable id, `group/name`.
    pub id: String,
    /// The promise in one line.
    pub promise: String,
    /// Kernel function that makes the promise.
    pub kernel_function: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The result that the promise requires; empty if nothing was compared.
    pub expected: String,
    /// The actual result of a failure; for other outcomes the missing requirement, the absent feature, or
    /// the recorded bug with its citation.
    #[serde(rename = "got")]
    pub detail: String,
    /// The recorded bug, if the outcome is `known` or `fixed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bug: Option<Bug>,
    /// Lines that the case logged.
    pub log: Vec<String>,
    /// Console output that belongs to the outcome.
    pub console: Option<String>,
    /// Command that runs this case again on this kernel.
    pub rerun: String,
    /// Microseconds that the case took in the guest; 0 if it did not end.
    #[serde(rename = "micros")]
    pub duration_micros: u64,
}

impl CaseReport {
    /// The group: the id up to the slash.
    #[must_use]
    pub fn group(&self) -> &str {
        self.id.split_once('/').map_or(&self.id, |(group, _)| group)
    }
}

/// The comparison of a kernel with the recorded behaviour of its neighbours in the series. The cases in which
/// something differs for no known reason have the outcome `changed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecordingComparison {
    /// The releases of the recorded kernels.
    pub releases: Vec<String>,
    /// Number of cases whose observations were compared.
    pub compared: usize,
    /// The known changes that explain differences, with their commits or releases.
    #[serde(rename = "expected")]
    pub known_changes: Vec<String>,
    /// The reason why nothing was compared, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl RecordingComparison {
    /// The comparison in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        if let Some(reason) = &self.reason {
            return format!("not compared: {reason}");
        }
        let (cases, releases) = (self.compared, self.releases.join(" and "));
        let explained = match self.known_changes.as_slice() {
            [] => String::new(),
            changes => format!("; known changes: {}", changes.join("; ")),
        };
        format!("{cases} cases compared with {releases}{explained}")
    }
}

/// The result of judging one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Version of sudbox.
    #[serde(rename = "sudbox")]
    pub sudbox_version: String,
    /// Start of the run in UTC, as in `2026-11-29T19:43:58Z` (RFC 3339); empty if unknown.
    #[serde(default)]
    #[serde(rename = "date")]
    pub start_time: String,
    /// The kernel.
    pub kernel: Kernel,
    /// Backend and accelerator, and the reason for the choice, in one line.
    pub machine: String,
    /// Identity of the booted image, equal for equal images; empty if unknown.
    #[serde(default)]
    #[serde(rename = "image")]
    pub image_id: String,
    /// Options of the command line that change what is run; empty if there are none.
    #[serde(default)]
    pub options: String,
    /// Facts that the guest reported: release, CPUs, features of dispatch.
    #[serde(rename = "guest")]
    pub guest_facts: Vec<String>,
    /// Whether `fixed` and `unmet` count as failures (`--strict`).
    #[serde(default)]
    pub strict: bool,
    /// Whether `boot/reaches-init` was selected. If not, a kernel that does not boot is not judged.
    #[serde(default)]
    pub boot_selected: bool,
    /// Number of cases that apply to this kernel and were not selected.
    #[serde(default)]
    pub not_selected: usize,
    /// The reason why this kernel cannot be judged, in one sentence (exit code 125).
    #[serde(rename = "unjudged")]
    pub unjudged_reason: Option<String>,
    /// The cases, in the order of the plan.
    pub cases: Vec<CaseReport>,
    /// The measurements, one for each benchmark that ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "measured")]
    pub measurements: Vec<CaseMeasurement>,
    /// The comparison with the recorded behaviour of neighbours in the series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "recording")]
    pub comparison: Option<RecordingComparison>,
    /// Number of booted VMs.
    pub boots: u32,
    /// Number of VMs that were restored from the snapshot of a booted one.
    #[serde(default)]
    pub restored: u32,
    /// Milliseconds from the start of the first VM to the end of the last.
    #[serde(rename = "millis")]
    pub duration_millis: u64,
}

/// Number of cases by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals([usize; Outcome::ALL.len()]);

impl Totals {
    /// Number of cases that ended with `outcome`.
    #[must_use]
    pub fn count_of(&self, outcome: Outcome) -> usize {
        self.0[outcome as usize]
    }

    /// Number of cases whose outcome satisfies `condition`.
    #[must_use]
    pub fn count_where(&self, condition: impl Fn(Outcome) -> bool) -> usize {
        Outcome::ALL
            .into_iter()
            .filter(|outcome| condition(*outcome))
            .map(|outcome| self.count_of(outcome))
            .sum()
    }

    /// The number of cases by outcome, worst first, as in `1 fail, 12 pass`.
    #[must_use]
    pub fn listed(&self) -> String {
        let counts = Outcome::ALL.into_iter().filter(|outcome| self.count_of(*outcome) > 0);
        let counts: Vec<String> = counts
            .map(|outcome| format!("{} {}", self.count_of(outcome), outcome.as_str()))
            .collect();
        counts.join(", ")
    }
}

/// Number of cases by whether they were tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Coverage {
    /// Tested, with an outcome that no recorded bug explains.
    #[serde(rename = "tested")]
    pub tested_except_known: usize,
    /// Tested, and failed as a recorded bug predicts.
    pub known: usize,
    /// Not tested, because the kernel does not offer the feature.
    pub absent: usize,
    /// Not tested, because the machine lacks something.
    pub unmet: usize,
    /// Not tested, because they were not selected.
    pub not_selected: usize,
}

impl Coverage {
    /// Whether every promise that the kernel offers was tested.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unmet == 0 && self.not_selected == 0
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tested", self.tested_except_known)?;
        for (count, name) in [
            (self.known, "known"),
            (self.absent, "absent"),
            (self.unmet, "unmet"),
            (self.not_selected, "not selected"),
        ] {
            if count > 0 {
                write!(f, ", {count} {name}")?;
            }
        }
        Ok(())
    }
}

impl Verdict {
    /// Counts the cases by whether they were tested.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        let totals = self.totals();
        let [known, absent, unmet] = [Outcome::Known, Outcome::Absent, Outcome::Unmet]
            .map(|outcome| totals.count_of(outcome));
        let tested_except_known = self.cases.len() - known - absent - unmet;
        Coverage { tested_except_known, known, absent, unmet, not_selected: self.not_selected }
    }

    /// Counts the cases by outcome.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for case in &self.cases {
            totals.0[case.outcome as usize] += 1;
        }
        totals
    }
}
