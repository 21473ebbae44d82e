//! What dispatch costs on a kernel, and its forms.
//!
//! The guest tells ticks of a counter for batches of an operation ([`Measured`]); here they become
//! costs of one operation, in the unit that the machine allows to speak of. The loop around the
//! operations is taken away from all of them.

pub mod comparison;
pub mod json;
pub mod page;
pub mod table;

use crate::{Kernel, Outcome, Verdict};
use serde::{Deserialize, Serialize};
use sudbox_protocol::Measurement;

/// A measurement of the guest's, as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Of which case.
    pub id: String,
    /// How often a batch does the operation.
    pub operations: u32,
    /// Ticks of each batch.
    pub batches: Vec<u64>,
    /// Ticks of each batch of the empty loop.
    pub empty: Vec<u64>,
    /// How long all of it took by the counter, in ticks,
    pub ticks: u64,
    /// and by the clock, in nanoseconds.
    pub nanoseconds: u64,
}

impl Measured {
    /// The measurement of this case.
    #[must_use]
    pub fn of(id: &str, measurement: Measurement) -> Measured {
        let Measurement { operations, batches, empty, ticks, nanoseconds } = measurement;
        Measured { id: id.to_owned(), operations, batches, empty, ticks, nanoseconds }
    }

    /// Costs of one operation in ticks, or why they cannot be told.
    fn ticks(&self) -> Result<Spread, CostError> {
        let wrong = |what| CostError::Senseless { id: self.id.clone(), what };
        if self.operations == 0 {
            return Err(wrong("its batches do nothing"));
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

    /// Nanoseconds of a tick.
    fn nanoseconds_of_tick(&self) -> Result<f64, CostError> {
        if self.ticks == 0 || self.nanoseconds == 0 {
            let what = "no time passed by the clock or by the counter";
            return Err(CostError::Senseless { id: self.id.clone(), what });
        }
        Ok(float(self.nanoseconds) / float(self.ticks))
    }
}

/// Why costs cannot be told.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CostError {
    /// A measurement makes no sense.
    #[error("{id}: {what}")]
    Senseless {
        /// The measurement.
        id: String,
        /// Why.
        what: &'static str,
    },
    /// The machine does not count instructions as it should.
    #[error(
        "{id}: {counted} instructions were counted where there are {there}: QEMU does not count \
         exactly"
    )]
    Inexact {
        /// The measurement.
        id: String,
        /// What was counted.
        counted: f64,
        /// What is in the assembly.
        there: f64,
    },
    /// There is nothing to compare with.
    #[error("what a call costs without dispatch is not known")]
    NoNative,
}

/// What may be said of costs on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Unit {
    /// It is a processor: nanoseconds, and ticks of its counter where those tell more.
    Nanoseconds,
    /// It counts instructions.
    Instructions {
        /// So many times in a second of the guest does the counter tick, in which 10^9 instructions are
        /// executed.
        hertz: u64,
        /// Instructions of the empty loop, each time.
        of_loop: u32,
    },
    /// It emulates, and only how much more something costs than something else means anything.
    Ratio,
}

/// Costs of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// By the quickest batch.
    pub least: f64,
    /// By the median batch.
    pub median: f64,
    /// Between the first and the third quarter of the batches.
    pub spread: f64,
}

impl Spread {
    fn times(self, factor: f64) -> Spread {
        Spread {
            least: self.least * factor,
            median: self.median * factor,
            spread: self.spread * factor,
        }
    }
}

/// What one thing costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Its name, without what all begin with.
    pub name: String,
    /// What it is.
    pub what: String,
    /// In the unit, unless that is [`Unit::Ratio`].
    pub cost: Option<Spread>,
    /// In ticks of the counter, where the unit is [`Unit::Nanoseconds`].
    pub ticks: Option<Spread>,
    /// By how much the figures may be off because the counter ticks no finer, in the unit; 0 where it
    /// ticks with each instruction.
    pub exact_to: f64,
    /// How many times as much as a call without dispatch: the least of both, as the emulation of a
    /// machine and what else that does only add to it.
    pub ratio: f64,
}

