// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Turns a slowdown into an outcome: a benchmark fails if its cost exceeds the cost at the good end
//! by more than a threshold. Costs are counted instructions, because times are too noisy to bisect.

use crate::cli::Threshold;
use crate::measure;
use sudbox_guest_init::bench::PREFIX;
use sudbox_report::costs::Unit;
use sudbox_report::costs::comparison::value_to_compare;
use sudbox_report::{CaseReport, Outcome, Verdict};

/// A cost in thousandths of an instruction.
pub(super) type MilliInstructions = u64;

/// The cost of the benchmark `name` in a verdict; `None` if the benchmark was not measured.
///
/// # Errors
/// If the verdict has no costs, or inconsistent costs.
pub(super) fn cost(
    verdict: &Verdict,
    unit: Unit,
    name: &str,
) -> anyhow::Result<Option<MilliInstructions>> {
    let costs = measure::costs_of(verdict, unit)?;
    Ok(costs.cost_named(name).map(|cost| {
        let thousandths = (value_to_compare(unit, cost) * 1000.0).round();
        // A cast saturates, and no cost is negative or near the limit.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let cost = thousandths as MilliInstructions;
        cost
    }))
}

/// Sets the outcome of a benchmark, which fails if `cost` exceeds `good_cost` by more than the
/// threshold.
pub(super) fn judge_cost(
    mut case: CaseReport,
    cost: MilliInstructions,
    good_cost: Option<MilliInstructions>,
    threshold: Threshold,
) -> CaseReport {
    let instructions = |cost: MilliInstructions| format!("{}.{:03}", cost / 1000, cost % 1000);
    case.detail = format!("{} instructions", instructions(cost));
    if let Some(good_cost) = good_cost {
        let limit_in_millionths =
            u128::from(good_cost) * u128::from(1000 + threshold.thousandths());
        if u128::from(cost) * 1000 > limit_in_millionths {
            case.outcome = Outcome::Fail;
            case.expected = format!("at most {threshold} more than {}", instructions(good_cost));
        }
    }
    case
}

/// The case id of the benchmark `name`.
pub(super) fn case_id(name: &str) -> String {
    format!("{PREFIX}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_above_the_threshold_fails() {
        let case = |figure, good| {
            let blank = CaseReport {
                id: case_id("round-trip"),
                promise: String::new(),
                kernel_function: String::new(),
                outcome: Outcome::Pass,
                expected: String::new(),
                detail: String::new(),
                bug: None,
                log: Vec::new(),
                console: None,
                rerun: String::new(),
                duration_micros: 0,
            };
            judge_cost(blank, figure, good, Threshold::DEFAULT)
        };
        assert_eq!(case(3_000_000, None).outcome, Outcome::Pass);
        assert_eq!(case(3_150_000, Some(3_000_000)).outcome, Outcome::Pass);
        let slower = case(3_150_001, Some(3_000_000));
        assert_eq!(slower.outcome, Outcome::Fail);
        assert_eq!(slower.detail, "3150.001 instructions");
        assert_eq!(slower.expected, "at most 5.0% more than 3000.000");
    }
}
