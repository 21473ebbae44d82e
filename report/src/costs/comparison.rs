//! Which differences between the costs on two kernels are real, by a stated test.

use super::table::number;
use super::{Cost, Costs, Unit};
use crate::table::Page;
use crate::{Kernel, Outcome};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// What two runs of one kernel agree to where instructions are counted: a difference beyond it is one of
/// the kernels.
pub const EXACT: f64 = 0.001;

/// Less than this is not told of where time is measured, however sure it is.
pub const NOTABLE: f64 = 0.01;

/// Boots of each kernel, in turn, where instructions are counted: one would do, the second shows that
/// it does. If they do not agree there are more, up to [`MOST_COUNTING`].
pub const BOOTS_COUNTING: usize = 2;

/// When most of so many boots do not agree, no more are tried. What has the scheduler take part comes
/// out one way or another; most boots come out alike.
pub const MOST_COUNTING: usize = 5;

/// Boots of each kernel, in turn, where time is measured. If nothing differs, one in 462 times all of
/// one kernel's are beyond all of the other's: 2 of the 924 ways to choose 6 of 12.
pub const BOOTS_TIMING: usize = 6;

/// What was found of one cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// No difference that is real.
    Same,
    /// The second kernel is slower.
    Slower,
    /// The second kernel is faster.
    Faster,
    /// Most counts of one kernel do not agree with each other.
    Unsteady,
}

impl Finding {
    /// The word for it.
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
pub struct Line {
    /// Its name.
    pub name: String,
    /// On the first kernel, by boot, in the unit: least where instructions are counted, else median.
    pub first: Vec<f64>,
    /// On the second.
    pub second: Vec<f64>,
    /// By how much more the second costs, by the median of the boots: 0.05 is 5 %. Not known where the
    /// first costs nothing that can be told.
    pub change: Option<f64>,
    /// Whether that is real.
    pub finding: Finding,
}

/// What was not measured on both kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// Its name.
    pub name: String,
    /// How it ended on each kernel, in the first boot in which it was not measured if there is one.
    pub outcomes: [Outcome; 2],
}

/// Two kernels, compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The kernels.
    pub kernels: [Kernel; 2],
    /// What they ran on.
    pub machine: String,
    /// What the figures are.
    pub unit: Unit,
    /// What is known of both.
    pub lines: Vec<Line>,
    /// What is known of one alone, or of none.
    pub lacking: Vec<Lacking>,
}

impl Comparison {
    /// Of as many boots of each kernel, at least one.
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

    /// Whether something was found so.
    #[must_use]
    pub fn found(&self, finding: Finding) -> bool {
        self.lines.iter().any(|line| line.finding == finding)
    }

    /// What a kernel failed at, which is no cost.
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        let failed = |lacking: &&Lacking| lacking.outcomes.iter().any(|it| it.is_failure());
        self.lacking.iter().filter(failed).map(|lacking| lacking.name.as_str())
    }
}

/// How this ended in the boots of a kernel: as it should if it was measured in each.
fn outcome(boots: &[Costs], name: &str) -> Outcome {
    let mut lacks = boots.iter().flat_map(|costs| &costs.lacks);
    lacks.find(|lack| lack.name == name).map_or(Outcome::Pass, |lack| lack.outcome)
}

/// The figure of a cost that is compared.
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

/// Most counts of a kernel agree, as far as the counter tells; what is beyond that is real.
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

/// Times of all boots of one kernel are beyond those of all boots of the other, and by enough to tell.
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

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 if middle > 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted.get(middle).copied().unwrap_or(f64::NAN),
    }
}

