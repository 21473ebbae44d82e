// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compares the costs on two kernels, and decides by a fixed test which differences the kernels cause and
//! which are chance.

use super::causes::{Cause, INTERRUPTS, find_causes, weight};
use super::{Cost, Costs, Unit, median};
use crate::{Kernel, Outcome};
use serde::{Deserialize, Serialize};

/// For counted instructions: the maximum relative difference that is attributed to chance. A larger one is
/// attributed to the kernels.
pub const COUNT_THRESHOLD: f64 = 0.001;

/// For measured time: the minimum relative difference that is reported.
pub const TIME_THRESHOLD: f64 = 0.01;

/// Number of boots of each kernel for counting instructions. The kernels are booted alternately. The second
/// boot shows whether the count is repeatable; if the counts differ, more boots follow, up to
/// [`MAX_BOOTS_TO_COUNT`].
pub const BOOTS_TO_COUNT: usize = 2;

/// Maximum number of boots of each kernel for counting instructions. Counts of operations that switch tasks
/// vary between boots, but most boots agree.
pub const MAX_BOOTS_TO_COUNT: usize = 5;

/// Number of boots of each kernel for measuring time. The kernels are booted alternately. For equal kernels,
/// the probability that all times of one exceed all times of the other is 1/462: 2 of the 924 ways to choose
/// 6 of 12.
pub const BOOTS_TO_TIME: usize = 6;

/// The result of comparing one cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Finding {
    /// No difference is attributed to the kernels.
    Same,
    /// The second kernel is slower.
    Slower,
    /// The second kernel is faster.
    Faster,
    /// On at least one kernel, no majority of the boots agrees on a count.
    Unsteady,
}

impl Finding {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Finding::Same => "same",
            Finding::Slower => "slower",
            Finding::Faster => "faster",
            Finding::Unsteady => "unsteady",
        }
    }
}

/// One cost on both kernels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ComparedCost {
    /// Name of the cost ([`Cost::name`]).
    pub name: String,
    /// The cost on the first kernel in the unit, one value per boot: the least for counted instructions,
    /// else the median.
    #[serde(rename = "first")]
    pub first_values: Vec<f64>,
    /// The cost on the second kernel, likewise.
    #[serde(rename = "second")]
    pub second_values: Vec<f64>,
    /// Relative change from the first kernel's median to the second's; 0.05 means that the second costs 5 %
    /// more. `None` if the first median is within the measurement error.
    pub change: Option<f64>,
    /// Whether the change is attributed to the kernels.
    pub finding: Finding,
    /// The differences that explain the finding; empty if there is none or nothing was traced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
}

/// A cost that at least one boot of a kernel did not measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UnmeasuredCost {
    /// Name of the cost ([`Cost::name`]).
    pub name: String,
    /// The outcome on each kernel: that of the first boot that did not measure the cost, else `Pass`.
    pub outcomes: [Outcome; 2],
}

/// The comparison of two kernels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Comparison {
    /// The kernels.
    pub kernels: [Kernel; 2],
    /// Backend and accelerator, and the reason for the choice.
    pub machine: String,
    /// Unit of the costs.
    pub unit: Unit,
    /// The costs that were measured in all boots of both kernels.
    #[serde(rename = "lines")]
    pub compared_costs: Vec<ComparedCost>,
    /// The costs that at least one boot did not measure.
    #[serde(rename = "lacking")]
    pub unmeasured_costs: Vec<UnmeasuredCost>,
}

impl Comparison {
    /// Compares two kernels by the costs in their boots; `None` if a kernel has no boot.
    #[must_use]
    pub fn from_boots(first: &[Costs], second: &[Costs]) -> Option<Comparison> {
        let (first_boot, second_boot) = (first.first()?, second.first()?);
        let mut comparison = Comparison {
            kernels: [first_boot.kernel.clone(), second_boot.kernel.clone()],
            machine: first_boot.machine.clone(),
            unit: first_boot.unit,
            compared_costs: Vec::new(),
            unmeasured_costs: Vec::new(),
        };
        let names = first_boot.costs.iter().map(|cost| &cost.name);
        let missing_names = first_boot.missing.iter().map(|missing| &missing.name);
        for name in names.chain(missing_names) {
            let values_in = |boots: &[Costs]| -> Option<Vec<f64>> {
                boots
                    .iter()
                    .map(|costs| {
                        costs.cost_named(name).map(|cost| value_to_compare(costs.unit, cost))
                    })
                    .collect()
            };
            match (values_in(first), values_in(second)) {
                (Some(first_values), Some(second_values)) => {
                    let resolution =
                        first_boot.cost_named(name).map_or(0.0, |cost| cost.resolution);
                    let mut compared_cost = ComparedCost::from_values(
                        name,
                        first_boot.unit,
                        resolution,
                        first_values,
                        second_values,
                    );
                    let costs = [first, second].map(|boots| -> Vec<&Cost> {
                        boots.iter().filter_map(|costs| costs.cost_named(name)).collect()
                    });
                    compared_cost.explain(&costs[0], &costs[1]);
                    comparison.compared_costs.push(compared_cost);
                }
                _ => {
                    let outcomes =
                        [first_failing_outcome(first, name), first_failing_outcome(second, name)];
                    comparison
                        .unmeasured_costs
                        .push(UnmeasuredCost { name: name.clone(), outcomes });
                }
            }
        }
        Some(comparison)
    }

