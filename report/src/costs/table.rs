// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Costs as a table for people.

use super::{CostStatistics, Costs, Unit};
use crate::form::Form;
use crate::terminal::{ReportWriter, Screen};
use crate::text::{self, Printable};
use std::fmt::Write as _;

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Costs> =
    Form { name: "table", about: "For people", file_name: "costs.txt", render };

pub(super) fn render(costs: &Costs, screen: Screen) -> Printable {
    let mut writer = ReportWriter::new(screen);
    let kernel = &costs.kernel;
    let kernel_words = [&kernel.release, &kernel.arch, &kernel.flavour];
    let kernel_words: Vec<String> = kernel_words
        .iter()
        .filter(|word| !word.is_empty())
        .map(|word| text::escaped_line(word))
        .collect();
    writer.write_wrapped("", "  ", &format!("Linux {}", kernel_words.join(", ")));
    let note = kernel.substitution_note.iter().map(|note| ("note", note));
    let facts = [("source", &kernel.source), ("machine", &costs.machine)];
    for (label, value) in
        note.chain(facts).chain(costs.guest_facts.iter().map(|fact| ("guest", fact)))
    {
        writer.write_labelled(label, value);
    }
    writer.write_labelled("unit", unit_description(costs.unit));
    writer.write_empty_line();
    write_costs(&mut writer, costs);
    writer.finish()
}

/// Writes the costs in columns, and the reasons for missing costs.
fn write_costs(writer: &mut ReportWriter, costs: &Costs) {
    let width = costs.costs.iter().map(|cost| cost.name.len()).max().unwrap_or(0).max(4);
    let columns = match costs.unit {
        Unit::Nanoseconds => &["least", "median", "spread", "ticks"][..],
        Unit::Instructions { .. } => &["least", "median", "spread"],
        Unit::Ratio => &[],
    };
    let figures_width = 10 * (columns.len() + 1);
    let mut header = format!("  {:width$}", "");
    for column in columns {
        let _ = write!(header, "{column:>10}");
    }
    let _ = write!(header, "{:>10}", "x native");
    writer.write_line(&header);
    let indent = " ".repeat(2 + width + figures_width + 2);
    for cost in &costs.costs {
        let mut row = format!("  {:width$}", cost.name);
        if let Some(CostStatistics { least, median, spread }) = cost.cost {
            for value in [least, median, spread] {
                let _ = write!(row, "{:>10}", formatted_number(value));
            }
        }
        if let Some(ticks) = cost.ticks {
            let _ = write!(row, "{:>10}", formatted_number(ticks.least));
        }
        let _ = write!(row, "{:>10}  ", format!("{:.2}", cost.ratio));
        writer.write_wrapped(&row, &indent, &text::escaped_line(&cost.operation));
    }
    for missing_cost in &costs.missing {
        let (name, outcome) = (&missing_cost.name, missing_cost.outcome.as_str());
        let prefix = format!("  {name:width$}  ");
        let indent = " ".repeat(prefix.len());
        writer.write_wrapped(
            &prefix,
            &indent,
            &format!("{outcome}: {}", text::escaped_line(&missing_cost.reason)),
        );
    }
}

/// Description of the unit.
fn unit_description(unit: Unit) -> &'static str {
    match unit {
        Unit::Nanoseconds => {
            "nanoseconds per operation, and ticks of the processor's counter (least); without the loop \
             around the operation"
        }
        Unit::Instructions { .. } => {
            "instructions per operation, of kernel and program, without the loop around the operation"
        }
        Unit::Ratio => "none: emulation keeps no time, so only ratios of costs are meaningful",
    }
}

/// Formats a value below 100 with two decimals, any other value with one decimal.
pub(super) fn formatted_number(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.2}") } else { format!("{value:.1}") }
}
