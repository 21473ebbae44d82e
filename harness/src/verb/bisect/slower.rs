// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A slowdown as an outcome of a case: what is measured fails where it costs more than at the good end
//! by more than a threshold. Instructions are counted, as a bisection cannot live with noise.

use crate::cli::Threshold;
use crate::measure;
use sudbox_guest_init::bench::PREFIX;
use sudbox_report::costs::Unit;
use sudbox_report::costs::comparison::value;
use sudbox_report::{CaseReport, Outcome, Verdict};

/// A figure in thousandths of an instruction.
pub(super) type Figure = u64;

/// The figure of this name in a verdict, if it was come to.
///
/// # Errors
/// If instructions were not counted exactly.
pub(super) fn figure(verdict: &Verdict, unit: Unit, name: &str) -> anyhow::Result<Option<Figure>> {
    let costs = measure::costs_of(verdict, unit)?;
    Ok(costs.named(name).map(|cost| {
        let thousandths = (value(unit, cost) * 1000.0).round();
        // A float becomes the nearest number that there is.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let figure = thousandths as Figure;
        figure
    }))
}

/// The case with this figure: failed if it costs more than `good` by over the threshold.
pub(super) fn weigh(
    mut case: CaseReport,
    figure: Figure,
    good: Option<Figure>,
    threshold: Threshold,
) -> CaseReport {
    let instructions = |figure: Figure| format!("{}.{:03}", figure / 1000, figure % 1000);
    case.got = format!("{} instructions", instructions(figure));
    if let Some(good) = good {
        let limit = u128::from(good) * u128::from(1000 + threshold.thousandths());
        if u128::from(figure) * 1000 > limit {
            case.outcome = Outcome::Fail;
            case.expected = format!("at most {threshold} more than {}", instructions(good));
        }
    }
    case
}

/// The id of what is measured under this name.
pub(super) fn id(name: &str) -> String {
    format!("{PREFIX}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_more_than_the_threshold_allows_fails() {
        let case = |figure, good| {
            let blank = CaseReport {
                id: id("round-trip"),
                promise: String::new(),
                kernel_function: String::new(),
                outcome: Outcome::Pass,
                expected: String::new(),
                got: String::new(),
                bug: None,
                log: Vec::new(),
                console: None,
                rerun: String::new(),
                micros: 0,
            };
            weigh(blank, figure, good, Threshold::DEFAULT)
        };
        assert_eq!(case(3_000_000, None).outcome, Outcome::Pass);
        assert_eq!(case(3_150_000, Some(3_000_000)).outcome, Outcome::Pass);
        let slower = case(3_150_001, Some(3_000_000));
        assert_eq!(slower.outcome, Outcome::Fail);
        assert_eq!(slower.got, "3150.001 instructions");
        assert_eq!(slower.expected, "at most 5.0% more than 3000.000");
    }
}
