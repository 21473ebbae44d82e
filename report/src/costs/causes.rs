// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The differences between two kernels that explain a difference of a cost: instructions by function,
//! instructions that take far longer than others, and interrupts.

use super::{Cost, median};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The kind of causes that are plain instructions.
pub const INSTRUCTIONS: &str = "instructions";

/// The kind of causes that are interrupts of any CPU.
pub const INTERRUPTS: &str = "interrupts";

/// Minimum difference of interrupts per operation that is attributed to the kernels. Devices and the
/// scheduler interrupt far less often than once per operation.
const INTERRUPT_THRESHOLD: f64 = 0.25;

/// Weight of an instruction of a costly kind, in plain instructions. The cheapest of these kinds take
/// about 20 cycles (Agner Fog, "Instruction tables").
const COSTLY_WEIGHT: f64 = 20.0;

/// Weight of an interrupt, in plain instructions.
const INTERRUPT_WEIGHT: f64 = 500.0;

/// A difference between one operation on the first kernel and on the second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cause {
    /// [`INSTRUCTIONS`], [`INTERRUPTS`], or the kind of a costly instruction such as `atomic` or `iret`.
    pub kind: String,
    /// Number per operation on the first kernel.
    pub first: f64,
    /// Number per operation on the second kernel.
    pub second: f64,
    /// The functions in which the number differs, the largest difference first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<FunctionChange>,
}

/// The difference in one function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FunctionChange {
    /// Name of the function.
    pub function: String,
    /// Number on the second kernel minus number on the first.
    pub change: i64,
}

impl Cause {
    /// Whether the cause is a difference of the kernels even if the number of instructions is the same.
    #[must_use]
    pub fn is_decisive(&self) -> bool {
        self.kind != INSTRUCTIONS
    }

    /// Number on the second kernel minus number on the first.
    #[must_use]
    pub fn change(&self) -> f64 {
        self.second - self.first
    }
}

/// The sum of the changes in plain instructions: positive if the second kernel is slower. If the changes
/// cancel out, as when one costly instruction replaces another, the second kernel counts as slower.
pub(super) fn weight(causes: &[Cause]) -> f64 {
    let weighted = |cause: &Cause| {
        cause.change()
            * match cause.kind.as_str() {
                INSTRUCTIONS => 1.0,
                INTERRUPTS => INTERRUPT_WEIGHT,
                _ => COSTLY_WEIGHT,
            }
    };
    match causes.iter().map(weighted).sum::<f64>() {
        0.0 => 1.0,
        sum => sum,
    }
}

/// The causes in the boots of two kernels. The costs are those of one operation, one per boot.
pub(super) fn find_causes(first: &[&Cost], second: &[&Cost]) -> Vec<Cause> {
    let mut causes = Vec::new();
    // Interrupts per operation in each boot, rounded to two decimals.
    let interrupts = |costs: &[&Cost]| -> Vec<f64> {
        costs.iter().map(|cost| (cost.interrupts * 100.0).round() / 100.0).collect()
    };
    let (first_interrupts, second_interrupts) = (interrupts(first), interrupts(second));
    let all_are_fewer = |fewer: &[f64], more: &[f64]| {
        fewer.iter().all(|low| more.iter().all(|high| high - low > INTERRUPT_THRESHOLD))
    };
    if all_are_fewer(&first_interrupts, &second_interrupts)
        || all_are_fewer(&second_interrupts, &first_interrupts)
    {
        causes.push(Cause {
            kind: INTERRUPTS.to_owned(),
            first: median(&first_interrupts),
            second: median(&second_interrupts),
            functions: Vec::new(),
        });
    }
    let (Some(first_shortest), Some(second_shortest)) = (shortest(first), shortest(second)) else {
        return causes;
    };
    let kinds: BTreeSet<&str> = [first, second]
        .into_iter()
        .flatten()
        .flat_map(|cost| &cost.functions)
        .flat_map(|function| function.costly.keys().map(String::as_str))
        .collect();
    for kind in std::iter::once(INSTRUCTIONS).chain(kinds) {
        let counts = match (steady_count(first, kind), steady_count(second, kind)) {
            (Some(first_count), Some(second_count)) => (first_count, second_count),
            // The comparison of the costs decides whether boots that disagree are a finding.
            _ if kind == INSTRUCTIONS => {
                (count(first_shortest, kind), count(second_shortest, kind))
            }
            _ => continue,
        };
        let (first_count, second_count) = counts;
        if first_count != second_count {
            causes.push(Cause {
                kind: kind.to_owned(),
                first: super::exact_f64(first_count),
                second: super::exact_f64(second_count),
                functions: function_changes(first_shortest, second_shortest, kind),
            });
        }
    }
    causes
}

/// The traced cost with the fewest instructions; `None` if at least one is not traced.
fn shortest<'a>(costs: &[&'a Cost]) -> Option<&'a Cost> {
    let traced = costs.iter().all(|cost| !cost.functions.is_empty());
    costs.iter().copied().filter(|_| traced).min_by_key(|cost| count(cost, INSTRUCTIONS))
}

