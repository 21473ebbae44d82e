// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Groups the selected cases by the VM that they need.

use sudbox_guest_init::case::{Case, Need};
use sudbox_protocol::Feature;

/// The case groups that run in the second VM: the groups of the oracles (docs/oracles.md), and the
/// slowest of the other groups. With this division, two VMs that run side by side end at about the
/// same time.
const SECOND_VM_GROUPS: [&str; 5] = ["compare", "conserve", "grid", "walk", "sandbox"];

/// Boot arguments that some cases need, each with the feature that the argument disables.
const DISABLING_ARGUMENTS: [(&str, Feature); 1] = [("ia32_emulation=off", Feature::Ia32)];

/// The shape of a VM: CPUs, their vendor, and further boot arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VmShape {
    pub(super) cpus: u8,
    pub(super) cpu_vendor: Option<&'static str>,
    pub(super) boot_arguments: Vec<&'static str>,
    /// Whether the clock of an emulated CPU advances with the number of executed instructions.
    pub(super) clock_counts_instructions: bool,
    /// Features that no boot argument of this VM may disable.
    pub(super) needed_features: Vec<Feature>,
}

impl VmShape {
    /// The shape that `case` needs, with at least `cpus` CPUs. A machine that counts instructions
    /// executes its CPUs in turn, so it has only as many CPUs as the case needs.
    fn for_case(case: &Case, cpus: u8) -> VmShape {
        let clock_counts_instructions = case.needs.contains(&Need::FastMachine);
        let mut shape = VmShape::with_cpus(if clock_counts_instructions { 1 } else { cpus });
        for need in case.needs {
            match need {
                Need::Cpus(count) => shape.cpus = shape.cpus.max(*count),
                Need::BootArgument(argument) => shape.boot_arguments.push(argument),
                Need::CpuVendor(vendor) => shape.cpu_vendor = Some(vendor),
                Need::FastMachine => shape.clock_counts_instructions = true,
                Need::Root | Need::Vm | Need::CpuFeature(_) => {}
            }
        }
        let disabled = DISABLING_ARGUMENTS.iter().map(|(_, feature)| *feature);
        shape.needed_features.extend(disabled.filter(|feature| case.features.contains(feature)));
        shape
    }

    pub(super) fn with_cpus(cpus: u8) -> VmShape {
        VmShape { cpus, ..VmShape::default() }
    }

    /// Whether this is the usual shape: `cpus` CPUs of any vendor, and no further boot arguments.
    /// `needed_features` may differ.
    fn is_usual(&self, cpus: u8) -> bool {
        *self
            == VmShape { needed_features: self.needed_features.clone(), ..VmShape::with_cpus(cpus) }
    }

    /// The shape that satisfies the needs of both shapes, if there is one.
    fn merged_with(&self, other: &VmShape) -> Option<VmShape> {
        let mut merged = self.clone();
        merged.cpus = merged.cpus.max(other.cpus);
        merged.cpu_vendor = merged.cpu_vendor.or(other.cpu_vendor);
        let new_arguments =
            other.boot_arguments.iter().filter(|argument| !self.boot_arguments.contains(argument));
        merged.boot_arguments.extend(new_arguments);
        let new_features =
            other.needed_features.iter().filter(|feature| !self.needed_features.contains(feature));
        merged.needed_features.extend(new_features);
        let key = |argument: &'static str| argument.split('=').next();
        let has_earlier_value = |index: usize, argument: &'static str| {
            merged.boot_arguments[..index].iter().any(|earlier| key(earlier) == key(argument))
        };
        let vendors_conflict =
            other.cpu_vendor.is_some_and(|vendor| merged.cpu_vendor != Some(vendor));
        let arguments_conflict = (0..)
            .zip(&merged.boot_arguments)
            .any(|(index, argument)| has_earlier_value(index, argument));
        let disables_needed_feature = DISABLING_ARGUMENTS.iter().any(|(argument, feature)| {
            merged.boot_arguments.contains(argument) && merged.needed_features.contains(feature)
        });
        let clocks_conflict = self.clock_counts_instructions != other.clock_counts_instructions;
        let conflict =
            vendors_conflict || arguments_conflict || disables_needed_feature || clocks_conflict;
        (!conflict).then_some(merged)
    }
}

/// Cases that share a VM.
#[derive(Clone, Debug)]
pub(super) struct CaseGroup {
    pub(super) shape: VmShape,
    pub(super) cases: Vec<&'static Case>,
}

