// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A campaign: hours of random walks and random points of the grid on one kernel, and their finds.

mod table;

use crate::form::{Form, Report};
use crate::forms::json::to_json;
use crate::runs::{RunKind, Summarised, Summary};
use crate::{CaseReport, Kernel};
use serde::{Deserialize, Serialize};

/// Version of the schema. It is raised if a field is removed or changes its meaning, not if one is added.
pub const SCHEMA: u32 = 1;

/// Failures with the same signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Find"))]
pub struct Find {
    /// The group of the cases, the outcome, the kernel function, and the expected and the actual result
    /// without numbers.
    pub signature: String,
    /// Number of failures.
    pub count: u64,
    /// Hour of the campaign in which the first failure was found, from 0.
    pub hour: u64,
    /// The failure with the shortest log. The log of a walk is its shrunk sequence of operations.
    pub example: CaseReport,
}

/// Counts of one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Hour {
    /// Walks.
    pub walks: u64,
    /// Products of ten thousand random points of the grid.
    pub products: u64,
    /// Cases that failed.
    pub failures: u64,
    /// Finds with a new signature.
    pub finds: u64,
}

/// The code of one source file that walks reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileCoverage {
    /// Path of the file in the kernel's source.
    pub file: String,
    /// Basic blocks that a walk reached.
    pub reached: u64,
    /// Basic blocks that are instrumented.
    pub blocks: u64,
}

/// The code that the walks of a campaign reached, on a kernel of flavour `coverage`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Coverage {
    /// Walks that are kept, because they reached code that no walk had reached before.
    pub kept: u64,
    /// Kept walks that are changes of other kept walks.
    pub kept_changes: u64,
    /// Replays of kept walks.
    pub replays: u64,
    /// The instrumented files.
    pub files: Vec<FileCoverage>,
}

impl Coverage {
    /// The number of basic blocks that a walk reached.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.files.iter().map(|file| file.reached).sum()
    }
}

/// A campaign on one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Campaign {
    /// Version of the schema.
    pub schema: u32,
    /// The kernel.
    pub kernel: Kernel,
    /// Backend and accelerator, and the reason for the choice.
    pub machine: String,
    /// The part of the campaign, as in `2/8`; empty for all of it.
    pub shard: String,
    /// Seed of the first walk.
    pub seed: u64,
    /// Milliseconds for which the campaign ran, without the time between its runs.
    #[serde(rename = "millis")]
    pub duration_millis: u64,
    /// Number of runs of the campaign.
    pub runs: u64,
    /// The code that the walks reached; absent if the kernel does not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// The counts of each hour.
    pub hours: Vec<Hour>,
    /// The finds, the oldest first.
    pub finds: Vec<Find>,
}

impl Campaign {
    /// The current hour of the campaign, from 0.
    #[must_use]
    pub fn current_hour(&self) -> u64 {
        self.duration_millis / 3_600_000
    }

    /// The counts of all hours together.
    #[must_use]
    pub fn total(&self) -> Hour {
        self.hours.iter().fold(Hour::default(), |total, hour| Hour {
            walks: total.walks + hour.walks,
            products: total.products + hour.products,
            failures: total.failures + hour.failures,
            finds: total.finds + hour.finds,
        })
    }

    /// Counts the cases of a finished batch, and adds the failed cases to the finds.
    pub fn add(&mut self, cases: &[CaseReport]) {
        let hour = self.current_hour();
        let index = usize::try_from(hour).unwrap_or(0);
        if self.hours.len() <= index {
            self.hours.resize(index + 1, Hour::default());
        }
        for case in cases {
            match case.group() {
                "walk" => self.hours[index].walks += 1,
                _ => self.hours[index].products += 1,
            }
            if !case.outcome.is_failure() {
                continue;
            }
            self.hours[index].failures += 1;
            let signature = signature(case);
            match self.finds.iter_mut().find(|find| find.signature == signature) {
                Some(find) => {
                    find.count += 1;
                    if case.log.len() < find.example.log.len() {
                        find.example = case.clone();
                    }
                }
                None => {
                    self.hours[index].finds += 1;
                    self.finds.push(Find { signature, count: 1, hour, example: case.clone() });
                }
            }
        }
    }

    /// The exit code: 1 if anything was found.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.finds.is_empty())
    }
}

/// The signature of a failure. Failures that differ only in numbers, in the step of a walk or in the point
/// of the grid have the same signature.
#[must_use]
pub fn signature(case: &CaseReport) -> String {
    let CaseReport { outcome, kernel_function, expected, detail: actual, .. } = case;
    let (expected, actual) = (without_numbers(expected), without_numbers(actual));
    format!("{} {}: {kernel_function}: {expected} / {actual}", case.group(), outcome.as_str())
}

/// A text with `#` for each number, without the step of a walk and the point of the grid.
fn without_numbers(text: &str) -> String {
    let text = text.split(" (grid/").next().unwrap_or_default();
    let text = match text.strip_prefix("in step ").and_then(|rest| rest.split_once(", ")) {
        Some((_, rest)) => rest,
        None => text,
    };
    let mut result = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if !character.is_ascii_digit() {
            result.push(character);
            continue;
        }
        result.push('#');
        while characters.next_if(|next| next.is_ascii_alphanumeric()).is_some() {}
    }
    result
}

impl Report for Campaign {
    const FORMS: &'static [Form<Campaign>] = &[
        Form {
            name: "table",
            about: "For people",
            file_name: "campaign.txt",
            render: table::render,
        },
        Form {
            name: "json",
            about: "All that is known",
            file_name: "campaign.json",
            render: |campaign, _| to_json(campaign),
        },
    ];
}

impl Summarised for Campaign {
    fn summary(&self) -> Summary {
        let total = self.total();
        Summary {
            kind: RunKind::Campaign,
            kernel: crate::runs::kernel_name(&self.kernel),
            result: format!(
                "{} walks, {} products of points, {} finds",
                total.walks,
                total.products,
                self.finds.len()
            ),
            exit_code: self.exit_code(),
        }
    }
}

#[cfg(test)]
mod tests;
