// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The costs of dispatch on a kernel, and their forms.
//!
//! The guest reports ticks of a counter for batches of an operation ([`Measured`]). [`Costs::of`] turns
//! them into costs of one operation, without the loop around it, in a unit that is meaningful on the
//! machine.

pub mod comparison;
mod comparison_table;
pub(crate) mod json;
mod page;
mod table;

use crate::form::{Form, Report};
use crate::{Kernel, Outcome, Verdict};
use serde::{Deserialize, Serialize};
use sudbox_protocol::Measurement;

/// One measurement, as the guest reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Measured {
    /// Id of the case that measured.
    pub id: String,
    /// Number of operations in a batch.
    pub operations: u32,
    /// Ticks of each batch.
    pub batches: Vec<u64>,
    /// Ticks of each batch of the empty loop.
    pub empty: Vec<u64>,
    /// Ticks of the counter during the whole measurement.
    pub ticks: u64,
    /// Nanoseconds of the clock during the whole measurement.
    pub nanoseconds: u64,
}

impl Measured {
    /// Adds to a measurement the id of its case.
    #[must_use]
    pub fn of(id: &str, measurement: Measurement) -> Measured {
        let Measurement { operations, batches, empty, ticks, nanoseconds } = measurement;
        Measured { id: id.to_owned(), operations, batches, empty, ticks, nanoseconds }
    }

    /// The cost of one operation in ticks, without the empty loop.
    fn ticks(&self) -> Result<Spread, CostError> {
        let wrong = |what| CostError::Senseless { id: self.id.clone(), what };
        if self.operations == 0 {
            return Err(wrong("its batches hold no operation"));
        }
        let (batches, empty) = (sorted(&self.batches), sorted(&self.empty));
        let (Some(least), Some(least_empty)) = (batches.first(), empty.first()) else {
            return Err(wrong("it has no batches"));
        };
        let operations = f64::from(self.operations);
        let quarter = |part| quantile(&batches, part);
        Ok(Spread {
            least: (float(*least) - float(*least_empty)) / operations,
            median: (quarter(2) - quantile(&empty, 2)) / operations,
            spread: (quarter(3) - quarter(1)) / operations,
        })
    }

    /// Nanoseconds per tick.
    fn nanoseconds_of_tick(&self) -> Result<f64, CostError> {
        if self.ticks == 0 || self.nanoseconds == 0 {
            let what = "no time passed by the clock or by the counter";
            return Err(CostError::Senseless { id: self.id.clone(), what });
        }
        Ok(float(self.nanoseconds) / float(self.ticks))
    }
}

/// Why costs cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CostError {
    /// A measurement is inconsistent.
    #[error("{id}: {what}")]
    Senseless {
        /// Id of the measurement.
        id: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The machine does not count instructions exactly.
    #[error(
        "{id}: {counted} instructions were counted where there are {expected}: QEMU does not count \
         exactly"
    )]
    Inexact {
        /// Id of the measurement.
        id: String,
        /// Instructions counted.
        counted: f64,
        /// Instructions in the assembly.
        expected: f64,
    },
    /// The native call was not measured, so there is nothing to compare with.
    #[error("the cost of a call without dispatch is unknown")]
    NoNative,
}

/// Unit in which the costs on a machine are meaningful.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Unit {
    /// Nanoseconds, on a real processor; ticks of its counter are given too.
    Nanoseconds,
    /// Instructions, where the emulator counts them.
    Instructions {
        /// Ticks of the counter in a second of the guest, in which 10^9 instructions are executed.
        hertz: u64,
        /// Instructions of the empty loop, per iteration.
        of_loop: u32,
    },
    /// Multiples of a native call, where emulation keeps no time.
    Ratio,
}

/// Cost of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Spread {
    /// In the fastest batch.
    pub least: f64,
    /// In the median batch.
    pub median: f64,
    /// Interquartile range of the batches.
    pub spread: f64,
}

impl Spread {
    /// Converts to a unit of which there are `factor` in the old one.
    fn times(self, factor: f64) -> Spread {
        Spread {
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
    /// Name, without the prefix that all names have in common.
    pub name: String,
    /// The operation, in one line.
    pub what: String,
    /// The cost in the unit; `None` if that is [`Unit::Ratio`].
    pub cost: Option<Spread>,
    /// The cost in ticks of the counter, if the unit is [`Unit::Nanoseconds`].
    pub ticks: Option<Spread>,
    /// Error of the cost by the resolution of the counter, in the unit; 0 if it ticks with each
    /// instruction.
    pub exact_to: f64,
    /// The least cost as a multiple of the least cost of a call without dispatch. The least, because other
    /// work of the machine only ever adds to a cost.
    pub ratio: f64,
}

/// A cost that was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lack {
    /// Its name.
    pub name: String,
    /// Outcome of the case.
    pub outcome: Outcome,
    /// The reason.
    pub why: String,
}

impl Report for Costs {
    const FORMS: &'static [Form<Costs>] = &[table::FORM, json::FORM, page::FORM];
}

/// All costs on one kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Costs {
    /// Version of sudbox.
    pub sudbox: String,
    /// The kernel.
    pub kernel: Kernel,
    /// Backend and accelerator, and the reason for the choice, in one line.
    pub machine: String,
    /// Facts that the guest reported.
    pub guest: Vec<String>,
    /// The unit.
    pub unit: Unit,
    /// The costs, in the order in which they were measured.
    pub costs: Vec<Cost>,
    /// The costs that were not measured.
    pub lacks: Vec<Lack>,
}

