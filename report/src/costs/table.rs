//! Costs for people.

use super::{Costs, Spread, Unit};
use crate::table::Page;
use crate::text::line;
use std::fmt::Write as _;

/// The costs as a table, lines of at most 100 characters.
#[must_use]
pub fn render(costs: &Costs) -> String {
    let mut page = Page { out: String::new(), colour: false };
    let kernel = &costs.kernel;
    let named = [&kernel.release, &kernel.arch, &kernel.flavour];
    let named: Vec<String> =
        named.iter().filter(|word| !word.is_empty()).map(|word| line(word)).collect();
    let _ = writeln!(page.out, "Linux {}", named.join(", "));
    let note = kernel.stands_in.iter().map(|note| ("note", note));
    let facts = [("source", &kernel.source), ("machine", &costs.machine)];
    for (label, value) in note.chain(facts).chain(costs.guest.iter().map(|fact| ("guest", fact))) {
        page.labelled(label, value);
    }
    page.labelled("unit", words(costs.unit));
    let mut text = page.out;
    text.push('\n');
    let width = costs.costs.iter().map(|cost| cost.name.len()).max().unwrap_or(0).max(4);
    let columns = match costs.unit {
        Unit::Nanoseconds => &["least", "median", "spread", "ticks"][..],
        Unit::Instructions { .. } => &["least", "median", "spread"],
        Unit::Ratio => &[],
    };
    let _ = write!(text, "  {:width$}", "");
    for column in columns {
        let _ = write!(text, "{column:>10}");
    }
    let _ = writeln!(text, "{:>10}", "x native");
    for cost in &costs.costs {
        let _ = write!(text, "  {:width$}", cost.name);
        if let Some(Spread { least, median, spread }) = cost.cost {
            for value in [least, median, spread] {
                let _ = write!(text, "{:>10}", number(value));
            }
        }
        if let Some(ticks) = cost.ticks {
            let _ = write!(text, "{:>10}", number(ticks.least));
        }
        let _ = writeln!(text, "{:>10}  {}", format!("{:.2}", cost.ratio), line(&cost.what));
    }
    for lack in &costs.lacks {
        let (name, outcome) = (&lack.name, lack.outcome.as_str());
        let _ = writeln!(text, "  {name:width$}  {outcome}: {}", line(&lack.why));
    }
    text
}

/// What the figures are, for people.
fn words(unit: Unit) -> &'static str {
    match unit {
        Unit::Nanoseconds => {
            "nanoseconds of one operation; ticks of the processor's counter, the least; without the \
             loop around it"
        }
        Unit::Instructions { .. } => {
            "instructions of one operation, kernel and program, without the loop around it"
        }
        Unit::Ratio => {
            "none: emulation keeps no time, only how much more one thing costs than another"
        }
    }
}

/// With as many digits as mean something.
pub(super) fn number(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.2}") } else { format!("{value:.1}") }
}
