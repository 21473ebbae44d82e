// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The outcomes of cases over time, by kernel.
//!
//! Each verdict adds an [`Entry`], a line of JSON, to a file. [`History`] selects cases from the entries
//! and finds flaky cases: cases with different outcomes on the same image and machine.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::form::{Form, Report};
use crate::forms::json::to_json;
use crate::terminal::{Colour, ReportWriter, Screen};
use crate::{Outcome, Printable, Verdict, text};

/// The outcomes of one verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Start of the run in UTC (RFC 3339).
    #[serde(rename = "date")]
    pub start_time: String,
    /// Release, architecture and flavour of the kernel.
    pub kernel: String,
    /// Identity of the image.
    #[serde(rename = "image")]
    pub image_id: String,
    /// Machine, processor and options, because outcomes may depend on them.
    pub machine: String,
    /// Ids of the cases by outcome.
    pub outcomes: BTreeMap<Outcome, Vec<String>>,
}

impl Entry {
    /// The entry for a verdict; `None` if the verdict has no cases.
    #[must_use]
    pub fn from_verdict(verdict: &Verdict) -> Option<Entry> {
        let mut outcomes: BTreeMap<Outcome, Vec<String>> = BTreeMap::new();
        for case in &verdict.cases {
            outcomes.entry(case.outcome).or_default().push(case.id.clone());
        }
        let kernel = &verdict.kernel;
        let kernel_words =
            [&kernel.release, &kernel.arch, &kernel.flavour].map(|word| text::escaped_line(word));
        let kernel_words: Vec<String> =
            kernel_words.into_iter().filter(|word| !word.is_empty()).collect();
        // The reason for the choice of the machine is left out, because it contains times.
        let machine = verdict.machine.split(": ").next().unwrap_or_default();
        let processor = verdict.guest_facts.get(1).map_or("", String::as_str);
        (!outcomes.is_empty()).then(|| Entry {
            start_time: verdict.start_time.clone(),
            kernel: kernel_words.join(", "),
            image_id: text::escaped_line(&verdict.image_id),
            machine: text::escaped_line(&format!("{machine}; {processor}; {}", verdict.options)),
            outcomes,
        })
    }

    /// The entry as a line of the file.
    ///
    /// # Panics
    /// Never: an entry consists of strings.
    #[must_use]
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("strings only") + "\n"
    }

    /// Parses the entries of a file. Skips invalid lines, such as a truncated one.
    #[must_use]
    pub fn parse_lines(text: &str) -> Vec<Entry> {
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn outcome_of(&self, id: &str) -> Option<Outcome> {
        let mut outcomes = self.outcomes.iter();
        outcomes.find(|(_, ids)| ids.iter().any(|other| other == id)).map(|(outcome, _)| *outcome)
    }
}

/// One outcome of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Point"))]
pub struct DatedOutcome {
    /// Start of the run in UTC (RFC 3339).
    #[serde(rename = "date")]
    pub start_time: String,
    /// Release, architecture and flavour of the kernel.
    pub kernel: String,
    /// The outcome.
    pub outcome: Outcome,
}

/// A case that had different outcomes on the same image and machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Flake {
    /// Release, architecture and flavour of the kernel.
    pub kernel: String,
    /// Identity of the image.
    #[serde(rename = "image")]
    pub image_id: String,
    /// Number of runs by outcome.
    pub outcomes: BTreeMap<Outcome, usize>,
}

impl Flake {
    /// The number of runs by outcome, as in `1 fail, 12 pass`.
    #[must_use]
    pub fn counts(&self) -> String {
        let counts = self.outcomes.iter();
        let counts: Vec<String> =
            counts.map(|(outcome, count)| format!("{count} {}", outcome.as_str())).collect();
        counts.join(", ")
    }
}

/// The outcomes of one case over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CaseHistory {
    /// Id of the case.
    pub id: String,
    /// The outcomes, oldest first.
    #[serde(rename = "points")]
    pub dated_outcomes: Vec<DatedOutcome>,
    /// The images on which the case is flaky.
    pub flaky: Vec<Flake>,
}

