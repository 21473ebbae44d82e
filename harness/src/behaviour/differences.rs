// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Compares the behaviours of two kernels value by value.

use super::{Behaviour, CaseBehaviour, PartName};
use std::collections::{HashMap, HashSet};
use sudbox_protocol::{Observation, ObservedPart};
use sudbox_report::diff::ObservationPlace;

/// Maximum number of bytes of a value that a report shows.
const MAX_SHOWN_BYTES: usize = 16;

/// The field of a difference in results.
pub(super) const RESULT_FIELD: &str = "result";
/// The field of a difference in the features that the guests found.
pub(super) const FEATURE_FIELD: &str = "feature";
/// The text for a value that one kernel lacks.
pub(super) const MISSING: &str = "missing";
/// The text for a value that only one kernel has, in place of its bytes.
pub(super) const PRESENT: &str = "present";

/// The field of a difference in whether a step is observed at all.
const STEP_FIELD: &str = "the step itself";

/// One difference at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawDifference {
    pub(crate) place: ObservationPlace,
    /// The field and its part, such as `frame.si_code`.
    pub(crate) field: String,
    pub(crate) kernel_function: String,
    /// The values on both kernels, as text.
    pub(crate) values: [String; 2],
}

impl RawDifference {
    /// Whether another difference is about the same observed value: the same field at the same place, or the
    /// whole step.
    pub(crate) fn is_about_same_value(&self, other: &RawDifference) -> bool {
        // The offset of the first byte that differs is no part of the field.
        let field = |difference: &RawDifference| {
            difference.field.split("+0x").next().map(str::to_owned).unwrap_or_default()
        };
        self.place == other.place
            && (field(self) == field(other)
                || [&self.field, &other.field].contains(&&STEP_FIELD.to_owned()))
    }
}

/// The result of comparing two behaviours.
#[derive(Debug, Default)]
pub(super) struct BehaviourComparison {
    pub(super) differences: Vec<RawDifference>,
    /// Number of values that were compared.
    pub(super) value_count: usize,
    /// Number of cases that were compared.
    pub(super) case_count: usize,
}

/// Compares the cases that `selected` accepts. `big_endian` tells the byte order of the guests.
pub(super) fn compare_behaviours(
    behaviours: [&Behaviour; 2],
    selected: impl Fn(&str) -> bool,
    big_endian: bool,
) -> BehaviourComparison {
    let [first, second] = behaviours;
    let mut compared = BehaviourComparison::default();
    for feature in first.features.symmetric_difference(&second.features) {
        let offered = |behaviour: &Behaviour| match behaviour.features.contains(feature) {
            true => "offered".to_owned(),
            false => MISSING.to_owned(),
        };
        compared.differences.push(RawDifference {
            place: ObservationPlace::default(),
            field: format!("{FEATURE_FIELD} {feature}"),
            kernel_function: String::new(),
            values: [offered(first), offered(second)],
        });
    }
    for (id, case) in first.cases.iter().filter(|(id, _)| selected(id)) {
        let Some(other) = second.cases.get(id) else { continue };
        compared.case_count += 1;
        CaseComparison { id, cases: [case, other], big_endian, compared: &mut compared }
            .compare_case();
    }
    compared
}

/// The comparison of one case.
struct CaseComparison<'a> {
    id: &'a str,
    cases: [&'a CaseBehaviour; 2],
    big_endian: bool,
    compared: &'a mut BehaviourComparison,
}

/// Scenario, step and field of an observation, which together identify it within a case.
type ObservationKey<'a> = (&'a str, &'a str, &'a str);

fn observation_key(observation: &Observation) -> ObservationKey<'_> {
    (&observation.scenario, &observation.step, &observation.field)
}