/// Number of instructions of a kind in one operation.
fn count(cost: &Cost, kind: &str) -> u64 {
    counts_by_function(cost, kind).values().sum()
}

/// The count of a kind on which most boots agree; `None` without such a majority.
fn steady_count(costs: &[&Cost], kind: &str) -> Option<u64> {
    let counts: Vec<u64> = costs.iter().map(|cost| count(cost, kind)).collect();
    let agreeing_boots = |count: u64| counts.iter().filter(|other| **other == count).count();
    counts.iter().copied().find(|count| 2 * agreeing_boots(*count) > counts.len())
}

/// Number of instructions of a kind in one operation, by the name of the function.
fn counts_by_function<'a>(cost: &'a Cost, kind: &str) -> BTreeMap<&'a str, u64> {
    let count = |function: &crate::FunctionCost| match kind {
        INSTRUCTIONS => function.instructions,
        _ => function.costly.get(kind).copied().unwrap_or(0),
    };
    cost.functions.iter().map(|function| (function.function.as_str(), count(function))).collect()
}

/// The functions in which the count of a kind differs, the largest difference first.
fn function_changes(first: &Cost, second: &Cost, kind: &str) -> Vec<FunctionChange> {
    let (first, second) = (counts_by_function(first, kind), counts_by_function(second, kind));
    let names: BTreeSet<&str> = first.keys().chain(second.keys()).copied().collect();
    let count = |counts: &BTreeMap<&str, u64>, name: &str| {
        i64::try_from(counts.get(name).copied().unwrap_or(0)).unwrap_or(i64::MAX)
    };
    let change = |name: &str| count(&second, name) - count(&first, name);
    let mut changes: Vec<FunctionChange> = names
        .into_iter()
        .map(|name| FunctionChange { function: name.to_owned(), change: change(name) })
        .filter(|changed| changed.change != 0)
        .collect();
    changes.sort_by_key(|changed| std::cmp::Reverse(changed.change.unsigned_abs()));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FunctionCost;

    /// Name of a function, number of its instructions, and number of its costly instructions by kind.
    type TracedFunction<'a> = (&'a str, u64, &'a [(&'a str, u64)]);

    fn cost(interrupts: f64, functions: &[TracedFunction<'_>]) -> Cost {
        let functions = functions.iter().map(|(name, instructions, costly)| FunctionCost {
            function: (*name).to_owned(),
            instructions: *instructions,
            costly: costly.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect(),
        });
        Cost {
            name: "round-trip".into(),
            operation: String::new(),
            cost: None,
            ticks: None,
            resolution: 0.0,
            interrupts,
            functions: functions.collect(),
            ratio: 1.0,
        }
    }

    #[test]
    fn a_return_by_iret_is_slower_with_fewer_instructions() {
        let before = cost(0.0, &[("do_syscall_64", 40, &[]), ("asm", 50, &[("swapgs", 2)])]);
        let after =
            cost(0.0, &[("do_syscall_64", 32, &[]), ("asm", 52, &[("swapgs", 2), ("iret", 1)])]);
        let causes = find_causes(&[&before, &before], &[&after, &after]);
        let kinds: Vec<&str> = causes.iter().map(|cause| cause.kind.as_str()).collect();
        assert_eq!(kinds, [INSTRUCTIONS, "iret"]);
        assert_eq!((causes[0].change(), causes[1].change()), (-6.0, 1.0));
        let changed = |function: &str, change| FunctionChange { function: function.into(), change };
        assert_eq!(causes[0].functions, [changed("do_syscall_64", -8), changed("asm", 2)]);
        assert_eq!(causes[1].functions, [changed("asm", 1)]);
        assert!(weight(&causes) > 0.0);
        let reverse_causes = find_causes(&[&after], &[&before]);
        assert!(weight(&reverse_causes) < 0.0);
    }

    #[test]
    fn boots_that_disagree_give_no_cause() {
        let (one, two) = (cost(0.0, &[("f", 9, &[("atomic", 1)])]), cost(0.0, &[("f", 9, &[])]));
        assert_eq!(find_causes(&[&one, &two], &[&two, &two]), []);
        assert_eq!(find_causes(&[&one, &one, &two], &[&two, &two]).len(), 1);
        assert_eq!(find_causes(&[&one], &[&cost(0.0, &[])]), [], "the second is not traced");
    }

    #[test]
    fn interrupts_are_a_cause_only_if_most_operations_have_one() {
        let with = |interrupts| cost(interrupts, &[]);
        let causes = find_causes(&[&with(0.0), &with(0.01)], &[&with(1.0), &with(0.99)]);
        assert_eq!(causes[0].kind, INTERRUPTS);
        assert!(causes[0].is_decisive() && weight(&causes) > 0.0);
        assert_eq!(find_causes(&[&with(0.0)], &[&with(0.2)]), []);
    }

    #[test]
    fn another_costly_instruction_instead_of_one_counts_as_slower() {
        let (one, other) =
            (cost(0.0, &[("f", 9, &[("msr", 1)])]), cost(0.0, &[("f", 9, &[("cpuid", 1)])]));
        assert!(weight(&find_causes(&[&one], &[&other])) > 0.0);
    }
}
