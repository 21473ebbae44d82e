// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The differences between two kernels as a table for people.

use super::{Diff, Difference, ObservationPlace};
use crate::terminal::{Colour, ReportWriter, Screen};
use crate::text::{self, Printable};
use std::collections::BTreeMap;

/// Maximum number of differences of one change, and of places of one difference, that are listed
/// unless the report is verbose.
const MAX_LISTED: usize = 6;

pub(super) fn render(diff: &Diff, screen: Screen) -> Printable {
    let mut writer = ReportWriter::new(screen);
    for (label, kernel) in ["first", "second"].into_iter().zip(&diff.kernels) {
        writer.write_labelled(label, &format!("Linux {}, {}", kernel.release, kernel.source));
    }
    writer.write_labelled("machine", &diff.machine);
    writer.write_labelled("compared", &comparison_extent(diff));
    for change in &diff.expected {
        writer.write_empty_line();
        writer.write_wrapped_in(
            Some(Colour::Green),
            "expected    ",
            "            ",
            &text::escaped_line(&format!("{} ({})", change.about, change.commit)),
        );
        write_differences(&mut writer, &change.differences);
    }
    if !diff.unexpected.is_empty() {
        writer.write_empty_line();
        writer.write_wrapped_in(Some(Colour::Red), "", "", "not expected");
        write_differences(&mut writer, &diff.unexpected);
    }
    writer.write_empty_line();
    let places = |differences: &[Difference]| -> usize {
        differences.iter().map(|difference| difference.places.len()).sum()
    };
    let explained: usize = diff.expected.iter().map(|change| places(&change.differences)).sum();
    let conclusion = match (diff.expected.len(), diff.unexpected.len()) {
        (0, 0) => "no difference".to_owned(),
        (changes, 0) => format!("{changes} expected changes explain all {explained} differences"),
        (changes, unexpected) => format!(
            "{unexpected} differences in {} places are not expected; {changes} expected changes \
             explain {explained} others",
            places(&diff.unexpected)
        ),
    };
    writer.write_wrapped("", "  ", &format!("COMPARED: {conclusion}"));
    writer.finish()
}

/// The numbers of values and cases that were compared, and of values that were left out.
fn comparison_extent(diff: &Diff) -> String {
    let mut line = format!("{} values in {} cases", diff.compared_values, diff.compared_cases);
    if !diff.unstable_parts.is_empty() {
        line += &format!(
            "; {} more differ from boot to boot and are left out (--format json names them)",
            diff.unstable_parts.len()
        );
    }
    line
}

fn write_differences(writer: &mut ReportWriter, differences: &[Difference]) {
    let limit = if writer.is_verbose() { usize::MAX } else { MAX_LISTED };
    for difference in differences.iter().take(limit) {
        let Difference {
            field,
            first,
            second,
            kernel_function: function,
            common_states: common,
            places,
        } = difference;
        let function = if function.is_empty() { String::new() } else { format!("  [{function}]") };
        writer.write_wrapped(
            "  ",
            "      ",
            &text::escaped_line(&format!("{field}: {first} -> {second}{function}")),
        );
        let places = match places.as_slice() {
            [place] if place.case.is_empty() => continue,
            places => places_by_case(places, limit),
        };
        let common = if common.is_empty() { String::new() } else { format!("; all have {common}") };
        writer.write_wrapped(
            "      in ",
            "         ",
            &text::escaped_line(&format!("{places}{common}")),
        );
    }
    if differences.len() > limit {
        let more = differences.len() - limit;
        writer.write_line(&format!("  and {more} more differences (--verbose lists them)"));
    }
}

/// A phrase with the places, grouped by case; at most `limit` cases.
fn places_by_case(places: &[ObservationPlace], limit: usize) -> String {
    let mut by_case: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for ObservationPlace { case, scenario, step } in places {
        let words = [scenario.as_str(), step.as_str()];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        by_case.entry(case).or_default().push(words.join(" "));
    }
    let mut listed: Vec<String> = by_case
        .iter()
        .take(limit)
        .map(|(case, scenarios)| match scenarios.as_slice() {
            [scenario] if scenario.is_empty() => (*case).to_owned(),
            [scenario] => format!("{case} ({scenario})"),
            [scenario, rest @ ..] => format!("{case} ({scenario} and {} more)", rest.len()),
            [] => String::new(),
        })
        .collect();
    if by_case.len() > limit {
        listed.push(format!("{} more cases", by_case.len() - limit));
    }
    listed.join(", ")
}