impl CaseComparison<'_> {
    fn compare_case(&mut self) {
        let [first, second] = self.cases;
        if first.is_result_unstable() || second.is_result_unstable() {
            return;
        }
        self.compared.value_count += 1;
        if first.result != second.result {
            self.add_difference(
                ["", ""],
                RESULT_FIELD.to_owned(),
                "",
                [&first.result, &second.result].map(Clone::clone),
            );
        }
        // A case that did not run has no observations.
        let ran = |case: &CaseBehaviour| case.result == "pass" || case.result.starts_with("fail: ");
        if !ran(first) || !ran(second) {
            return;
        }
        let others: HashMap<ObservationKey<'_>, &Observation> = second
            .observations
            .iter()
            .map(|observation| (observation_key(observation), observation))
            .collect();
        let mut seen = HashSet::new();
        for observation in &first.observations {
            seen.insert(observation_key(observation));
            match others.get(&observation_key(observation)) {
                Some(other) => self.compare_observation(observation, other),
                None => self.add_missing(observation, 0),
            }
        }
        for observation in &second.observations {
            if !seen.contains(&observation_key(observation)) {
                self.add_missing(observation, 1);
            }
        }
    }

    fn add_difference(
        &mut self,
        moment: [&str; 2],
        field: String,
        function: &str,
        values: [String; 2],
    ) {
        let [scenario, step] = moment.map(str::to_owned);
        self.compared.differences.push(RawDifference {
            place: ObservationPlace { case: self.id.to_owned(), scenario, step },
            field,
            kernel_function: function.to_owned(),
            values,
        });
    }

    /// Whether a part of an observation differs between boots of one of the kernels.
    fn is_unstable(&self, observation: &Observation, part: &str) -> bool {
        let name = PartName::new(observation, part);
        self.cases.iter().any(|case| case.unstable_parts.contains(&name))
    }

    /// Adds an observation that only the kernel with this index has, unless it is unstable on the other.
    /// If the other kernel has no observation of the step, only the step itself is added.
    fn add_missing(&mut self, observation: &Observation, index: usize) {
        let stable = |part: &&ObservedPart| !self.is_unstable(observation, &part.name);
        if observation.parts.iter().filter(stable).count() == 0 {
            return;
        }
        let Observation { scenario, step, field, function, .. } = observation;
        let other_has_step = self.cases[1 - index]
            .observations
            .iter()
            .any(|other| other.scenario == *scenario && other.step == *step);
        let mut values = [MISSING.to_owned(), MISSING.to_owned()];
        values[index] = PRESENT.to_owned();
        let (field, function) =
            if other_has_step { (field.as_str(), function.as_str()) } else { (STEP_FIELD, "") };
        let added = self.compared.differences.last().is_some_and(|last| {
            !other_has_step
                && last.place.scenario == *scenario
                && last.place.step == *step
                && last.field == field
        });
        if !added {
            self.add_difference([scenario, step], field.to_owned(), function, values);
        }
    }

    /// Compares an observation of both kernels part by part.
    fn compare_observation(&mut self, first: &Observation, second: &Observation) {
        let Observation { scenario, step, field, function, .. } = first;
        let others: HashMap<&str, &[u8]> =
            second.parts.iter().map(|part| (part.name.as_str(), part.bytes.as_slice())).collect();
        let mut seen = HashSet::new();
        for ObservedPart { name, bytes } in &first.parts {
            seen.insert(name.as_str());
            let whole = if name.is_empty() { field.clone() } else { format!("{field}.{name}") };
            match others.get(name.as_str()) {
                Some(other) if *other == bytes.as_slice() => self.compared.value_count += 1,
                Some(other) => {
                    self.compared.value_count += 1;
                    let (place, values) = values_as_text([bytes, other], self.big_endian);
                    self.add_difference(
                        [scenario, step],
                        format!("{whole}{place}"),
                        function,
                        values,
                    );
                }
                None if self.is_unstable(first, name) => {}
                None => {
                    let values = [PRESENT.to_owned(), MISSING.to_owned()];
                    self.add_difference([scenario, step], whole, function, values);
                }
            }
        }
        for ObservedPart { name, .. } in &second.parts {
            if !seen.contains(name.as_str()) && !self.is_unstable(second, name) {
                let values = [MISSING.to_owned(), PRESENT.to_owned()];
                self.add_difference([scenario, step], format!("{field}.{name}"), function, values);
            }
        }
    }
}

/// The offset at which the shown bytes begin, such as `+0x8`, and two different values as text. The
/// offset is empty if whole values are shown.
fn values_as_text(values: [&[u8]; 2], big_endian: bool) -> (String, [String; 2]) {
    if let [Some(first), Some(second)] = values.map(bytes_as_text) {
        // The values may be lists: take the first items that differ.
        let (mut one, mut other) = (first.split("; "), second.split("; "));
        let pair = loop {
            match (one.next(), other.next()) {
                (Some(a), Some(b)) if a == b => {}
                (a, b) => break [a, b].map(|item| item.unwrap_or("nothing more").to_owned()),
            }
        };
        return (String::new(), pair);
    }
    let [first, second] = values;
    if first.len() != second.len() {
        return (String::new(), values.map(|value| format!("{} bytes", value.len())));
    }
    if matches!(first.len(), 1 | 2 | 4 | 8) {
        let number = |bytes: &[u8]| {
            let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
            let value = match big_endian {
                true => bytes.iter().fold(0, fold),
                false => bytes.iter().rev().fold(0, fold),
            };
            format!("{value:#x}")
        };
        return (String::new(), values.map(number));
    }
    let differs = |(a, b): (&u8, &u8)| a != b;
    let start = first.iter().zip(second).position(differs).unwrap_or(0);
    let end = first.iter().zip(second).rposition(differs).unwrap_or(0) + 1;
    let hex = |bytes: &[u8]| {
        let shown = &bytes[start..end.min(start + MAX_SHOWN_BYTES)];
        let more = end - start - shown.len();
        let digits: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        if more > 0 { format!("{digits}... ({more} more bytes)") } else { digits }
    };
    (format!("+{start:#x}"), values.map(hex))
}

/// The bytes as text if they are text and not a number.
fn bytes_as_text(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    let printable = |c: char| c == '\t' || c == '\n' || !c.is_control();
    let number = matches!(bytes.len(), 1 | 2 | 4 | 8) && !text.starts_with(':');
    (!number && text.chars().all(printable)).then(|| text.trim_start_matches(':').trim())
}
