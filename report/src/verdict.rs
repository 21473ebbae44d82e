//! What was found out about one kernel.

use crate::costs::Measured;
use serde::{Deserialize, Serialize};

/// Outcome of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The kernel died in it, or reported a fault of its own while it ran.
    Crash,
    /// It did not end before its deadline.
    Hang,
    /// The promise is broken.
    Fail,
    /// A recorded kernel bug no longer shows.
    Fixed,
    /// The machine lacks a named requirement.
    Unmet,
    /// It fails as a recorded, cited kernel bug says.
    Known,
    /// The kernel does not offer the feature, and the expectation agrees.
    Absent,
    /// The promise is kept.
    Pass,
}

impl Outcome {
    /// Every outcome, the worst first.
    pub const ALL: [Outcome; 8] = [
        Outcome::Crash,
        Outcome::Hang,
        Outcome::Fail,
        Outcome::Fixed,
        Outcome::Unmet,
        Outcome::Known,
        Outcome::Absent,
        Outcome::Pass,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Crash => "crash",
            Outcome::Hang => "hang",
            Outcome::Fail => "fail",
            Outcome::Fixed => "fixed",
            Outcome::Unmet => "unmet",
            Outcome::Known => "known",
            Outcome::Absent => "absent",
            Outcome::Pass => "pass",
        }
    }

    /// Whether the kernel broke a promise.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Outcome::Crash | Outcome::Hang | Outcome::Fail)
    }
}

/// The kernel that was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// What the person typed.
    pub reference: String,
    /// `uname -r`, as far as known.
    pub release: String,
    /// Architecture.
    pub arch: String,
    /// Flavour of the configuration.
    pub flavour: String,
    /// Where the source or image came from, with its checksum.
    pub source: String,
    /// Set when another kernel stands in for the one named: one sentence.
    pub stands_in: Option<String>,
}

/// One case and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseReport {
    /// Stable id; what stands before the slash is its group.
    pub id: String,
    /// The promise in one line.
    pub promise: String,
    /// Kernel function that makes the promise.
    pub kernel_function: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What the promise says must be seen; empty where nothing was compared.
    pub expected: String,
    /// What was seen: of a failure, the requirement not met, the feature absent, the known bug
    /// with its citation.
    pub got: String,
    /// What the case logged.
    pub log: Vec<String>,
    /// What the console said while it ran, where that belongs to the outcome.
    pub console: Option<String>,
    /// Command that runs this case again on this kernel.
    pub rerun: String,
    /// Microseconds it took in the guest; 0 if it did not end.
    pub micros: u64,
}

/// What was found out about one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Version of sudbox.
    pub sudbox: String,
    /// The kernel.
    pub kernel: Kernel,
    /// One line: backend, what it runs on, why.
    pub machine: String,
    /// Facts the guest told: CPU model, CPUs, SUD features found.
    pub guest: Vec<String>,
    /// Why this kernel cannot be judged, if it cannot: one sentence. Goes with exit code 125.
    pub unjudged: Option<String>,
    /// The cases, in the order they were planned.
    pub cases: Vec<CaseReport>,
    /// What those of them measured that measure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<Measured>,
    /// How many VMs were booted.
    pub boots: u32,
    /// How many VMs began as another that was kept when its guest was ready.
    #[serde(default)]
    pub restored: u32,
    /// Milliseconds from the first VM's start to the last's end.
    pub millis: u64,
}

/// How many cases ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals([usize; Outcome::ALL.len()]);

impl Totals {
    /// How many ended with `outcome`.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> usize {
        self.0[outcome as usize]
    }
}

impl Verdict {
    /// Counts the outcomes.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for case in &self.cases {
            totals.0[case.outcome as usize] += 1;
        }
        totals
    }
}