/// What was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    pub why: String,
}

/// All costs on one kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Version of sudbox.
    pub sudbox: String,
    /// The kernel.
    pub kernel: Kernel,
    /// One line: backend, what it runs on, why.
    pub machine: String,
    /// Facts the guest told.
    pub guest: Vec<String>,
    /// What they are told in.
    pub unit: Unit,
    /// In the order in which they were measured.
    pub costs: Vec<Cost>,
    /// What was not measured.
    pub lacks: Vec<Lack>,
}

impl Costs {
    /// From what was found out about a kernel. `prefix` is what the ids of measurements begin with,
    /// `native` the one to compare with.
    ///
    /// # Errors
    /// [`CostError`] where it makes no sense.
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
            check(&verdict.measured, hertz, of_loop)?;
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

    /// The cost of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Cost> {
        self.costs.iter().find(|cost| cost.name == name)
    }
}

/// Whether instructions were counted exactly: the empty loop must take what stands in the assembly, and
/// the guest's clock must agree with its counter.
fn check(measured: &[Measured], hertz: u64, of_loop: u32) -> Result<(), CostError> {
    let instructions = 1e9 / float(hertz);
    let least = |measured: &Measured| sorted(&measured.empty).first().copied().map(float);
    for one in measured {
        let inexact = |counted, there| CostError::Inexact { id: one.id.clone(), counted, there };
        let tick = one.nanoseconds_of_tick()?;
        if (tick / instructions - 1.0).abs() > 0.001 {
            return Err(inexact(tick, instructions));
        }
        // Two loops of different length begin and end alike.
        for other in measured.iter().filter(|other| other.operations < one.operations) {
            let (Some(long), Some(short)) = (least(one), least(other)) else { continue };
            let counted = (long - short) * instructions;
            let there = f64::from(of_loop) * f64::from(one.operations - other.operations);
            if (counted - there).abs() > slack(hertz) {
                return Err(inexact(counted, there));
            }
        }
    }
    Ok(())
}

/// By how many instructions two batches may seem to differ that do not: each begins within one tick and
/// ends within another, unless there is one with each instruction.
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

/// The value below which so many quarters of the sorted values are, between two of them if need be.
fn quantile(sorted: &[u64], quarters: usize) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let (at, rest) = (last * quarters / 4, last * quarters % 4);
    let (low, high) = (float(sorted[at]), float(sorted[(at + 1).min(last)]));
    low + (high - low) * [0.0, 0.25, 0.5, 0.75][rest]
}

