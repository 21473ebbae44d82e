// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The differences between two kernels that explain a difference of a cost: instructions by function,
//! instructions that take far longer than others, and interrupts.

use super::Cost;
use super::comparison::median;
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

/// The sum of the changes in plain instructions: positive if the second kernel is slower. More costly
/// instructions of one kind for fewer of another are slower.
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
    let per_operation = |costs: &[&Cost]| -> Vec<f64> {
        costs.iter().map(|cost| (cost.interrupts * 100.0).round() / 100.0).collect()
    };
    let (one, other) = (per_operation(first), per_operation(second));
    let (one_median, other_median) = (median(&one), median(&other));
    let is_apart = |one: &[f64], other: &[f64]| {
        one.iter().all(|a| other.iter().all(|b| b - a > INTERRUPT_THRESHOLD))
    };
    if is_apart(&one, &other) || is_apart(&other, &one) {
        causes.push(Cause {
            kind: INTERRUPTS.to_owned(),
            first: one_median,
            second: other_median,
            functions: Vec::new(),
        });
    }
    let (Some(one), Some(other)) = (shortest(first), shortest(second)) else { return causes };
    let kinds: BTreeSet<&str> = [first, second]
        .into_iter()
        .flatten()
        .flat_map(|cost| &cost.functions)
        .flat_map(|function| function.costly.keys().map(String::as_str))
        .collect();
    for kind in std::iter::once(INSTRUCTIONS).chain(kinds) {
        let numbers = (steady_number(first, kind), steady_number(second, kind));
        let (a, b) = match numbers {
            (Some(a), Some(b)) => (a, b),
            // Costs have rules of their own for boots that disagree.
            _ if kind == INSTRUCTIONS => (number(one, kind), number(other, kind)),
            _ => continue,
        };
        if a != b {
            causes.push(Cause {
                kind: kind.to_owned(),
                first: super::exact_f64(a),
                second: super::exact_f64(b),
                functions: function_changes(one, other, kind),
            });
        }
    }
    causes
}

/// The traced cost with the fewest instructions; `None` if at least one is not traced.
fn shortest<'a>(costs: &[&'a Cost]) -> Option<&'a Cost> {
    let traced = costs.iter().all(|cost| !cost.functions.is_empty());
    costs.iter().copied().filter(|_| traced).min_by_key(|cost| number(cost, INSTRUCTIONS))
}

/// Number of instructions of a kind in one operation.
fn number(cost: &Cost, kind: &str) -> u64 {
    by_function(cost, kind).values().sum()
}

/// The number of a kind on which most boots agree.
fn steady_number(costs: &[&Cost], kind: &str) -> Option<u64> {
    let numbers: Vec<u64> = costs.iter().map(|cost| number(cost, kind)).collect();
    let agreeing = |one: u64| numbers.iter().filter(|number| **number == one).count();
    numbers.iter().copied().find(|one| 2 * agreeing(*one) > numbers.len())
}

fn by_function<'a>(cost: &'a Cost, kind: &str) -> BTreeMap<&'a str, u64> {
    let number = |function: &crate::FunctionCost| match kind {
        INSTRUCTIONS => function.instructions,
        _ => function.costly.get(kind).copied().unwrap_or(0),
    };
    cost.functions.iter().map(|function| (function.function.as_str(), number(function))).collect()
}

/// The functions in which the number of a kind differs, the largest difference first.
fn function_changes(one: &Cost, other: &Cost, kind: &str) -> Vec<FunctionChange> {
    let (one, other) = (by_function(one, kind), by_function(other, kind));
    let names: BTreeSet<&str> = one.keys().chain(other.keys()).copied().collect();
    let number = |numbers: &BTreeMap<&str, u64>, name: &str| {
        i64::try_from(numbers.get(name).copied().unwrap_or(0)).unwrap_or(i64::MAX)
    };
    let change = |name: &str| number(&other, name) - number(&one, name);
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

    /// Name, instructions, and costly instructions of a function.
    type Traced<'a> = (&'a str, u64, &'a [(&'a str, u64)]);

    fn cost(interrupts: f64, functions: &[Traced<'_>]) -> Cost {
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
        let back = find_causes(&[&after], &[&before]);
        assert!(weight(&back) < 0.0);
    }

    #[test]
    fn boots_that_disagree_tell_nothing() {
        let (one, two) = (cost(0.0, &[("f", 9, &[("atomic", 1)])]), cost(0.0, &[("f", 9, &[])]));
        assert_eq!(find_causes(&[&one, &two], &[&two, &two]), []);
        assert_eq!(find_causes(&[&one, &one, &two], &[&two, &two]).len(), 1);
        assert_eq!(find_causes(&[&one], &[&cost(0.0, &[])]), [], "the second is not traced");
    }

    #[test]
    fn interrupts_count_once_per_operation_and_not_now_and_then() {
        let with = |interrupts| cost(interrupts, &[]);
        let causes = find_causes(&[&with(0.0), &with(0.01)], &[&with(1.0), &with(0.99)]);
        assert_eq!(causes[0].kind, INTERRUPTS);
        assert!(causes[0].is_decisive() && weight(&causes) > 0.0);
        assert_eq!(find_causes(&[&with(0.0)], &[&with(0.2)]), []);
    }

    #[test]
    fn an_exchange_of_costly_kinds_is_slower() {
        let (one, other) =
            (cost(0.0, &[("f", 9, &[("msr", 1)])]), cost(0.0, &[("f", 9, &[("cpuid", 1)])]));
        assert!(weight(&find_causes(&[&one], &[&other])) > 0.0);
    }
}
