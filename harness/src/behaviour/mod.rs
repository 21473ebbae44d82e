// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The behaviour of a kernel: what user space can observe in the cases, as guests record it.

mod changes;
mod differences;
mod store;

pub(crate) use store::{BehaviourStore, decode_plain, write_plain};

use crate::session::cases::EndedCase;
use changes::ComparedKernel;
pub(crate) use changes::Explanation;
pub(crate) use differences::RawDifference;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use sudbox_guest_init::grid::dimension::{DIMENSIONS, Point};
use sudbox_protocol::{Arch, CaseResult, Hello, Observation, ObservedPart};
use sudbox_report::Kernel;
use sudbox_report::diff::{
    Diff, Difference, ExpectedChange, ObservationPlace, SCHEMA, UnstablePart,
};

/// The observations of one boot, or those on which two boots agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behaviour {
    /// `uname -r`.
    pub(crate) release: String,
    /// The names of the features that the guest reported.
    pub(crate) features: BTreeSet<String>,
    /// The layout of the floating point state that the guest reported ([`Hello::floating_state_layout`]).
    pub(crate) floating_state_layout: String,
    /// The recorded cases by id.
    pub(crate) cases: BTreeMap<String, CaseBehaviour>,
}

/// The behaviour of a kernel in one case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CaseBehaviour {
    /// The result, such as `pass` or `absent: sysctl`. Empty if two boots had different results.
    pub(crate) result: String,
    pub(crate) observations: Vec<Observation>,
    /// The parts of observations that differed between two boots. `observations` lacks them.
    pub(crate) unstable_parts: BTreeSet<PartName>,
    /// The digest of the observations that every run of the case makes; `None` if there are none, or if
    /// two boots had different digests.
    pub(crate) digest: Option<u64>,
}

/// The name of a part of an observation.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct PartName {
    pub(crate) scenario: String,
    pub(crate) step: String,
    pub(crate) field: String,
    pub(crate) part: String,
}

impl PartName {
    pub(crate) fn new(observation: &Observation, part: &str) -> PartName {
        PartName {
            scenario: observation.scenario.clone(),
            step: observation.step.clone(),
            field: observation.field.clone(),
            part: part.to_owned(),
        }
    }
}

impl CaseBehaviour {
    /// Whether the result of the case was different in two boots.
    pub(crate) fn is_result_unstable(&self) -> bool {
        self.result.is_empty()
    }

    /// The observations on which both boots agree. The names of the other parts are in
    /// `unstable_parts`.
    fn common_to_both(first: CaseBehaviour, second: &CaseBehaviour) -> CaseBehaviour {
        let result = if first.result == second.result { first.result } else { String::new() };
        let digest = first.digest.filter(|digest| second.digest == Some(*digest));
        let mut agreed = CaseBehaviour { result, digest, ..CaseBehaviour::default() };
        let key = |observation: &Observation| {
            let Observation { scenario, step, field, .. } = observation;
            (scenario.clone(), step.clone(), field.clone())
        };
        let mut others: HashMap<_, &Observation> =
            second.observations.iter().map(|observation| (key(observation), observation)).collect();
        for mut observation in first.observations {
            let other = others.remove(&key(&observation));
            let is_same =
                |part: &ObservedPart| other.is_some_and(|other| other.parts.contains(part));
            let (same, different): (Vec<_>, Vec<_>) =
                std::mem::take(&mut observation.parts).into_iter().partition(is_same);
            for part in different {
                agreed.unstable_parts.insert(PartName::new(&observation, &part.name));
            }
            observation.parts = same;
            if !observation.parts.is_empty() {
                agreed.observations.push(observation);
            }
        }
        for observation in others.into_values() {
            let names = observation.parts.iter().map(|part| PartName::new(observation, &part.name));
            agreed.unstable_parts.extend(names);
        }
        agreed
    }
}

