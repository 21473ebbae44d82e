// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::Screen;
use crate::costs::MissingCost;
use crate::costs::comparison_table::render;

const COUNTING: Unit = Unit::Instructions { hertz: 1_000_000_000, loop_instructions: 3 };

fn finding(unit: Unit, first: &[f64], second: &[f64]) -> Finding {
    ComparedCost::from_values("x", unit, 0.0, first.to_vec(), second.to_vec()).finding
}

#[test]
fn counts_beyond_the_tolerance_differ() {
    let same = [3000.0, 3000.5];
    assert_eq!(finding(COUNTING, &same, &[3002.0, 3001.0]), Finding::Same);
    assert_eq!(finding(COUNTING, &same, &[3200.0, 3200.0]), Finding::Slower);
    assert_eq!(finding(COUNTING, &[3200.0, 3200.0], &same), Finding::Faster);
    assert_eq!(finding(COUNTING, &[3000.0, 3004.0], &[3200.0, 3200.0]), Finding::Unsteady);
    assert_eq!(finding(COUNTING, &[1.0, 1.0], &[1.0, 1.0]), Finding::Same);
}

#[test]
fn the_majority_of_the_counts_decides() {
    let two_of_three_agree = [3010.0, 3000.0, 3000.0];
    assert_eq!(finding(COUNTING, &two_of_three_agree, &[3000.0; 3]), Finding::Same);
    assert_eq!(finding(COUNTING, &two_of_three_agree, &[3010.0; 3]), Finding::Slower);
    assert_eq!(finding(COUNTING, &[3000.0, 3010.0, 3020.0], &[3000.0; 3]), Finding::Unsteady);
    let compared_cost = ComparedCost::from_values(
        "x",
        COUNTING,
        0.0,
        vec![3000.0, 3300.0, 3300.0, 3000.0, 3300.0],
        vec![3300.0; 5],
    );
    assert_eq!(compared_cost.change, Some(0.0));
}

#[test]
fn a_coarse_counter_hides_small_differences() {
    let finding = |second: f64| {
        ComparedCost::from_values("x", COUNTING, 3.0, vec![225.0, 226.5], vec![second, second])
            .finding
    };
    assert_eq!(finding(228.5), Finding::Same);
    assert_eq!(finding(230.0), Finding::Slower);
}

#[test]
fn times_differ_if_they_do_not_overlap() {
    let first = [100.0, 101.0, 99.0, 102.0, 100.5, 98.0];
    let slower = [110.0, 103.0, 108.0, 109.0, 111.0, 107.0];
    assert_eq!(finding(Unit::Nanoseconds, &first, &slower), Finding::Slower);
    assert_eq!(finding(Unit::Nanoseconds, &slower, &first), Finding::Faster);
    let one_within = [110.0, 101.5, 108.0, 109.0, 111.0, 107.0];
    assert_eq!(finding(Unit::Ratio, &first, &one_within), Finding::Same);
    let slightly_slower = first.map(|time| time * 0.001 + 102.0);
    assert_eq!(finding(Unit::Nanoseconds, &[101.9; 6], &slightly_slower), Finding::Same);
}

#[test]
fn costs_near_zero_do_not_differ() {
    let compared = |second| {
        ComparedCost::from_values("flip", Unit::Nanoseconds, 0.02, vec![-0.003; 6], vec![second; 6])
    };
    assert_eq!((compared(0.01).finding, compared(0.01).change), (Finding::Same, None));
    assert_eq!(compared(0.5).finding, Finding::Slower);
}

#[test]
fn costs_that_one_kernel_fails_to_measure_are_named() {
    let costs = |outcome| {
        let missing = MissingCost { name: "trap".to_owned(), outcome, reason: String::new() };
        Costs {
            sudbox_version: String::new(),
            kernel: Kernel::default(),
            machine: String::new(),
            guest_facts: Vec::new(),
            unit: COUNTING,
            costs: Vec::new(),
            missing: vec![missing],
        }
    };
    let compared = |other| {
        let boots = [costs(Outcome::Absent), costs(other)];
        Comparison::from_boots(&[costs(Outcome::Absent)], &boots).unwrap()
    };
    assert_eq!(compared(Outcome::Absent).failed_names().count(), 0);
    assert!(render(&compared(Outcome::Absent), Screen::FILE).ends_with("no difference is real\n"));
    let failed =
        Comparison::from_boots(&[costs(Outcome::Absent)], &[costs(Outcome::Crash)]).unwrap();
    assert_eq!(failed.failed_names().collect::<Vec<_>>(), ["trap"]);
    assert!(
        render(&failed, Screen::FILE).ends_with("COMPARED: failed: trap\n"),
        "{}",
        render(&failed, Screen::FILE)
    );
}

#[test]
fn a_median_is_in_the_middle() {
    assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
    assert!((median(&[4.0, 1.0]) - 2.5).abs() < 1e-9);
}

#[test]
fn the_chance_of_a_false_finding_depends_on_the_number_of_boots() {
    assert_eq!(comparisons_per_chance_finding(1), 1);
    assert_eq!(comparisons_per_chance_finding(2), 3);
    assert_eq!(comparisons_per_chance_finding(BOOTS_TO_TIME), 462);
}