/// Sorts cases into groups, one for each VM: two of cases without particular needs, and as few
/// further groups as possible for the other cases. The cases of [`SECOND_VM_GROUPS`] run on a CPU
/// of any vendor, so cases that only need a particular vendor join them. A case with a feature that
/// `is_absent` gets no VM of its own, as the guest does not run it.
pub(super) fn group_cases(
    cases: &[&'static Case],
    cpus: u8,
    is_absent: impl Fn(Feature) -> bool,
) -> Vec<CaseGroup> {
    let usual_shape = VmShape::with_cpus(cpus);
    let mut first = CaseGroup { shape: usual_shape.clone(), cases: Vec::new() };
    let mut second = first.clone();
    let mut with_particular_needs = Vec::new();
    for case in cases {
        let will_run = !case.features.iter().any(|feature| is_absent(*feature));
        let shape = if will_run { VmShape::for_case(case, cpus) } else { usual_shape.clone() };
        if !shape.is_usual(cpus) {
            with_particular_needs.push((shape, *case));
        } else if SECOND_VM_GROUPS.contains(&case.group()) {
            second.cases.push(case);
            if let Some(merged) = second.shape.merged_with(&shape) {
                second.shape = merged;
            }
        } else {
            first.cases.push(case);
        }
    }
    let mut further_groups = Vec::<CaseGroup>::new();
    for (shape, case) in with_particular_needs {
        let needs_only_a_vendor = shape.cpus == cpus && shape.boot_arguments.is_empty();
        let fits_second_vm = needs_only_a_vendor && !second.cases.is_empty();
        let groups = fits_second_vm.then_some(&mut second).into_iter().chain(&mut further_groups);
        let shape_and_group =
            groups.into_iter().find_map(|group| Some((group.shape.merged_with(&shape)?, group)));
        match shape_and_group {
            Some((merged, group)) => {
                group.shape = merged;
                group.cases.push(case);
            }
            None => further_groups.push(CaseGroup { shape, cases: vec![case] }),
        }
    }
    [first, second]
        .into_iter()
        .filter(|group| !group.cases.is_empty())
        .chain(further_groups)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::parse_selection;

    fn grouped(words: &str, cpus: u8) -> Vec<CaseGroup> {
        group_cases(&parse_selection(words).unwrap().cases, cpus, |_| false)
    }

    #[test]
    fn every_case_is_in_one_group() {
        for words in ["", "stress", "core"] {
            let all = parse_selection(words).unwrap().cases;
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
        assert_eq!(groups[2].shape, VmShape::with_cpus(2));
        assert_eq!(grouped("stress", 4).len(), 1, "four CPUs are enough for every stress case");
    }

    #[test]
    fn all_needs_are_met_by_four_vms() {
        let groups = grouped("", 1);
        assert_eq!(groups.len(), 4);
        assert!(groups[3].shape.clock_counts_instructions);
        assert_eq!(groups[1].shape.cpu_vendor, Some("GenuineIntel"), "with the oracles");
        assert_eq!((groups[1].shape.cpus, groups[1].shape.boot_arguments.len()), (1, 0));
        assert_eq!((groups[2].shape.cpus, groups[2].shape.boot_arguments.len()), (2, 2));
        let alone = grouped("entries/sysenter", 1);
        assert_eq!(alone[0].shape.cpu_vendor, Some("GenuineIntel"));
        let cases = parse_selection("").unwrap().cases;
        let groups = group_cases(&cases, 1, |feature| feature == Feature::RseqSlices);
        assert_eq!(groups.len(), 3, "no VM for a feature that the kernel lacks");
    }

    #[test]
    fn a_machine_that_counts_instructions_has_only_the_cpus_that_a_case_needs() {
        for cpus in [1, 4] {
            let groups = grouped("rseq/slice-ended", cpus);
            assert_eq!(groups.len(), 1);
            assert!(groups[0].shape.clock_counts_instructions);
            assert_eq!(groups[0].shape.cpus, 1, "--cpus {cpus}");
        }
        let case = parse_selection("rseq/slice-ended").unwrap().cases[0];
        let needs_two = Case { needs: &[Need::FastMachine, Need::Cpus(2)], ..*case };
        assert_eq!(VmShape::for_case(&needs_two, 4).cpus, 2);
    }

    #[test]
    fn shapes_that_contradict_each_other_are_not_merged() {
        let shape = |vendor, arguments| VmShape {
            cpus: 1,
            cpu_vendor: vendor,
            boot_arguments: arguments,
            ..VmShape::default()
        };
        let intel = shape(Some("GenuineIntel"), vec![]);
        assert_eq!(intel.merged_with(&shape(Some("AuthenticAMD"), vec![])), None);
        assert_eq!(intel.merged_with(&shape(None, vec!["a=1"])).unwrap().boot_arguments, ["a=1"]);
        let a_is_1 = shape(None, vec!["a=1"]);
        assert_eq!(a_is_1.merged_with(&shape(None, vec!["a=2"])), None);
        assert_eq!(
            a_is_1.merged_with(&shape(None, vec!["b=2"])),
            Some(shape(None, vec!["a=1", "b=2"]))
        );
        assert_eq!(a_is_1.merged_with(&a_is_1), Some(a_is_1.clone()));
        let ia32_off = shape(None, vec!["ia32_emulation=off"]);
        let needs_ia32 = VmShape { needed_features: vec![Feature::Ia32], ..shape(None, vec![]) };
        assert_eq!(ia32_off.merged_with(&needs_ia32), None);
        assert_eq!(needs_ia32.merged_with(&ia32_off), None);
        assert!(a_is_1.merged_with(&needs_ia32).is_some());
    }
}