impl Costs {
    /// Computes the costs from a verdict. The ids of measurements begin with `prefix`; `native` is the id of
    /// the call without dispatch.
    ///
    /// # Errors
    /// See [`CostError`].
    pub fn of(
        verdict: &Verdict,
        unit: Unit,
        prefix: &str,
        native: &str,
    ) -> Result<Costs, CostError> {
        let measured = |id: &str| verdict.measured.iter().find(|measured| measured.id == id);
        let native = measured(native).ok_or(CostError::NoNative)?.ticks()?.least;
        if native <= 0.0 {
            return Err(CostError::NoNative);
        }
        if let Unit::Instructions { hertz, of_loop } = unit {
            check_exactness(&verdict.measured, hertz, of_loop)?;
        }
        let (mut costs, mut lacks) = (Vec::new(), Vec::new());
        for case in &verdict.cases {
            let name = case.id.strip_prefix(prefix).unwrap_or(&case.id).to_owned();
            let Some(measured) = measured(&case.id).filter(|_| case.outcome == Outcome::Pass)
            else {
                let (outcome, why) = (case.outcome, case.got.clone());
                lacks.push(Lack { name, outcome, why });
                continue;
            };
            let ticks = measured.ticks()?;
            let (cost, shown) = match unit {
                Unit::Nanoseconds => {
                    (Some(ticks.times(measured.nanoseconds_of_tick()?)), Some(ticks))
                }
                Unit::Instructions { hertz, .. } => (Some(ticks.times(1e9 / float(hertz))), None),
                Unit::Ratio => (None, None),
            };
            let what = case.promise.clone();
            let exact_to = match unit {
                Unit::Nanoseconds => 2.0 * measured.nanoseconds_of_tick()?,
                Unit::Instructions { hertz, .. } => slack(hertz),
                Unit::Ratio => 2.0 / native,
            } / f64::from(measured.operations);
            let ratio = ticks.least / native;
            costs.push(Cost { name, what, cost, ticks: shown, exact_to, ratio });
        }
        Ok(Costs {
            sudbox: verdict.sudbox.clone(),
            kernel: verdict.kernel.clone(),
            machine: verdict.machine.clone(),
            guest: verdict.guest.clone(),
            unit,
            costs,
            lacks,
        })
    }

    /// The cost with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Cost> {
        self.costs.iter().find(|cost| cost.name == name)
    }
}

/// Checks that instructions were counted exactly: the empty loop takes as many as there are in the
/// assembly, and the guest's clock agrees with its counter.
fn check_exactness(measured: &[Measured], hertz: u64, of_loop: u32) -> Result<(), CostError> {
    let instructions = 1e9 / float(hertz);
    let least = |measured: &Measured| sorted(&measured.empty).first().copied().map(float);
    for one in measured {
        let inexact =
            |counted, expected| CostError::Inexact { id: one.id.clone(), counted, expected };
        let tick = one.nanoseconds_of_tick()?;
        if (tick / instructions - 1.0).abs() > 0.001 {
            return Err(inexact(tick, instructions));
        }
        // The difference of two loops of different length contains neither their beginning nor their end.
        for other in measured.iter().filter(|other| other.operations < one.operations) {
            let (Some(long), Some(short)) = (least(one), least(other)) else { continue };
            let counted = (long - short) * instructions;
            let expected = f64::from(of_loop) * f64::from(one.operations - other.operations);
            if (counted - expected).abs() > slack(hertz) {
                return Err(inexact(counted, expected));
            }
        }
    }
    Ok(())
}

/// Largest difference in instructions that two equal batches can show: each begins and ends somewhere
/// within a tick, unless the counter ticks with each instruction.
fn slack(hertz: u64) -> f64 {
    let instructions = 1e9 / float(hertz);
    let whole = 1_000_000_000_u64.is_multiple_of(hertz);
    2.0 * if whole { instructions - 1.0 } else { instructions }
}

fn sorted(values: &[u64]) -> Vec<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted
}

/// The quantile of sorted values below which `quarters` quarters of them are, interpolated.
fn quantile(sorted: &[u64], quarters: usize) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let (at, rest) = (last * quarters / 4, last * quarters % 4);
    let (low, high) = (float(sorted[at]), float(sorted[(at + 1).min(last)]));
    low + (high - low) * [0.0, 0.25, 0.5, 0.75][rest]
}

/// Converts ticks, which are far below 2^53, without a loss.
#[allow(clippy::cast_precision_loss)]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
