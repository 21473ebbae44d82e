// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The costs of dispatch on a kernel, and their forms.
//!
//! The guest reports ticks of a counter for batches of an operation ([`CaseMeasurement`]).
//! [`Costs::from_verdict`] converts the ticks into the cost of one operation, without the loop around the
//! operation. The unit depends on the machine's abilities ([`Unit`]).

pub mod causes;
pub mod comparison;
mod comparison_table;
mod forms;
pub(crate) mod json;
mod page;
mod table;

use crate::case_measurement::{CaseMeasurement, FunctionCost};
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
        let (batches, empty_batches) = (sorted(&self.batches), sorted(&self.empty_batches));
        let (Some(least), Some(least_empty)) = (batches.first(), empty_batches.first()) else {
            return Err(inconsistent("it has no batches"));
        };
        let operations = f64::from(self.operations);
        let batch_quartile = |quarters| quartile(&batches, quarters);
        Ok(CostStatistics {
            least: (exact_f64(*least) - exact_f64(*least_empty)) / operations,
            median: (batch_quartile(2) - quartile(&empty_batches, 2)) / operations,
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
    /// Maximum error of the cost due to the resolution of the counter, in the unit; 0 if the counter counts
    /// every instruction.
    #[serde(rename = "exact_to")]
    pub resolution: f64,
    /// Interrupts of all CPUs per operation, except those of timers.
    #[serde(default)]
    pub interrupts: f64,
    /// The instructions of one operation by function; empty if they were not traced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<FunctionCost>,
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
    /// The reason from the report of the case.
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
    /// `native_id` the id of the case that measures the call without dispatch.
    ///
    /// # Errors
    /// See [`CostError`].
    pub fn from_verdict(
        verdict: &Verdict,
        unit: Unit,
        prefix: &str,
        native_id: &str,
    ) -> Result<Costs, CostError> {
        let measurement_of =
            |id: &str| verdict.measurements.iter().find(|measurement| measurement.id == id);
        let native_ticks = measurement_of(native_id)
            .ok_or(CostError::NativeCallNotMeasured)?
            .ticks_per_operation()?
            .least;
        if native_ticks <= 0.0 {
            return Err(CostError::NativeCallNotMeasured);
        }
        if let Unit::Instructions { hertz, loop_instructions } = unit {
            check_exactness(&verdict.measurements, hertz, loop_instructions)?;
        }
        let (mut costs, mut missing) = (Vec::new(), Vec::new());
        for case in &verdict.cases {
            let name = case.id.strip_prefix(prefix).unwrap_or(&case.id).to_owned();
            let Some(measurement) =
                measurement_of(&case.id).filter(|_| case.outcome == Outcome::Pass)
            else {
                let (outcome, reason) = (case.outcome, case.detail.clone());
                missing.push(MissingCost { name, outcome, reason });
                continue;
            };
            let ticks = measurement.ticks_per_operation()?;
            let cost = match unit {
                Unit::Nanoseconds => Some(ticks.scaled_by(measurement.nanoseconds_per_tick()?)),
                Unit::Instructions { hertz, .. } => Some(ticks.scaled_by(1e9 / exact_f64(hertz))),
                Unit::Ratio => None,
            };
            // The beginning and the end of a batch are each known to within a tick.
            let batch_resolution = match unit {
                Unit::Nanoseconds => 2.0 * measurement.nanoseconds_per_tick()?,
                Unit::Instructions { hertz, .. } => count_resolution(hertz),
                Unit::Ratio => 2.0 / native_ticks,
            };
            costs.push(Cost {
                name,
                operation: case.promise.clone(),
                cost,
                ticks: (unit == Unit::Nanoseconds).then_some(ticks),
                resolution: batch_resolution / f64::from(measurement.operations),
                interrupts: exact_f64(measurement.interrupts)
                    / exact_f64(measurement.total_operations.max(1)),
                functions: measurement.functions.clone(),
                ratio: ticks.least / native_ticks,
            });
        }
        Ok(Costs {
            sudbox_version: verdict.sudbox_version.clone(),
            kernel: verdict.kernel.clone(),
            machine: verdict.machine.clone(),
            guest_facts: verdict.guest_facts.clone(),
            unit,
            costs,
            missing,
        })
    }

    /// The cost with this name.
    #[must_use]
    pub fn cost_named(&self, name: &str) -> Option<&Cost> {
        self.costs.iter().find(|cost| cost.name == name)
    }
}

/// Checks that instructions were counted exactly: an iteration of the empty loop takes
/// `loop_instructions`, and the guest's clock agrees with its counter.
fn check_exactness(
    measurements: &[CaseMeasurement],
    hertz: u64,
    loop_instructions: u32,
) -> Result<(), CostError> {
    let instructions_per_tick = 1e9 / exact_f64(hertz);
    let least_empty_batch = |measurement: &CaseMeasurement| {
        sorted(&measurement.empty_batches).first().copied().map(exact_f64)
    };
    for measurement in measurements {
        let inexact = |counted, expected| CostError::InstructionsMiscounted {
            id: measurement.id.clone(),
            counted,
            expected,
        };
        // An instruction takes a nanosecond of the guest's clock.
        let clock_per_tick = measurement.nanoseconds_per_tick()?;
        if (clock_per_tick / instructions_per_tick - 1.0).abs() > 0.001 {
            return Err(inexact(clock_per_tick, instructions_per_tick));
        }
        // The difference of two loops with different numbers of iterations contains only iterations, not
        // the code before and after the loop.
        let has_fewer_iterations =
            |other: &&CaseMeasurement| other.operations < measurement.operations;
        for shorter in measurements.iter().filter(has_fewer_iterations) {
            let (Some(long_ticks), Some(short_ticks)) =
                (least_empty_batch(measurement), least_empty_batch(shorter))
            else {
                continue;
            };
            let counted = (long_ticks - short_ticks) * instructions_per_tick;
            let iterations = f64::from(measurement.operations - shorter.operations);
            let expected = f64::from(loop_instructions) * iterations;
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
    let instructions_per_tick = 1e9 / exact_f64(hertz);
    let is_whole_number = 1_000_000_000_u64.is_multiple_of(hertz);
    2.0 * if is_whole_number { instructions_per_tick - 1.0 } else { instructions_per_tick }
}

fn sorted(values: &[u64]) -> Vec<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted
}

/// The median of values; NaN if there are none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 if middle > 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted.get(middle).copied().unwrap_or(f64::NAN),
    }
}

/// The quartile number `quarters` (0 to 4) of sorted values, interpolated.
fn quartile(sorted: &[u64], quarters: usize) -> f64 {
    let Some(last_index) = sorted.len().checked_sub(1) else { return 0.0 };
    let (index, fraction) = (last_index * quarters / 4, last_index * quarters % 4);
    let (low, high) = (exact_f64(sorted[index]), exact_f64(sorted[(index + 1).min(last_index)]));
    low + (high - low) * [0.0, 0.25, 0.5, 0.75][fraction]
}

/// Converts ticks or nanoseconds to a double. The conversion is exact, because `value` is below 2^53.
#[allow(clippy::cast_precision_loss)]
fn exact_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
