// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The costs of dispatch on a kernel, and their forms.
//!
//! The guest reports ticks of a counter for batches of an operation ([`CaseMeasurement`]).
//! [`Costs::from_verdict`] converts the ticks into the cost of one operation, without the loop around the
//! operation. The unit depends on what
//! the machine can measure ([`Unit`]).

pub mod comparison;
mod comparison_table;
mod forms;
pub(crate) mod json;
mod page;
mod table;

use crate::case_measurement::CaseMeasurement;
use crate::{Kernel, Outcome, Verdict};
use serde::{Deserialize, Serialize};

impl CaseMeasurement {
    /// The cost of one operation in ticks, without the empty loop.
    fn ticks_per_operation(&self) -> Result<CostStatistics, CostError> {
        let inconsistent =
            |inconsistency| CostError::Inconsistent { id: self.id.clone(), inconsistency };
        if self.operations == 0 {
            return Err(inconsistent("its batches hold no operation"));
        }
        let (batches, empty) = (sorted(&self.batches), sorted(&self.empty_batches));
        let (Some(least), Some(least_empty)) = (batches.first(), empty.first()) else {
            return Err(inconsistent("it has no batches"));
        };
        let operations = f64::from(self.operations);
        let batch_quartile = |number| quartile(&batches, number);
        Ok(CostStatistics {
            least: (exact_f64(*least) - exact_f64(*least_empty)) / operations,
            median: (batch_quartile(2) - quartile(&empty, 2)) / operations,
            spread: (batch_quartile(3) - batch_quartile(1)) / operations,
        })
    }

    /// Nanoseconds per tick.
    fn nanoseconds_per_tick(&self) -> Result<f64, CostError> {
        if self.ticks == 0 || self.nanoseconds == 0 {
            let inconsistency = "no time passed by the clock or by the counter";
            return Err(CostError::Inconsistent { id: self.id.clone(), inconsistency });
        }
        Ok(exact_f64(self.nanoseconds) / exact_f64(self.ticks))
    }
}

/// Error: the costs cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CostError {
    /// A measurement is inconsistent.
    #[error("{id}: {inconsistency}")]
    Inconsistent {
        /// Id of the measurement.
        id: String,
        /// The inconsistency.
        inconsistency: &'static str,
    },
    /// The machine does not count instructions exactly.
    #[error(
        "{id}: {counted} instructions were counted where there are {expected}: QEMU does not count \
         exactly"
    )]
    InstructionsMiscounted {
        /// Id of the measurement.
        id: String,
        /// Instructions counted.
        counted: f64,
        /// Instructions in the assembly.
        expected: f64,
    },
    /// The call without dispatch, to which all costs are compared, was not measured.
    #[error("the cost of a call without dispatch is unknown")]
    NativeCallNotMeasured,
}

/// Unit of costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Unit {
    /// Nanoseconds, on a real processor. The ticks of its counter are reported too.
    Nanoseconds,
    /// Instructions, on an emulator that counts them.
    Instructions {
        /// Frequency of the counter in ticks per second of the guest. The guest executes 10^9 instructions
        /// per second of its clock.
        hertz: u64,
        /// Number of instructions in an iteration of the empty loop.
        #[serde(rename = "of_loop")]
        loop_instructions: u32,
    },
    /// Multiples of a call without dispatch, on an emulator without a meaningful clock.
    Ratio,
}

/// Cost of one operation over the batches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Spread"))]
pub struct CostStatistics {
    /// Cost in the fastest batch.
    pub least: f64,
    /// Median over the batches.
    pub median: f64,
    /// Interquartile range over the batches.
    pub spread: f64,
}

impl CostStatistics {
    /// Multiplies all values by `factor`.
    fn scaled_by(self, factor: f64) -> CostStatistics {
        CostStatistics {
            least: self.least * factor,
            median: self.median * factor,
            spread: self.spread * factor,
        }
    }
}

/// The cost of one kind of operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cost {
    /// Name: the id of the case without the prefix of all measuring cases.
    pub name: String,
    /// The operation, in one line.
    #[serde(rename = "what")]
    pub operation: String,
    /// The cost in the unit; `None` for [`Unit::Ratio`].
    pub cost: Option<CostStatistics>,
    /// The cost in ticks of the counter, for [`Unit::Nanoseconds`].
    pub ticks: Option<CostStatistics>,
    /// Error of the cost by the resolution of the counter, in the unit; 0 if the counter counts every
    /// instruction.
    #[serde(rename = "exact_to")]
    pub resolution: f64,
    /// The least cost as a multiple of the least cost of a call without dispatch. Least costs are used
    /// because interference by the machine only increases a cost.
    pub ratio: f64,
}

/// A cost that was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MissingCost {
    /// Name of the cost.
    pub name: String,
    /// Outcome of the case.
    pub outcome: Outcome,
    /// The reason in the case's report.
    #[serde(rename = "why")]
    pub reason: String,
}

/// All costs on one kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Costs {
    /// Version of sudbox.
    #[serde(rename = "sudbox")]
    pub sudbox_version: String,
    /// The kernel.
    pub kernel: Kernel,
    /// Backend and accelerator, and the reason for the choice, in one line.
    pub machine: String,
    /// Facts that the guest reported.
    #[serde(rename = "guest")]
    pub guest_facts: Vec<String>,
    /// The unit.
    pub unit: Unit,
    /// The costs, in the order of measuring.
    pub costs: Vec<Cost>,
    /// The costs that were not measured.
    #[serde(rename = "lacks")]
    pub missing: Vec<MissingCost>,
}