/// The comparison as a table.
#[must_use]
pub fn render(comparison: &Comparison) -> String {
    let mut page = Page { out: String::new(), colour: false };
    for (label, kernel) in ["first", "second"].into_iter().zip(&comparison.kernels) {
        page.labelled(label, &format!("Linux {}, {}", kernel.release, kernel.source));
    }
    page.labelled("machine", &comparison.machine);
    let boots = comparison.lines.first().map_or(0, |line| line.first.len());
    let (figure, test) = match comparison.unit {
        Unit::Instructions { .. } => (
            "instructions, the least of a boot",
            format!(
                "real is what differs by more than {} %, to which most boots of one kernel must agree",
                EXACT * 100.0
            ),
        ),
        Unit::Nanoseconds | Unit::Ratio => (
            if comparison.unit == Unit::Nanoseconds {
                "nanoseconds, the median of a boot"
            } else {
                "times a call without dispatch"
            },
            format!(
                "real is a difference of more than {} % and a tick of the counter in which all boots \
                 of one kernel are beyond all of the other's (one in 462 is so by chance)",
                NOTABLE * 100.0
            ),
        ),
    };
    page.labelled("unit", &format!("{figure}; {boots} boots of each kernel, in turn"));
    page.labelled("test", &test);
    let mut text = page.out;
    text.push('\n');
    let width = comparison.lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
    let _ = writeln!(text, "  {:width$}{:>12}{:>12}{:>10}", "", "first", "second", "change ");
    for one in &comparison.lines {
        let [first, second] = [&one.first, &one.second].map(|boots| number(median(boots)));
        let _ = writeln!(
            text,
            "  {:width$}{first:>12}{second:>12}{:>11}  {}",
            one.name,
            one.change.map_or_else(|| "-".to_owned(), |change| format!("{:.2} %", change * 100.0)),
            one.finding.as_str()
        );
    }
    for Lacking { name, outcomes } in &comparison.lacking {
        let [first, second] = outcomes.map(Outcome::as_str);
        let _ = writeln!(text, "  {name:width$}{first:>12}{second:>12}{:>11}  not compared", "");
    }
    let of = |finding| {
        let names: Vec<&str> = comparison
            .lines
            .iter()
            .filter(|line| line.finding == finding)
            .map(|line| line.name.as_str())
            .collect();
        (!names.is_empty()).then(|| format!("{}: {}", finding.as_str(), names.join(" ")))
    };
    let mut found: Vec<String> =
        [Finding::Slower, Finding::Faster, Finding::Unsteady].into_iter().filter_map(of).collect();
    let failed: Vec<&str> = comparison.failed().collect();
    if !failed.is_empty() {
        found.push(format!("failed: {}", failed.join(" ")));
    }
    let found =
        if found.is_empty() { "no difference is real".to_owned() } else { found.join("; ") };
    let _ = writeln!(text, "\nCOMPARED: {found}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::costs::Lack;

    const COUNTING: Unit = Unit::Instructions { hertz: 1_000_000_000, of_loop: 3 };

    fn finding(unit: Unit, first: &[f64], second: &[f64]) -> Finding {
        Line::of("x", unit, 0.0, first.to_vec(), second.to_vec()).finding
    }

    #[test]
    fn counts_differ_beyond_what_they_agree_to() {
        let same = [3000.0, 3000.5];
        assert_eq!(finding(COUNTING, &same, &[3002.0, 3001.0]), Finding::Same);
        assert_eq!(finding(COUNTING, &same, &[3200.0, 3200.0]), Finding::Slower);
        assert_eq!(finding(COUNTING, &[3200.0, 3200.0], &same), Finding::Faster);
        assert_eq!(finding(COUNTING, &[3000.0, 3004.0], &[3200.0, 3200.0]), Finding::Unsteady);
        assert_eq!(finding(COUNTING, &[1.0, 1.0], &[1.0, 1.0]), Finding::Same);
    }

    #[test]
    fn most_counts_decide() {
        let odd = [3010.0, 3000.0, 3000.0];
        assert_eq!(finding(COUNTING, &odd, &[3000.0; 3]), Finding::Same);
        assert_eq!(finding(COUNTING, &odd, &[3010.0; 3]), Finding::Slower);
        assert_eq!(finding(COUNTING, &[3000.0, 3010.0, 3020.0], &[3000.0; 3]), Finding::Unsteady);
        let line = Line::of(
            "x",
            COUNTING,
            0.0,
            vec![3000.0, 3300.0, 3300.0, 3000.0, 3300.0],
            vec![3300.0; 5],
        );
        assert_eq!(line.change, Some(0.0));
    }

    #[test]
    fn a_coarse_counter_tells_less() {
        let finding = |second: f64| {
            Line::of("x", COUNTING, 3.0, vec![225.0, 226.5], vec![second, second]).finding
        };
        assert_eq!(finding(228.5), Finding::Same);
        assert_eq!(finding(230.0), Finding::Slower);
    }

    #[test]
    fn times_differ_if_all_of_one_are_beyond_all_of_the_other() {
        let first = [100.0, 101.0, 99.0, 102.0, 100.5, 98.0];
        let slower = [110.0, 103.0, 108.0, 109.0, 111.0, 107.0];
        assert_eq!(finding(Unit::Nanoseconds, &first, &slower), Finding::Slower);
        assert_eq!(finding(Unit::Nanoseconds, &slower, &first), Finding::Faster);
        let one_within = [110.0, 101.5, 108.0, 109.0, 111.0, 107.0];
        assert_eq!(finding(Unit::Ratio, &first, &one_within), Finding::Same);
        let little = first.map(|time| time * 0.001 + 102.0);
        assert_eq!(finding(Unit::Nanoseconds, &[101.9; 6], &little), Finding::Same);
    }

    #[test]
    fn nothing_is_not_slower_than_nothing() {
        let line =
            |second| Line::of("flip", Unit::Nanoseconds, 0.02, vec![-0.003; 6], vec![second; 6]);
        assert_eq!((line(0.01).finding, line(0.01).change), (Finding::Same, None));
        assert_eq!(line(0.5).finding, Finding::Slower);
    }

    #[test]
    fn what_one_kernel_fails_at_is_told() {
        let costs = |outcome| {
            let lack = Lack { name: "trap".to_owned(), outcome, why: String::new() };
            Costs {
                sudbox: String::new(),
                kernel: Kernel::default(),
                machine: String::new(),
                guest: Vec::new(),
                unit: COUNTING,
                costs: Vec::new(),
                lacks: vec![lack],
            }
        };
        let compared = |other| {
            let boots = [costs(Outcome::Absent), costs(other)];
            Comparison::of(&[costs(Outcome::Absent)], &boots).unwrap()
        };
        assert_eq!(compared(Outcome::Absent).failed().count(), 0);
        assert!(render(&compared(Outcome::Absent)).ends_with("no difference is real\n"));
        let failed = Comparison::of(&[costs(Outcome::Absent)], &[costs(Outcome::Crash)]).unwrap();
        assert_eq!(failed.failed().collect::<Vec<_>>(), ["trap"]);
        assert!(render(&failed).ends_with("COMPARED: failed: trap\n"), "{}", render(&failed));
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0]) - 2.5).abs() < 1e-9);
    }
}