impl Behaviour {
    /// The behaviour on which two boots of one kernel agree, in the cases that ran in both.
    pub(crate) fn common_to_both(first: Behaviour, mut second: Behaviour) -> Behaviour {
        let Behaviour { release, features, floating_state_layout, cases } = first;
        let both = cases.into_iter().filter_map(|(id, case)| {
            let other = second.cases.remove(&id)?;
            Some((id, CaseBehaviour::common_to_both(case, &other)))
        });
        Behaviour { cases: both.collect(), release, features, floating_state_layout }
    }
}

/// Collects the behaviour of a kernel while its cases run, from several VMs at a time.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Behaviour>);

impl Recorder {
    /// Adds a case that ended. Moves the observations out of `ended`.
    pub(crate) fn add_case(&self, id: &str, ended: &mut EndedCase) {
        let result = match (&ended.kernel_fault, &ended.result) {
            (Some(fault), _) => format!("kernel fault: {}", fault.headline),
            (None, CaseResult::Pass) => "pass".to_owned(),
            (None, CaseResult::Fail { got, .. }) => format!("fail: {got}"),
            (None, CaseResult::Absent(feature)) => format!("absent: {feature}"),
            (None, CaseResult::Unmet(need)) => format!("unmet: {need}"),
            (None, CaseResult::Hang) => "hang".to_owned(),
            (None, CaseResult::Broken(reason)) => format!("broken: {reason}"),
        };
        let observations = std::mem::take(&mut ended.observations);
        let digest = ended.digest;
        self.insert(id, CaseBehaviour { result, observations, digest, ..CaseBehaviour::default() });
    }

    /// Adds a case during which the VM crashed or hung.
    pub(crate) fn add_crash(&self, id: &str, cause: &str) {
        let result = format!("crash: {cause}");
        self.insert(id, CaseBehaviour { result, ..CaseBehaviour::default() });
    }

    /// Adds the facts about the guest.
    pub(crate) fn add_guest_facts(&self, hello: &Hello) {
        let mut behaviour = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        behaviour.release.clone_from(&hello.release);
        behaviour.floating_state_layout.clone_from(&hello.floating_state_layout);
        if behaviour.features.is_empty() {
            behaviour.features = hello.features.iter().map(ToString::to_string).collect();
        }
    }

    fn insert(&self, id: &str, case: CaseBehaviour) {
        let mut behaviour = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        behaviour.cases.insert(id.to_owned(), case);
    }

