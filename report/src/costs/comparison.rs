// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Compares the costs on two kernels, and says by a stated test which differences are real.

use super::{Cost, Costs, Unit, comparison_table, json};
use crate::form::{Form, Report};
use crate::{Kernel, Outcome};
use serde::{Deserialize, Serialize};

impl Report for Comparison {
    const FORMS: &'static [Form<Comparison>] = &[comparison_table::FORM, json::COMPARISON_FORM];
}

/// Relative difference that two boots of one kernel can have where instructions are counted. A larger one
/// is a difference of the kernels.
pub const EXACT: f64 = 0.001;

/// Least relative difference that is reported where time is measured, however certain it is.
pub const NOTABLE: f64 = 0.01;

/// Boots of each kernel, in turn, where instructions are counted. One would do; the second shows that the
/// count is repeatable. If the two do not agree there are more, up to [`MOST_COUNTING`].
pub const BOOTS_COUNTING: usize = 2;

/// Most boots of each kernel where instructions are counted. Counts in which the scheduler takes part
/// vary, but most boots agree.
pub const MOST_COUNTING: usize = 5;

/// Boots of each kernel, in turn, where time is measured. If the kernels do not differ, all times of one
/// are beyond all of the other's once in 462 comparisons: 2 of the 924 ways to choose 6 of 12.
pub const BOOTS_TIMING: usize = 6;

/// The result of comparing one cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Finding {
    /// No real difference.
    Same,
    /// The second kernel is slower.
    Slower,
    /// The second kernel is faster.
    Faster,
    /// There is no count on which most boots of a kernel agree.
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
pub struct Line {
    /// Its name.
    pub name: String,
    /// Cost on the first kernel in each boot, in the unit: the least where instructions are counted, else
    /// the median.
    pub first: Vec<f64>,
    /// Cost on the second kernel.
    pub second: Vec<f64>,
    /// Relative change between the medians of the boots: 0.05 is 5 % more on the second. `None` if the
    /// first cost is too small to measure.
    pub change: Option<f64>,
    /// Whether the change is real.
    pub finding: Finding,
}

/// A cost that was not measured on both kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lacking {
    /// Its name.
    pub name: String,
    /// The outcome on each kernel: of the first boot in which it was not measured, if there is one.
    pub outcomes: [Outcome; 2],
}

/// Two kernels, compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Comparison {
    /// The kernels.
    pub kernels: [Kernel; 2],
    /// Backend and accelerator, and why these.
    pub machine: String,
    /// Unit of the costs.
    pub unit: Unit,
    /// The costs that were measured on both.
    pub lines: Vec<Line>,
    /// The costs that were measured on one or none.
    pub lacking: Vec<Lacking>,
}

impl Comparison {
    /// Compares boots of two kernels; `None` if either has none.
    #[must_use]
    pub fn of(first: &[Costs], second: &[Costs]) -> Option<Comparison> {
        let (one, other) = (first.first()?, second.first()?);
        let mut comparison = Comparison {
            kernels: [one.kernel.clone(), other.kernel.clone()],
            machine: one.machine.clone(),
            unit: one.unit,
            lines: Vec::new(),
            lacking: Vec::new(),
        };
        let names = one.costs.iter().map(|cost| &cost.name);
        let lacks = one.lacks.iter().map(|lack| &lack.name);
        for name in names.chain(lacks) {
            let of = |boots: &[Costs]| -> Option<Vec<f64>> {
                boots.iter().map(|costs| costs.named(name).map(|c| value(costs.unit, c))).collect()
            };
            match (of(first), of(second)) {
                (Some(first), Some(second)) => {
                    let exact_to = one.named(name).map_or(0.0, |cost| cost.exact_to);
                    comparison.lines.push(Line::of(name, one.unit, exact_to, first, second));
                }
                _ => {
                    let outcomes = [outcome(first, name), outcome(second, name)];
                    comparison.lacking.push(Lacking { name: name.clone(), outcomes });
                }
            }
        }
        Some(comparison)
    }

    /// Whether a cost has this finding.
    #[must_use]
    pub fn found(&self, finding: Finding) -> bool {
        self.lines.iter().any(|line| line.finding == finding)
    }

    /// Names of measurements that failed on a kernel.
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        let failed = |lacking: &&Lacking| lacking.outcomes.iter().any(|it| it.is_failure());
        self.lacking.iter().filter(failed).map(|lacking| lacking.name.as_str())
    }
}

/// The outcome of a measurement in the boots of a kernel: `Pass` if it was measured in each.
fn outcome(boots: &[Costs], name: &str) -> Outcome {
    let mut lacks = boots.iter().flat_map(|costs| &costs.lacks);
    lacks.find(|lack| lack.name == name).map_or(Outcome::Pass, |lack| lack.outcome)
}

/// The figure of a cost by which kernels are compared.
#[must_use]
pub fn value(unit: Unit, cost: &Cost) -> f64 {
    match (unit, cost.cost) {
        (Unit::Nanoseconds, Some(spread)) => spread.median,
        (Unit::Instructions { .. }, Some(spread)) => spread.least,
        _ => cost.ratio,
    }
}

impl Line {
    fn of(name: &str, unit: Unit, exact_to: f64, first: Vec<f64>, second: Vec<f64>) -> Line {
        let (one, other) = (median(&first), median(&second));
        let change = (one > exact_to).then(|| other / one - 1.0);
        let finding = match unit {
            Unit::Instructions { .. } => counted(&first, &second, exact_to),
            Unit::Nanoseconds | Unit::Ratio => timed(&first, &second, exact_to),
        };
        Line { name: name.to_owned(), first, second, change, finding }
    }
}

fn of_sign(change: f64) -> Finding {
    if change > 0.0 { Finding::Slower } else { Finding::Faster }
}

/// The finding where instructions are counted: real if most counts of each kernel agree, and the medians do
/// not.
fn counted(first: &[f64], second: &[f64], exact_to: f64) -> Finding {
    let steady = |counts: &[f64]| {
        let like = |one: f64| counts.iter().filter(|count| agree(one, **count, exact_to)).count();
        counts.iter().any(|one| 2 * like(*one) > counts.len())
    };
    if !steady(first) || !steady(second) {
        return Finding::Unsteady;
    }
    let (one, other) = (median(first), median(second));
    match agree(one, other, exact_to) {
        true => Finding::Same,
        false => of_sign(other - one),
    }
}

fn agree(one: f64, other: f64, exact_to: f64) -> bool {
    (one - other).abs() <= one.min(other) * EXACT + exact_to
}

/// The finding where time is measured: real if all times of one kernel are beyond all of the other's, by at
/// least [`NOTABLE`].
fn timed(first: &[f64], second: &[f64], exact_to: f64) -> Finding {
    let ((low, high), (second_low, second_high)) = (range(first), range(second));
    let apart = second_low > high || second_high < low;
    let (one, other) = (median(first), median(second));
    let notable = (other - one).abs() > one.max(0.0) * NOTABLE + exact_to;
    if apart && notable { of_sign(other - one) } else { Finding::Same }
}

fn range(values: &[f64]) -> (f64, f64) {
    let fold = |with: fn(f64, f64) -> f64, from| values.iter().copied().fold(from, with);
    (fold(f64::min, f64::INFINITY), fold(f64::max, f64::NEG_INFINITY))
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 if middle > 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted.get(middle).copied().unwrap_or(f64::NAN),
    }
}

#[cfg(test)]
mod tests;