impl Costs {
    /// Computes the costs from a verdict. `prefix` is the common prefix of the measuring cases' ids,
    /// `native` the id of the call without dispatch.
    ///
    /// # Errors
    /// See [`CostError`].
    pub fn from_verdict(
        verdict: &Verdict,
        unit: Unit,
        prefix: &str,
        native: &str,
    ) -> Result<Costs, CostError> {
        let measured = |id: &str| verdict.measurements.iter().find(|measured| measured.id == id);
        let native =
            measured(native).ok_or(CostError::NativeCallNotMeasured)?.ticks_per_operation()?.least;
        if native <= 0.0 {
            return Err(CostError::NativeCallNotMeasured);
        }
        if let Unit::Instructions { hertz, loop_instructions: of_loop } = unit {
            check_exactness(&verdict.measurements, hertz, of_loop)?;
        }
        let (mut costs, mut lacks) = (Vec::new(), Vec::new());
        for case in &verdict.cases {
            let name = case.id.strip_prefix(prefix).unwrap_or(&case.id).to_owned();
            let Some(measured) = measured(&case.id).filter(|_| case.outcome == Outcome::Pass)
            else {
                let (outcome, why) = (case.outcome, case.actual.clone());
                lacks.push(MissingCost { name, outcome, reason: why });
                continue;
            };
            let ticks = measured.ticks_per_operation()?;
            let (cost, shown) = match unit {
                Unit::Nanoseconds => {
                    (Some(ticks.scaled_by(measured.nanoseconds_per_tick()?)), Some(ticks))
                }
                Unit::Instructions { hertz, .. } => {
                    (Some(ticks.scaled_by(1e9 / exact_f64(hertz))), None)
                }
                Unit::Ratio => (None, None),
            };
            let what = case.promise.clone();
            let exact_to = match unit {
                Unit::Nanoseconds => 2.0 * measured.nanoseconds_per_tick()?,
                Unit::Instructions { hertz, .. } => count_resolution(hertz),
                Unit::Ratio => 2.0 / native,
            } / f64::from(measured.operations);
            let ratio = ticks.least / native;
            costs.push(Cost {
                name,
                operation: what,
                cost,
                ticks: shown,
                resolution: exact_to,
                ratio,
            });
        }
        Ok(Costs {
            sudbox_version: verdict.sudbox_version.clone(),
            kernel: verdict.kernel.clone(),
            machine: verdict.machine.clone(),
            guest_facts: verdict.guest_facts.clone(),
            unit,
            costs,
            missing: lacks,
        })
    }

    /// The cost with this name.
    #[must_use]
    pub fn cost_named(&self, name: &str) -> Option<&Cost> {
        self.costs.iter().find(|cost| cost.name == name)
    }
}

/// Checks that instructions were counted exactly: an iteration of the empty loop takes `of_loop`
/// instructions, and the guest's clock agrees with its counter.
fn check_exactness(
    measured: &[CaseMeasurement],
    hertz: u64,
    of_loop: u32,
) -> Result<(), CostError> {
    let instructions = 1e9 / exact_f64(hertz);
    let least = |measured: &CaseMeasurement| {
        sorted(&measured.empty_batches).first().copied().map(exact_f64)
    };
    for one in measured {
        let inexact = |counted, expected| CostError::InstructionsMiscounted {
            id: one.id.clone(),
            counted,
            expected,
        };
        let tick = one.nanoseconds_per_tick()?;
        if (tick / instructions - 1.0).abs() > 0.001 {
            return Err(inexact(tick, instructions));
        }
        // The difference of two loops with different numbers of iterations contains only iterations, not
        // the code before and after the loop.
        for other in measured.iter().filter(|other| other.operations < one.operations) {
            let (Some(long), Some(short)) = (least(one), least(other)) else { continue };
            let counted = (long - short) * instructions;
            let expected = f64::from(of_loop) * f64::from(one.operations - other.operations);
            if (counted - expected).abs() > count_resolution(hertz) {
                return Err(inexact(counted, expected));
            }
        }
    }
    Ok(())
}

/// Maximum difference, in instructions, between the counts of two equal batches. A batch begins and ends
/// within a tick of the counter, so the resolution of the counter limits the count.
fn count_resolution(hertz: u64) -> f64 {
    let instructions = 1e9 / exact_f64(hertz);
    let whole = 1_000_000_000_u64.is_multiple_of(hertz);
    2.0 * if whole { instructions - 1.0 } else { instructions }
}

fn sorted(values: &[u64]) -> Vec<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted
}

/// The quartile number `quarters` (0 to 4) of sorted values, interpolated.
fn quartile(sorted: &[u64], quarters: usize) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let (at, rest) = (last * quarters / 4, last * quarters % 4);
    let (low, high) = (exact_f64(sorted[at]), exact_f64(sorted[(at + 1).min(last)]));
    low + (high - low) * [0.0, 0.25, 0.5, 0.75][rest]
}

/// Converts ticks or nanoseconds to a double. They are far below 2^53, so the conversion is exact.
#[allow(clippy::cast_precision_loss)]
fn exact_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