    /// The behaviour that was collected.
    pub(crate) fn take_behaviour(&self) -> Behaviour {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Compares two behaviours in the cases that `selected` accepts.
pub(crate) fn diff_of_behaviours(
    behaviours: [&Behaviour; 2],
    kernels: [Kernel; 2],
    machine: String,
    selected: impl Fn(&str) -> bool,
    arch: Arch,
) -> Diff {
    let compared = differences::compare_behaviours(behaviours, &selected, arch.is_big_endian());
    let mut unstable = Vec::new();
    for behaviour in behaviours {
        for (id, case) in behaviour.cases.iter().filter(|(id, _)| selected(id)) {
            let place = |name: &PartName| ObservationPlace {
                case: id.clone(),
                scenario: name.scenario.clone(),
                step: name.step.clone(),
            };
            let field = |name: &PartName| format!("{}.{}", name.field, name.part);
            unstable.extend(case.unstable_parts.iter().map(|name| UnstablePart {
                kernel: behaviour.release.clone(),
                place: place(name),
                field: field(name).trim_end_matches('.').to_owned(),
            }));
            if case.is_result_unstable() {
                let place = ObservationPlace { case: id.clone(), ..ObservationPlace::default() };
                let kernel = behaviour.release.clone();
                let field = differences::RESULT_FIELD.to_owned();
                unstable.push(UnstablePart { kernel, place, field });
            }
        }
    }
    let (expected, unexpected) = explain_differences(compared.differences, behaviours, arch);
    let change = |(explanation, differences): (Explanation, Vec<RawDifference>)| ExpectedChange {
        commit: explanation.commit.to_owned(),
        about: explanation.about.to_owned(),
        differences: group_by_values(&differences),
    };
    Diff {
        schema: SCHEMA,
        kernels,
        machine,
        compared_cases: compared.case_count,
        compared_values: compared.value_count,
        expected: expected.into_iter().map(change).collect(),
        unexpected: group_by_values(&unexpected),
        unstable_parts: unstable,
    }
}

/// Differences by the change that explains them.
pub(crate) type ExplainedDifferences = BTreeMap<Explanation, Vec<RawDifference>>;

/// Separates the differences between two behaviours that a known change explains from the others.
fn explain_differences(
    differences: Vec<RawDifference>,
    behaviours: [&Behaviour; 2],
    arch: Arch,
) -> (ExplainedDifferences, Vec<RawDifference>) {
    let sides = behaviours.map(|behaviour| ComparedKernel {
        release: &behaviour.release,
        features: &behaviour.features,
    });
    let mut expected = ExplainedDifferences::new();
    let mut unexpected = Vec::new();
    for difference in differences {
        match changes::explanation(&difference, &sides, arch) {
            Some(explanation) => expected.entry(explanation).or_default().push(difference),
            None => unexpected.push(difference),
        }
    }
    (expected, unexpected)
}

/// The differences between the observations of two kernels in the cases that `selected` accepts: those
/// that a known change explains, and the others. Cases with different results are left out, since their
/// results say more.
pub(crate) fn differences_of_observations(
    behaviours: [&Behaviour; 2],
    selected: impl Fn(&str) -> bool,
    arch: Arch,
) -> (ExplainedDifferences, Vec<RawDifference>) {
    let [first, second] = behaviours;
    let is_compared = |id: &str| {
        let results = [first, second].map(|behaviour| behaviour.cases.get(id).map(|c| &c.result));
        selected(id) && results[0] == results[1]
    };
    let compared =
        differences::compare_behaviours(behaviours, is_compared, arch.is_big_endian()).differences;
    let of_cases = compared.into_iter().filter(|difference| !difference.place.case.is_empty());
    explain_differences(of_cases.collect(), behaviours, arch)
}

/// Groups differences of one field with the same values.
pub(crate) fn group_by_values(differences: &[RawDifference]) -> Vec<Difference> {
    let mut groups: Vec<Difference> = Vec::new();
    let mut index: HashMap<(&str, &[String; 2]), usize> = HashMap::new();
    for RawDifference { place, field, kernel_function: function, values } in differences {
        let at = *index.entry((field, values)).or_insert(groups.len());
        if at == groups.len() {
            let [first, second] = values.clone();
            groups.push(Difference {
                field: field.clone(),
                first,
                second,
                kernel_function: function.clone(),
                ..Difference::default()
            });
        }
        groups[at].places.push(place.clone());
    }
    for group in &mut groups {
        group.common_states = common_states(&group.places);
    }
    groups
}

/// The states that all these points of the grid have in common, in words; empty if a place is not a
/// point. The first state of a dimension, which most points have, is left out.
fn common_states(places: &[ObservationPlace]) -> String {
    let point = |place: &ObservationPlace| Point::parse(place.scenario.strip_prefix("at-")?);
    let Some(points) = places.iter().map(point).collect::<Option<Vec<Point>>>() else {
        return String::new();
    };
    let Some(first) = points.first() else { return String::new() };
    let shared = DIMENSIONS.iter().enumerate().skip(1).filter(|(at, _)| {
        first.0[*at] != 0 && points.iter().all(|point| point.0[*at] == first.0[*at])
    });
    let words = shared.map(|(at, dimension)| {
        format!("{} {}", dimension.title, dimension.states[usize::from(first.0[at])])
    });
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
