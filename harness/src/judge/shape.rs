// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Groups the selected cases by the VM that they need.

use sudbox_guest_init::case::{Case, Need};
use sudbox_protocol::Feature;

/// The case groups that share the second VM: those that oracles generate (docs/oracles.md), and the
/// longest of the others, so that two VMs side by side end at about the same time.
const SECOND_VM: [&str; 5] = ["compare", "conserve", "grid", "walk", "sandbox"];

/// Boot arguments that disable a feature. The other arguments that cases need disable none.
const DISABLING: [(&str, Feature); 1] = [("ia32_emulation=off", Feature::Ia32)];

/// The shape of a VM: CPUs, their vendor, and further boot arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(super) cpus: u8,
    pub(super) vendor: Option<&'static str>,
    pub(super) arguments: Vec<&'static str>,
    /// Features that no argument may disable.
    pub(super) features: Vec<Feature>,
}

impl Shape {
    /// The shape that `case` needs, with at least `cpus` CPUs.
    fn of(case: &Case, cpus: u8) -> Shape {
        let mut shape = Shape::with_cpus(cpus);
        for need in case.needs {
            match need {
                Need::Cpus(n) => shape.cpus = shape.cpus.max(*n),
                Need::BootArgument(argument) => shape.arguments.push(argument),
                Need::CpuVendor(vendor) => shape.vendor = Some(vendor),
                Need::Root | Need::Vm | Need::CpuFeature(_) => {}
            }
        }
        let disabled = DISABLING.iter().map(|(_, feature)| *feature);
        shape.features.extend(disabled.filter(|feature| case.features.contains(feature)));
        shape
    }

    pub(super) fn with_cpus(cpus: u8) -> Shape {
        Shape { cpus, ..Shape::default() }
    }

    /// Whether a VM of the usual shape will do.
    fn is_usual(&self, cpus: u8) -> bool {
        self.cpus == cpus && self.vendor.is_none() && self.arguments.is_empty()
    }

    /// The shape that satisfies both, if there is one.
    fn joined(&self, other: &Shape) -> Option<Shape> {
        let mut joined = self.clone();
        joined.cpus = joined.cpus.max(other.cpus);
        joined.vendor = joined.vendor.or(other.vendor);
        joined.arguments.extend(other.arguments.iter().filter(|a| !self.arguments.contains(a)));
        joined.features.extend(other.features.iter().filter(|f| !self.features.contains(f)));
        let key = |argument: &'static str| argument.split('=').next();
        let twice = |at: usize, argument: &'static str| {
            joined.arguments[..at].iter().any(|earlier| key(earlier) == key(argument))
        };
        let conflict = other.vendor.is_some_and(|vendor| joined.vendor != Some(vendor))
            || (0..).zip(&joined.arguments).any(|(at, argument)| twice(at, argument))
            || DISABLING.iter().any(|(argument, feature)| {
                joined.arguments.contains(argument) && joined.features.contains(feature)
            });
        (!conflict).then_some(joined)
    }
}

/// Cases that share a VM.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) shape: Shape,
    pub(super) cases: Vec<&'static Case>,
}

/// Sorts cases into groups, one for each VM: two of cases without particular needs, and as few further
/// groups as possible for the rest. The cases of [`SECOND_VM`] run on a CPU of any vendor, so cases that
/// need one join them.
pub(super) fn groups(cases: &[&'static Case], cpus: u8) -> Vec<Group> {
    let usual = Shape::with_cpus(cpus);
    let mut checks = Group { shape: usual.clone(), cases: Vec::new() };
    let mut second = checks.clone();
    let mut particular = Vec::new();
    for case in cases {
        let shape = Shape::of(case, cpus);
        if !shape.is_usual(cpus) {
            particular.push((shape, *case));
        } else if SECOND_VM.contains(&case.group()) {
            second.cases.push(case);
            if let Some(joined) = second.shape.joined(&shape) {
                second.shape = joined;
            }
        } else {
            checks.cases.push(case);
        }
    }
    let mut further = Vec::<Group>::new();
    for (shape, case) in particular {
        let vendor_only = shape.cpus == cpus && shape.arguments.is_empty();
        let hosts = vendor_only && !second.cases.is_empty();
        let groups = hosts.then_some(&mut second).into_iter().chain(&mut further);
        let joined =
            groups.into_iter().find_map(|group| Some((group.shape.joined(&shape)?, group)));
        match joined {
            Some((joined, group)) => {
                group.shape = joined;
                group.cases.push(case);
            }
            None => further.push(Group { shape, cases: vec![case] }),
        }
    }
    [checks, second].into_iter().filter(|group| !group.cases.is_empty()).chain(further).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::select;

    fn grouped(words: &str, cpus: u8) -> Vec<Group> {
        groups(&select(words).unwrap().cases, cpus)
    }

    #[test]
    fn every_case_is_in_one_group() {
        for words in ["", "stress", "core"] {
            let all = select(words).unwrap().cases;
            let count: usize = grouped(words, 1).iter().map(|group| group.cases.len()).sum();
            assert_eq!(count, all.len(), "{words}");
        }
    }

    #[test]
    fn the_usual_cases_come_first_and_oracles_have_a_vm_of_their_own() {
        let groups = grouped("registers grid stress", 1);
        assert_eq!(groups.len(), 3);
        assert!(groups[0].cases.iter().all(|case| case.id.starts_with("registers/")));
        assert!(groups[1].cases.iter().all(|case| case.id.starts_with("grid/")));
        assert_eq!(groups[2].shape, Shape::with_cpus(2));
        assert_eq!(grouped("stress", 4).len(), 1, "four CPUs are enough for it");
    }

    #[test]
    fn needs_are_served_by_few_vms() {
        let groups = grouped("", 1);
        assert_eq!(groups.len(), 3);
        assert_eq!(groups[1].shape.vendor, Some("GenuineIntel"), "with the oracles");
        assert_eq!((groups[1].shape.cpus, groups[1].shape.arguments.len()), (1, 0));
        assert_eq!((groups[2].shape.cpus, groups[2].shape.arguments.len()), (2, 2));
        let alone = grouped("entries/sysenter", 1);
        assert_eq!(alone[0].shape.vendor, Some("GenuineIntel"));
    }

    #[test]
    fn contradictions_share_no_vm() {
        let shape = |vendor, arguments| Shape { cpus: 1, vendor, arguments, features: vec![] };
        let intel = shape(Some("GenuineIntel"), vec![]);
        assert_eq!(intel.joined(&shape(Some("AuthenticAMD"), vec![])), None);
        assert_eq!(intel.joined(&shape(None, vec!["a=1"])).unwrap().arguments, ["a=1"]);
        let one = shape(None, vec!["a=1"]);
        assert_eq!(one.joined(&shape(None, vec!["a=2"])), None);
        assert_eq!(one.joined(&shape(None, vec!["b=2"])), Some(shape(None, vec!["a=1", "b=2"])));
        assert_eq!(one.joined(&one), Some(one.clone()));
        let off = shape(None, vec!["ia32_emulation=off"]);
        let needs_it = Shape { features: vec![Feature::Ia32], ..shape(None, vec![]) };
        assert_eq!(off.joined(&needs_it), None);
        assert_eq!(needs_it.joined(&off), None);
        assert!(one.joined(&needs_it).is_some());
    }
}
