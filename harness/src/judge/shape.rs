// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Groups the selected cases by the VM that they need.

use sudbox_guest_init::case::{Case, Need};

/// The case groups that oracles generate (docs/oracles.md). They take as long as all others
/// together, so they get a VM of their own.
const ORACLES: [&str; 4] = ["compare", "conserve", "grid", "walk"];

/// The shape of a VM: CPUs, their vendor, and further boot arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(super) cpus: u8,
    pub(super) vendor: Option<&'static str>,
    pub(super) arguments: Vec<&'static str>,
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
        shape
    }

    pub(super) fn with_cpus(cpus: u8) -> Shape {
        Shape { cpus, ..Shape::default() }
    }

    /// The shape that satisfies both, if there is one. Boot arguments may disable features, so
    /// cases with arguments and cases without share no VM.
    fn joined(&self, other: &Shape) -> Option<Shape> {
        let key = |argument: &'static str| argument.split('=').next();
        let conflict = |argument: &&'static str| {
            self.arguments.iter().any(|ours| ours != argument && key(ours) == key(argument))
        };
        if self.arguments.is_empty() != other.arguments.is_empty()
            || self.vendor.is_some() && other.vendor.is_some() && self.vendor != other.vendor
            || other.arguments.iter().any(conflict)
        {
            return None;
        }
        let mut joined = self.clone();
        joined.cpus = joined.cpus.max(other.cpus);
        joined.vendor = joined.vendor.or(other.vendor);
        joined.arguments.extend(other.arguments.iter().filter(|a| !self.arguments.contains(a)));
        Some(joined)
    }
}

/// Cases that share a VM.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) shape: Shape,
    pub(super) cases: Vec<&'static Case>,
}

/// Sorts cases into groups, one for each VM: cases without particular needs, cases of oracles
/// without particular needs, and as few further groups as possible for the rest.
pub(super) fn groups(cases: &[&'static Case], cpus: u8) -> Vec<Group> {
    let usual = Shape::with_cpus(cpus);
    let (mut checks, mut oracles, mut further) = (Vec::new(), Vec::new(), Vec::<Group>::new());
    for case in cases {
        let shape = Shape::of(case, cpus);
        if shape == usual {
            let group = case.id.split('/').next().unwrap_or_default();
            let list = if ORACLES.contains(&group) { &mut oracles } else { &mut checks };
            list.push(*case);
            continue;
        }
        let joined =
            further.iter_mut().find_map(|group| Some((group.shape.joined(&shape)?, group)));
        match joined {
            Some((joined, group)) => {
                group.shape = joined;
                group.cases.push(case);
            }
            None => further.push(Group { shape, cases: vec![case] }),
        }
    }
    [checks, oracles]
        .into_iter()
        .filter(|cases| !cases.is_empty())
        .map(|cases| Group { shape: usual.clone(), cases })
        .chain(further)
        .collect()
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
    fn needs_are_served_by_few_vms_and_boot_arguments_by_others() {
        let groups = grouped("", 1);
        let further: Vec<&Shape> = groups[2..].iter().map(|group| &group.shape).collect();
        assert_eq!(further.len(), 2, "{further:?}");
        assert!(further.iter().any(|shape| shape.vendor.is_some() && shape.cpus == 2));
        assert!(further.iter().any(|shape| shape.arguments.len() == 2));
    }

    #[test]
    fn contradictions_share_no_vm() {
        let shape = |vendor, arguments| Shape { cpus: 1, vendor, arguments };
        let intel = shape(Some("GenuineIntel"), vec![]);
        assert_eq!(intel.joined(&shape(Some("AuthenticAMD"), vec![])), None);
        assert_eq!(intel.joined(&shape(None, vec!["a=1"])), None);
        let one = shape(None, vec!["a=1"]);
        assert_eq!(one.joined(&shape(None, vec!["a=2"])), None);
        assert_eq!(one.joined(&shape(None, vec!["b=2"])), Some(shape(None, vec!["a=1", "b=2"])));
        assert_eq!(one.joined(&one), Some(one.clone()));
    }
}
