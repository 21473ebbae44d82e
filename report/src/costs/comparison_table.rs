// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A comparison as a table for people.

use super::Unit;
use super::causes::Cause;
use super::comparison::{
    COUNT_THRESHOLD, Comparison, Finding, TIME_THRESHOLD, UnmeasuredCost,
    comparisons_per_chance_finding,
};
use super::median;
use super::table::formatted_number;
use crate::Outcome;
use crate::form::Form;
use crate::terminal::{ReportWriter, Screen};
use crate::text::Printable;

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Comparison> =
    Form { name: "table", about: "For people", file_name: "comparison.txt", render };

pub(super) fn render(comparison: &Comparison, screen: Screen) -> Printable {
    let mut writer = ReportWriter::new(screen);
    for (label, kernel) in ["first", "second"].into_iter().zip(&comparison.kernels) {
        writer.write_labelled(label, &format!("Linux {}, {}", kernel.release, kernel.source));
    }
    writer.write_labelled("machine", &comparison.machine);
    let boots_per_kernel =
        comparison.compared_costs.first().map_or(0, |cost| cost.first_values.len());
    let (unit_text, test_text) = unit_and_test_texts(comparison.unit, boots_per_kernel);
    writer.write_labelled(
        "unit",
        &format!("{unit_text}; {boots_per_kernel} boots of each kernel, in turn"),
    );
    writer.write_labelled("test", &test_text);
    writer.write_empty_line();
    let width = comparison.compared_costs.iter().map(|cost| cost.name.len()).max().unwrap_or(0);
    writer.write_line(&format!("  {:width$}{:>12}{:>12}{:>10}", "", "first", "second", "change "));
    for cost in &comparison.compared_costs {
        let [first_median, second_median] = [&cost.first_values, &cost.second_values]
            .map(|values| formatted_number(median(values)));
        let change =
            cost.change.map_or_else(|| "-".to_owned(), |change| format!("{:.2} %", change * 100.0));
        let finding = cost.finding.as_str();
        writer.write_line(&format!(
            "  {:width$}{first_median:>12}{second_median:>12}{change:>11}  {finding}",
            cost.name
        ));
        for cause in &cost.causes {
            writer.write_wrapped("      ", "        ", &cause_text(cause));
        }
    }
    for UnmeasuredCost { name, outcomes } in &comparison.unmeasured_costs {
        let [first_outcome, second_outcome] = outcomes.map(Outcome::as_str);
        writer.write_line(&format!(
            "  {name:width$}{first_outcome:>12}{second_outcome:>12}{:>11}  not compared",
            ""
        ));
    }
    writer.write_empty_line();
    writer.write_wrapped("", "  ", &format!("COMPARED: {}", conclusion(comparison)));
    writer.finish()
}

/// Maximum number of functions that are named for a cause.
const MAX_FUNCTIONS: usize = 4;

/// A cause in one line, such as `iret 0 -> 1: do_syscall_64 +1`.
fn cause_text(cause: &Cause) -> String {
    let number = |value: f64| match value.fract() == 0.0 {
        true => format!("{value:.0}"),
        false => format!("{value:.2}"),
    };
    let mut text = format!("{} {} -> {}", cause.kind, number(cause.first), number(cause.second));
    let functions = cause.functions.iter().take(MAX_FUNCTIONS);
    let functions: Vec<String> =
        functions.map(|f| format!("{} {:+}", f.function, f.change)).collect();
    if !functions.is_empty() {
        text += &format!(": {}", functions.join(", "));
    }
    match cause.functions.len().saturating_sub(MAX_FUNCTIONS) {
        0 => text,
        more => format!("{text}, {more} more functions"),
    }
}

/// Descriptions of the unit, and of the test by which a difference counts as real.
fn unit_and_test_texts(unit: Unit, boots_per_kernel: usize) -> (&'static str, String) {
    match unit {
        Unit::Instructions { .. } => (
            "instructions, the least of a boot",
            format!(
                "a difference of more than {threshold} % is real, if most boots of each kernel agree \
                 within {threshold} %; a difference of interrupts or costly instructions is real too \
                 (docs/costs.md)",
                threshold = COUNT_THRESHOLD * 100.0
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
                 kernel are slower than all boots of the other (by chance in one of {} comparisons)",
                TIME_THRESHOLD * 100.0,
                comparisons_per_chance_finding(boots_per_kernel)
            ),
        ),
    }
}

/// The last line: the names of the costs that differ or could not be compared.
fn conclusion(comparison: &Comparison) -> String {
    let names_by_finding = |finding: Finding| {
        let costs = comparison.compared_costs.iter().filter(|cost| cost.finding == finding);
        let names: Vec<&str> = costs.map(|cost| cost.name.as_str()).collect();
        (!names.is_empty()).then(|| format!("{}: {}", finding.as_str(), names.join(" ")))
    };
    let mut findings: Vec<String> = [Finding::Slower, Finding::Faster, Finding::Unsteady]
        .into_iter()
        .filter_map(names_by_finding)
        .collect();
    let failed_names: Vec<&str> = comparison.failed_names().collect();
    if !failed_names.is_empty() {
        findings.push(format!("failed: {}", failed_names.join(" ")));
    }
    if findings.is_empty() { "no difference is real".to_owned() } else { findings.join("; ") }
}