    /// Whether at least one cost has this finding.
    #[must_use]
    pub fn has_finding(&self, finding: Finding) -> bool {
        self.compared_costs.iter().any(|cost| cost.finding == finding)
    }

    /// Names of the costs whose measurement failed on at least one kernel.
    pub fn failed_names(&self) -> impl Iterator<Item = &str> {
        let failed =
            |cost: &&UnmeasuredCost| cost.outcomes.iter().any(|outcome| outcome.is_failure());
        self.unmeasured_costs.iter().filter(failed).map(|cost| cost.name.as_str())
    }
}

/// The outcome of a measurement on a kernel: `Pass` if every boot measured it, else the outcome in the first
/// boot that did not.
fn first_failing_outcome(boots: &[Costs], name: &str) -> Outcome {
    let mut missing_costs = boots.iter().flat_map(|costs| &costs.missing);
    missing_costs.find(|cost| cost.name == name).map_or(Outcome::Pass, |cost| cost.outcome)
}

/// The value of a cost for comparisons: the median of measured time, the least of counted instructions, else
/// the ratio.
#[must_use]
pub fn value_to_compare(unit: Unit, cost: &Cost) -> f64 {
    match (unit, cost.cost) {
        (Unit::Nanoseconds, Some(statistics)) => statistics.median,
        (Unit::Instructions { .. }, Some(statistics)) => statistics.least,
        _ => cost.ratio,
    }
}

impl ComparedCost {
    fn from_values(
        name: &str,
        unit: Unit,
        resolution: f64,
        first_values: Vec<f64>,
        second_values: Vec<f64>,
    ) -> ComparedCost {
        let (first_median, second_median) = (median(&first_values), median(&second_values));
        let change = (first_median > resolution).then(|| second_median / first_median - 1.0);
        let finding = match unit {
            Unit::Instructions { .. } => compare_counts(&first_values, &second_values, resolution),
            Unit::Nanoseconds | Unit::Ratio => {
                compare_times(&first_values, &second_values, resolution)
            }
        };
        ComparedCost {
            name: name.to_owned(),
            first_values,
            second_values,
            change,
            finding,
            causes: Vec::new(),
        }
    }

    /// Finds the causes. If interrupts or costly instructions differ, they decide the finding instead of the
    /// number of instructions.
    fn explain(&mut self, first: &[&Cost], second: &[&Cost]) {
        let causes = find_causes(first, second);
        // If an operation interrupts other CPUs, its instruction count is not exact, and may be unsteady.
        let is_interrupted = causes.iter().any(|cause| cause.kind == INTERRUPTS);
        let is_decided = causes.iter().any(Cause::is_decisive);
        if is_interrupted || is_decided && self.finding != Finding::Unsteady {
            self.finding = slower_or_faster(weight(&causes));
        }
        if self.finding != Finding::Same {
            self.causes = causes;
        }
    }
}

fn slower_or_faster(change: f64) -> Finding {
    if change > 0.0 { Finding::Slower } else { Finding::Faster }
}

/// The finding for counted instructions. The kernels differ if most counts agree on each kernel, but the
/// medians of the kernels do not agree.
fn compare_counts(first: &[f64], second: &[f64], resolution: f64) -> Finding {
    let is_steady = |counts: &[f64]| {
        let agreeing_counts = |count: f64| {
            counts.iter().filter(|other| counts_agree(count, **other, resolution)).count()
        };
        counts.iter().any(|count| 2 * agreeing_counts(*count) > counts.len())
    };
    if !is_steady(first) || !is_steady(second) {
        return Finding::Unsteady;
    }
    let (first_median, second_median) = (median(first), median(second));
    match counts_agree(first_median, second_median, resolution) {
        true => Finding::Same,
        false => slower_or_faster(second_median - first_median),
    }
}

/// Whether two counts differ by no more than [`COUNT_THRESHOLD`] and the counter's resolution.
fn counts_agree(first: f64, second: f64, resolution: f64) -> bool {
    (first - second).abs() <= first.min(second) * COUNT_THRESHOLD + resolution
}

/// The finding for measured time. The kernels differ if all times of one exceed all times of the other, and
/// the medians differ by more than [`TIME_THRESHOLD`] and the counter's resolution.
fn compare_times(first: &[f64], second: &[f64], resolution: f64) -> Finding {
    let ((first_min, first_max), (second_min, second_max)) = (min_max(first), min_max(second));
    let are_disjoint = second_min > first_max || second_max < first_min;
    let (first_median, second_median) = (median(first), median(second));
    let difference = second_median - first_median;
    let threshold = first_median.max(0.0) * TIME_THRESHOLD + resolution;
    if are_disjoint && difference.abs() > threshold {
        slower_or_faster(difference)
    } else {
        Finding::Same
    }
}

/// The minimum and maximum of the values.
fn min_max(values: &[f64]) -> (f64, f64) {
    let values = || values.iter().copied();
    (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
}

/// The number of comparisons of a kernel with itself of which one, on average, has all times of one kernel
/// above all times of the other: half of the ways to choose `boots_per_kernel` of twice as many boots.
pub(super) fn comparisons_per_chance_finding(boots_per_kernel: usize) -> usize {
    let ways =
        (1..=boots_per_kernel).fold(1, |ways, chosen| ways * (boots_per_kernel + chosen) / chosen);
    ways.div_ceil(2)
}

#[cfg(test)]
mod tests;
