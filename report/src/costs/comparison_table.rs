// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A comparison as a table for people.

use super::Unit;
use super::comparison::{
    COUNT_THRESHOLD, Comparison, Finding, TIME_THRESHOLD, UnmeasuredCost, median,
};
use super::table::formatted_number;
use crate::Outcome;
use crate::form::Form;
use crate::terminal::{ReportWriter, Screen};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Comparison> =
    Form { name: "table", about: "For people", file_name: "comparison.txt", render };

pub(super) fn render(comparison: &Comparison, screen: Screen) -> String {
    let mut writer = ReportWriter::new(screen);
    for (label, kernel) in ["first", "second"].into_iter().zip(&comparison.kernels) {
        writer.write_labelled(label, &format!("Linux {}, {}", kernel.release, kernel.source));
    }
    writer.write_labelled("machine", &comparison.machine);
    let boots = comparison.compared_costs.first().map_or(0, |line| line.first_values.len());
    let (unit_text, test_text) = unit_and_test_texts(comparison.unit);
    writer.write_labelled("unit", &format!("{unit_text}; {boots} boots of each kernel, in turn"));
    writer.write_labelled("test", &test_text);
    writer.write_empty_line();
    let width = comparison.compared_costs.iter().map(|line| line.name.len()).max().unwrap_or(0);
    writer.write_line(&format!("  {:width$}{:>12}{:>12}{:>10}", "", "first", "second", "change "));
    for cost in &comparison.compared_costs {
        let [first, second] =
            [&cost.first_values, &cost.second_values].map(|boots| formatted_number(median(boots)));
        let change =
            cost.change.map_or_else(|| "-".to_owned(), |change| format!("{:.2} %", change * 100.0));
        let finding = cost.finding.as_str();
        writer.write_line(&format!(
            "  {:width$}{first:>12}{second:>12}{change:>11}  {finding}",
            cost.name
        ));
    }
    for UnmeasuredCost { name, outcomes } in &comparison.unmeasured_costs {
        let [first, second] = outcomes.map(Outcome::as_str);
        writer
            .write_line(&format!("  {name:width$}{first:>12}{second:>12}{:>11}  not compared", ""));
    }
    writer.write_empty_line();
    writer.write_wrapped("", "  ", &format!("COMPARED: {}", conclusion(comparison)));
    writer.finish()
}

/// Descriptions of the unit, and of the test by which a difference counts as real.
fn unit_and_test_texts(unit: Unit) -> (&'static str, String) {
    match unit {
        Unit::Instructions { .. } => (
            "instructions, the least of a boot",
            format!(
                "a difference of more than {} % is real, if most boots of each kernel agree to that",
                COUNT_THRESHOLD * 100.0
            ),
        ),
        Unit::Nanoseconds | Unit::Ratio => (
            if unit == Unit::Nanoseconds {
                "nanoseconds, the median of a boot"
            } else {
                "multiples of a call without dispatch"
            },
            format!(
                "a difference of more than {} % and a tick of the counter is real, if all boots of one \
                 kernel are beyond all of the other's (by chance in one of 462 comparisons)",
                TIME_THRESHOLD * 100.0
            ),
        ),
    }
}

/// The last line: the names of the costs that differ or could not be compared.
fn conclusion(comparison: &Comparison) -> String {
    let names_by_finding = |finding: Finding| {
        let lines = comparison.compared_costs.iter().filter(|line| line.finding == finding);
        let names: Vec<&str> = lines.map(|line| line.name.as_str()).collect();
        (!names.is_empty()).then(|| format!("{}: {}", finding.as_str(), names.join(" ")))
    };
    let mut found: Vec<String> = [Finding::Slower, Finding::Faster, Finding::Unsteady]
        .into_iter()
        .filter_map(names_by_finding)
        .collect();
    let failed: Vec<&str> = comparison.failed_names().collect();
    if !failed.is_empty() {
        found.push(format!("failed: {}", failed.join(" ")));
    }
    if found.is_empty() { "no difference is real".to_owned() } else { found.join("; ") }
}
