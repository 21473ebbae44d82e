//! A slowdown as an outcome of a case: what is measured fails where it costs more than at the good end
//! by more than a threshold. Instructions are counted, as a bisection cannot live with noise.

use crate::bench;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use sudbox_guest_init::bench::PREFIX;
use sudbox_report::costs::Unit;
use sudbox_report::costs::comparison::value;
use sudbox_report::{CaseReport, Outcome, Verdict};

/// By how many thousandths something must be slower to be sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Threshold(u32);

impl Threshold {
    /// If nothing else is said.
    pub(crate) const DEFAULT: Threshold = Threshold(50);
}

impl FromStr for Threshold {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Threshold, &'static str> {
        let number = text.strip_suffix('%').unwrap_or(text);
        let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let thousandths = || {
            let whole: u32 = whole.parse().ok().filter(|_| digits(whole))?;
            let tenths: u32 =
                tenths.parse().ok().filter(|_| digits(tenths) && tenths.len() == 1)?;
            whole.checked_mul(10)?.checked_add(tenths)
        };
        let sound = |thousandths: &u32| (2..=100_000).contains(thousandths);
        thousandths()
            .filter(sound)
            .map(Threshold)
            .ok_or("a threshold is a percentage from 0.2% to 10000%, such as 5%")
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}%", self.0 / 10, self.0 % 10)
    }
}

/// A figure in thousandths of an instruction.
pub(super) type Figure = u64;

/// The figure of this name in a verdict, if it was come to.
///
/// # Errors
/// If instructions were not counted exactly.
pub(super) fn figure(verdict: &Verdict, unit: Unit, name: &str) -> anyhow::Result<Option<Figure>> {
    let costs = bench::costs_of(verdict, unit)?;
    Ok(costs.named(name).map(|cost| {
        let thousandths = (value(unit, cost) * 1000.0).round();
        // A float becomes the nearest number that there is.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let figure = thousandths as Figure;
        figure
    }))
}

/// What the case comes out as that was measured with this figure, where the good end has that one.
pub(super) fn weigh(
    mut case: CaseReport,
    figure: Figure,
    good: Option<Figure>,
    Threshold(threshold): Threshold,
) -> CaseReport {
    let instructions = |figure: Figure| format!("{}.{:03}", figure / 1000, figure % 1000);
    case.got = format!("{} instructions", instructions(figure));
    if let Some(good) = good {
        let limit = u128::from(good) * u128::from(1000 + threshold);
        if u128::from(figure) * 1000 > limit {
            case.outcome = Outcome::Fail;
            case.expected =
                format!("at most {} more than {}", Threshold(threshold), instructions(good));
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
    fn a_threshold_is_a_percentage() {
        let parse = |text: &str| text.parse::<Threshold>().ok();
        assert_eq!(parse("5%"), Some(Threshold(50)));
        assert_eq!(parse("5"), Some(Threshold(50)));
        assert_eq!(parse("0.5%"), Some(Threshold(5)));
        assert_eq!(parse("12.5%").map(|t| t.to_string()), Some("12.5%".to_owned()));
        for bad in ["", "%", "-5%", "5.25%", "0", "0.1%", "five", "+5%", "5%%", "99999999999%"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

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