/// Ticks of a measurement are far below 2^53.
#[allow(clippy::cast_precision_loss)]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CaseReport;

    fn measured(id: &str, operations: u32, batch: u64, empty: u64) -> Measured {
        let batches = vec![batch + 900, batch, batch + 4, batch + 2, batch + 6];
        let (id, empty) = (id.to_owned(), vec![empty + 1, empty, empty]);
        Measured { id, operations, batches, empty, ticks: 1000, nanoseconds: 1000 }
    }

    fn verdict(all: Vec<(Measured, Outcome)>) -> Verdict {
        let case = |measured: &Measured, outcome| CaseReport {
            id: measured.id.clone(),
            promise: "a call <&\u{1b}".to_owned(),
            kernel_function: String::new(),
            outcome,
            expected: String::new(),
            got: "not there".to_owned(),
            log: Vec::new(),
            console: None,
            rerun: String::new(),
            micros: 0,
        };
        Verdict {
            cases: all.iter().map(|(measured, outcome)| case(measured, *outcome)).collect(),
            measured: all.into_iter().map(|(measured, _)| measured).collect(),
            ..Verdict::default()
        }
    }

    fn costs(all: Vec<(Measured, Outcome)>, unit: Unit) -> Result<Costs, CostError> {
        Costs::of(&verdict(all), unit, "bench/", "bench/native")
    }

    fn two() -> Vec<(Measured, Outcome)> {
        vec![
            (measured("bench/native", 10, 1030, 30), Outcome::Pass),
            (measured("bench/trap", 10, 20_030, 30), Outcome::Pass),
            (measured("bench/other", 10, 0, 0), Outcome::Absent),
        ]
    }

    const COUNTING: Unit = Unit::Instructions { hertz: 500_000_000, of_loop: 3 };

    #[test]
    fn what_the_loop_takes_is_taken_away_and_ticks_become_a_unit() {
        let of_time = costs(two(), Unit::Nanoseconds).unwrap();
        let trap = of_time.named("trap").unwrap();
        assert_eq!(trap.cost, Some(Spread { least: 2000.0, median: 2000.4, spread: 0.4 }));
        assert_eq!(trap.ticks, trap.cost, "a tick is a nanosecond here");
        assert!((trap.ratio - 20.0).abs() < 1e-9);
        assert!((trap.exact_to - 0.2).abs() < 1e-9, "a tick at each end of 10");
        assert_eq!(of_time.lacks[0].name, "other");
        let ratio = costs(two(), Unit::Ratio).unwrap();
        assert!(ratio.costs.iter().all(|cost| cost.cost.is_none() && cost.ticks.is_none()));
        let mut halved = two();
        halved.iter_mut().for_each(|(measured, _)| measured.nanoseconds = 2000);
        let counted = costs(halved, COUNTING).unwrap();
        assert_eq!(counted.named("trap").unwrap().cost.unwrap().least, 4000.0);
    }

    #[test]
    fn an_inexact_count_is_refused() {
        let exact = |nanoseconds, empty| {
            let mut all = vec![
                (measured("bench/native", 64, 10_000, 30 + 96), Outcome::Pass),
                (measured("bench/notify", 16, 10_000, empty), Outcome::Pass),
            ];
            all.iter_mut().for_each(|(measured, _)| measured.nanoseconds = nanoseconds);
            costs(all, COUNTING)
        };
        // 48 times 3 instructions are 72 ticks of 2; a tick at each end may hold one more.
        assert!(exact(2000, 54).is_ok());
        assert!(exact(2000, 53).is_ok());
        assert!(matches!(exact(2000, 51), Err(CostError::Inexact { .. })));
        assert!(matches!(exact(2010, 54), Err(CostError::Inexact { .. })));
    }

    #[test]
    fn a_counter_may_be_coarse_or_uneven() {
        assert_eq!(slack(1_000_000_000), 0.0);
        assert_eq!(slack(62_500_000), 30.0);
        assert_eq!(slack(4_096_000_000), 2.0 / 4.096);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let empty = vec![(measured("bench/native", 0, 1, 1), Outcome::Pass)];
        assert!(matches!(costs(empty, Unit::Ratio), Err(CostError::Senseless { .. })));
        assert_eq!(costs(Vec::new(), Unit::Ratio), Err(CostError::NoNative));
    }

    #[test]
    fn forms_are_harmless_and_complete() {
        let costs = costs(two(), Unit::Nanoseconds).unwrap();
        let page = page::render(&costs);
        assert!(page.contains("a call &lt;&amp;") && !page.contains('\u{1b}'), "{page}");
        assert_eq!(page.matches("<rect class=\"bar\"").count(), 2);
        assert!(page.contains(">2000.0 ns</text>"), "{page}");
        let table = table::render(&costs);
        assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
        assert!(table.contains("other   absent: not there\n"), "{table}");
        let document: serde_json::Value = serde_json::from_str(&json::render(&costs)).unwrap();
        assert_eq!(document["unit"]["kind"], "nanoseconds");
        assert_eq!(document["costs"][1]["name"], "trap");
    }
}
