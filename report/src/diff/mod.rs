// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The differences in behaviour between two kernels, as user space can observe them.

mod table;

use crate::Kernel;
use crate::form::{Form, Report};
use crate::forms::json::to_json;
use crate::runs::{RunKind, Summarised, Summary};
use serde::{Deserialize, Serialize};

/// A place in the recordings: a step of a scenario of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Place"))]
pub struct ObservationPlace {
    /// The id of the case; empty for a difference that belongs to no case.
    pub case: String,
    /// The scenario within the case: a variant of the call, a point of the grid.
    pub scenario: String,
    /// The step within the scenario.
    pub step: String,
}

/// One difference, and all places that show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Difference {
    /// The field and its part, such as `frame.si_code`, or `result` for the result of a case.
    pub field: String,
    /// The value on the first kernel.
    pub first: String,
    /// The value on the second kernel.
    pub second: String,
    /// The kernel function that writes the field.
    #[serde(rename = "function")]
    pub kernel_function: String,
    /// The states that all points of the grid with this difference have in common, in words; empty if there
    /// are none.
    #[serde(rename = "common")]
    pub common_states: String,
    /// The places.
    pub places: Vec<ObservationPlace>,
}

/// A change of the kernel that the table of changes names, and the differences that it explains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExpectedChange {
    /// The commit in Linus' tree, or the release if there are several commits.
    pub commit: String,
    /// The change in words.
    pub about: String,
    /// The differences.
    pub differences: Vec<Difference>,
}

/// A part of an observation that is not compared, because it differs between boots of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UnstablePart {
    /// The release of the kernel.
    pub kernel: String,
    /// The place.
    #[serde(flatten)]
    pub place: ObservationPlace,
    /// The field and its part; `result` for the result of a case.
    pub field: String,
}

/// The differences in behaviour between two kernels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Diff {
    /// Version of the schema.
    pub schema: u32,
    /// The kernels.
    pub kernels: [Kernel; 2],
    /// Backend and accelerator, and the reason for the choice.
    pub machine: String,
    /// Number of cases that were recorded on both kernels.
    #[serde(rename = "cases")]
    pub compared_cases: usize,
    /// Number of observed values that were compared.
    #[serde(rename = "compared")]
    pub compared_values: usize,
    /// The differences that the table of changes explains, by change.
    pub expected: Vec<ExpectedChange>,
    /// The differences that nothing explains.
    pub unexpected: Vec<Difference>,
    /// The parts that are not compared.
    #[serde(rename = "unstable")]
    pub unstable_parts: Vec<UnstablePart>,
}

/// Version of the schema. It is raised if a field is removed or changes its meaning, not if one is added.
pub const SCHEMA: u32 = 1;

impl Diff {
    /// The exit code: 1 if there is a difference that nothing explains.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.unexpected.is_empty())
    }
}

impl Report for Diff {
    const FORMS: &'static [Form<Diff>] = &[
        Form { name: "table", about: "For people", file_name: "diff.txt", render: table::render },
        Form {
            name: "json",
            about: "All that is known",
            file_name: "diff.json",
            render: |diff, _| to_json(diff),
        },
    ];
}

impl Summarised for Diff {
    fn summary(&self) -> Summary {
        let names = self.kernels.each_ref().map(|kernel| kernel.release.as_str());
        Summary {
            kind: RunKind::Diff,
            kernel: names.join(" "),
            result: format!(
                "{} expected changes, {} differences not expected",
                self.expected.len(),
                self.unexpected.len()
            ),
            exit_code: self.exit_code(),
        }
    }
}
