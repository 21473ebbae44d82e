// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::{CaseReport, Screen};

/// A measurement with `batch` and `empty` as the least ticks of a batch and of the empty loop.
fn measured(id: &str, operations: u32, batch: u64, empty: u64) -> CaseMeasurement {
    let batches = vec![batch + 900, batch, batch + 4, batch + 2, batch + 6];
    let (id, empty) = (id.to_owned(), vec![empty + 1, empty, empty]);
    CaseMeasurement {
        id,
        operations,
        batches,
        empty_batches: empty,
        ticks: 1000,
        nanoseconds: 1000,
        total_operations: 100,
        interrupts: 0,
        functions: Vec::new(),
    }
}

fn verdict(all: Vec<(CaseMeasurement, Outcome)>) -> Verdict {
    let case = |measured: &CaseMeasurement, outcome| CaseReport {
        id: measured.id.clone(),
        promise: "a call <&\u{1b}".to_owned(),
        kernel_function: String::new(),
        outcome,
        expected: String::new(),
        detail: "not there".to_owned(),
        bug: None,
        log: Vec::new(),
        console: None,
        rerun: String::new(),
        duration_micros: 0,
    };
    Verdict {
        cases: all.iter().map(|(measured, outcome)| case(measured, *outcome)).collect(),
        measurements: all.into_iter().map(|(measured, _)| measured).collect(),
        ..Verdict::default()
    }
}

fn costs(all: Vec<(CaseMeasurement, Outcome)>, unit: Unit) -> Result<Costs, CostError> {
    Costs::from_verdict(&verdict(all), unit, "bench/", "bench/native")
}

fn two_passed_and_one_absent() -> Vec<(CaseMeasurement, Outcome)> {
    vec![
        (measured("bench/native", 10, 1030, 30), Outcome::Pass),
        (measured("bench/trap", 10, 20_030, 30), Outcome::Pass),
        (measured("bench/other", 10, 0, 0), Outcome::Absent),
    ]
}

const COUNTING: Unit = Unit::Instructions { hertz: 500_000_000, loop_instructions: 3 };

#[test]
fn the_empty_loop_is_subtracted_and_ticks_are_converted() {
    let of_time = costs(two_passed_and_one_absent(), Unit::Nanoseconds).unwrap();
    let trap = of_time.cost_named("trap").unwrap();
    assert_eq!(trap.cost, Some(CostStatistics { least: 2000.0, median: 2000.4, spread: 0.4 }));
    assert_eq!(trap.ticks, trap.cost, "a tick is a nanosecond here");
    assert!((trap.ratio - 20.0).abs() < 1e-9);
    assert!((trap.resolution - 0.2).abs() < 1e-9, "a tick at each end of 10 operations");
    assert_eq!(of_time.missing[0].name, "other");
    let ratio = costs(two_passed_and_one_absent(), Unit::Ratio).unwrap();
    assert!(ratio.costs.iter().all(|cost| cost.cost.is_none() && cost.ticks.is_none()));
    let mut with_slow_counter = two_passed_and_one_absent();
    with_slow_counter.iter_mut().for_each(|(measured, _)| measured.nanoseconds = 2000);
    let counted = costs(with_slow_counter, COUNTING).unwrap();
    assert_eq!(counted.cost_named("trap").unwrap().cost.unwrap().least, 4000.0);
}

#[test]
fn an_inexact_count_is_refused() {
    let costs_with = |nanoseconds, empty| {
        let mut all = vec![
            (measured("bench/native", 64, 10_000, 30 + 96), Outcome::Pass),
            (measured("bench/notify", 16, 10_000, empty), Outcome::Pass),
        ];
        all.iter_mut().for_each(|(measured, _)| measured.nanoseconds = nanoseconds);
        costs(all, COUNTING)
    };
    // The loops differ by 48 iterations of 3 instructions: 72 ticks of 2 instructions. The beginning and
    // the end of a loop may add up to one tick each.
    assert!(costs_with(2000, 54).is_ok());
    assert!(costs_with(2000, 53).is_ok());
    assert!(matches!(costs_with(2000, 51), Err(CostError::InstructionsMiscounted { .. })));
    assert!(matches!(costs_with(2010, 54), Err(CostError::InstructionsMiscounted { .. })));
}

#[test]
fn the_resolution_depends_on_the_frequency_of_the_counter() {
    assert_eq!(count_resolution(1_000_000_000), 0.0);
    assert_eq!(count_resolution(62_500_000), 30.0);
    assert_eq!(count_resolution(4_096_000_000), 2.0 / 4.096);
}

#[test]
fn inconsistent_measurements_are_refused() {
    let empty = vec![(measured("bench/native", 0, 1, 1), Outcome::Pass)];
    assert!(matches!(costs(empty, Unit::Ratio), Err(CostError::Inconsistent { .. })));
    assert_eq!(costs(Vec::new(), Unit::Ratio), Err(CostError::NativeCallNotMeasured));
}

#[test]
fn forms_escape_text_and_have_every_cost() {
    let costs = costs(two_passed_and_one_absent(), Unit::Nanoseconds).unwrap();
    let page = (page::FORM.render)(&costs, Screen::FILE);
    assert!(page.contains("a call &lt;&amp;") && !page.contains('\u{1b}'), "{page}");
    assert_eq!(page.matches("<rect class=\"bar\"").count(), 2);
    assert!(page.contains(">2000.0 ns</text>"), "{page}");
    let table = (table::FORM.render)(&costs, Screen::FILE);
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert!(table.contains("other   absent: not there\n"), "{table}");
    let document: serde_json::Value =
        serde_json::from_str(&(json::FORM.render)(&costs, Screen::FILE)).unwrap();
    assert_eq!(document["unit"]["kind"], "nanoseconds");
    assert_eq!(document["costs"][1]["name"], "trap");
}
