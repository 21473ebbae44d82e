// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The result of a bisection.

use serde::Serialize;

use crate::Outcome;
use crate::form::{Form, Report};
use crate::forms::json::to_json;
use crate::text::Printable;

/// A commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BisectedCommit {
    /// The full hash.
    pub id: String,
    /// First line of the message.
    pub subject: String,
}

/// A case whose outcome differs between the good end and the bad end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BisectedCase {
    /// Id of the case.
    pub id: String,
    /// Outcome at the older end.
    #[serde(rename = "old")]
    pub old_outcome: Outcome,
    /// Outcome at the newer end.
    #[serde(rename = "new")]
    pub new_outcome: Outcome,
}

/// A commit that was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BisectionStep {
    /// The commit.
    #[serde(flatten)]
    pub commit: BisectedCommit,
    /// The commit's state in git's terms: `good`, `bad`, `old`, `new` or `skip`.
    #[serde(rename = "is")]
    pub state: String,
    /// Time of make in milliseconds.
    pub make_millis: u64,
    /// Time of the VMs in milliseconds.
    pub vm_millis: u64,
    /// Time of the whole step in milliseconds.
    #[serde(rename = "millis")]
    pub total_millis: u64,
}

/// The result of a bisection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Bisection {
    /// Version of the schema.
    pub schema: u32,
    /// Version of sudbox.
    #[serde(rename = "sudbox")]
    pub sudbox_version: String,
    /// The exit code.
    pub exit_code: u8,
    /// The first changed commit; several if commits between them could not be judged.
    pub commits: Vec<BisectedCommit>,
    /// The cases whose change of outcome was bisected.
    #[serde(rename = "sought")]
    pub sought_cases: Vec<BisectedCase>,
    /// The judged commits: the good end, the bad end, then the steps in order.
    pub steps: Vec<BisectionStep>,
    /// The folder with the reports of each step.
    pub folder: String,
    /// The report for people.
    #[serde(skip)]
    pub text: String,
}

impl Report for Bisection {
    const FORMS: &'static [Form<Bisection>] = &[
        Form {
            name: "table",
            about: "For people",
            file_name: "report.txt",
            render: |bisection, _| Printable::message(&bisection.text),
        },
        Form {
            name: "json",
            about: "All that is known",
            file_name: "report.json",
            render: |bisection, _| to_json(bisection),
        },
    ];
}