/// The outcomes of selected cases over time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct History {
    /// Version of the schema.
    pub schema: u32,
    /// The cases, by id.
    pub cases: Vec<CaseHistory>,
}

impl History {
    /// The history of the selected cases, from entries in chronological order.
    #[must_use]
    pub fn from_entries(entries: &[Entry], is_selected: impl Fn(&str) -> bool) -> History {
        let mut ids: Vec<&String> = entries
            .iter()
            .flat_map(|entry| entry.outcomes.values().flatten())
            .filter(|id| is_selected(id))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let cases = ids.into_iter().map(|id| CaseHistory::from_entries(entries, id)).collect();
        History { schema: 1, cases }
    }
}

impl CaseHistory {
    /// The history of one case.
    #[must_use]
    pub fn from_entries(entries: &[Entry], id: &str) -> CaseHistory {
        let mut dated_outcomes = Vec::new();
        let mut by_image: Vec<(&Entry, BTreeMap<Outcome, usize>)> = Vec::new();
        for entry in entries {
            let Some(outcome) = entry.outcome_of(id) else { continue };
            let (start_time, kernel) = (entry.start_time.clone(), entry.kernel.clone());
            dated_outcomes.push(DatedOutcome { start_time, kernel, outcome });
            if entry.image_id.is_empty() {
                continue;
            }
            let is_same_image_and_machine = |(other, _): &(&Entry, _)| {
                other.image_id == entry.image_id && other.machine == entry.machine
            };
            let index = by_image.iter().position(is_same_image_and_machine).unwrap_or_else(|| {
                by_image.push((entry, BTreeMap::new()));
                by_image.len() - 1
            });
            *by_image[index].1.entry(outcome).or_default() += 1;
        }
        let flaky = by_image.into_iter().filter(|(_, outcomes)| outcomes.len() > 1);
        let flaky = flaky.map(|(entry, outcomes)| Flake {
            kernel: entry.kernel.clone(),
            image_id: entry.image_id.clone(),
            outcomes,
        });
        CaseHistory { id: id.to_owned(), dated_outcomes, flaky: flaky.collect() }
    }
}

impl Report for History {
    const FORMS: &'static [Form<History>] = &[
        Form { name: "table", about: "For people", file_name: "history.txt", render },
        Form {
            name: "json",
            about: "All that is known",
            file_name: "history.json",
            render: |history, _| to_json(history),
        },
    ];
}

/// Renders a line for each series of equal outcomes of a case on a kernel.
fn render(history: &History, screen: Screen) -> Printable {
    let mut writer = ReportWriter::new(screen);
    for case in &history.cases {
        let id = writer.paint(Colour::Bold, &text::escaped_line(&case.id));
        writer.write_line(&id);
        let is_same_series =
            |a: &DatedOutcome, b: &DatedOutcome| (&a.kernel, a.outcome) == (&b.kernel, b.outcome);
        for series in case.dated_outcomes.chunk_by(is_same_series) {
            let (first, last) = (&series[0], &series[series.len() - 1]);
            let colour = match first.outcome {
                outcome if outcome.is_failure() => Colour::Red,
                Outcome::Pass => Colour::Green,
                _ => Colour::Yellow,
            };
            let outcome_name = writer.paint(colour, &format!("{:<6}", first.outcome.as_str()));
            let times = match series.len() {
                1 => first.start_time.clone(),
                count => format!("{} to {}, {count} times", first.start_time, last.start_time),
            };
            let line = text::escaped_line(&format!("Linux {}: {times}", first.kernel));
            writer.write_wrapped(&format!("  {outcome_name}  "), "            ", &line);
        }
        for flake in &case.flaky {
            let word = writer.paint(Colour::Red, "FLAKY ");
            let kernel = text::escaped_line(&flake.kernel);
            let line = format!("{} on the same image of Linux {kernel}", flake.counts());
            writer.write_wrapped(&format!("  {word}  "), "            ", &line);
        }
    }
    if history.cases.is_empty() {
        writer.write_line("no run of these cases is on record");
    }
    writer.finish()
}

#[cfg(test)]
mod tests;
