// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compares two records field by field and reports the differences that are not allowed.

use super::allowed::{self, AllowedDifference};
use super::record::{Field, Moment, Record};
use super::scenario::{Cause, Scenario};
use crate::arch::{self, Floating, FrameFormat, Part};
use crate::case::{Check, Failure};
use crate::support::mismatch;
use std::fmt::Write as _;

/// Maximum number of differences that a failure lists.
const MAX_DIFFERENCES: usize = 8;
/// Maximum number of bytes of a part that a failure shows.
const MAX_BYTES: usize = 16;

/// A difference that is not allowed.
struct Difference {
    /// The moment, the field and the part.
    location: String,
    expected: String,
    actual: String,
    /// The kernel function that writes the field.
    function: &'static str,
}

/// Checks that two records are the same, except for the allowed differences of the case `id`.
pub(super) fn compare(id: &str, expected: &Record, actual: &Record) -> Check {
    let (expected, actual) = (expected.fields()?, actual.fields()?);
    let rows = allowed::rows_of_case(id);
    let mut differences = Vec::new();
    let key = |field: &Field<'_>| (field.moment, field.name);
    let mut is_unmatched = vec![true; actual.len()];
    // Most fields come in the same order in both records, so the search begins after the last match.
    let mut next = 0;
    for field in &expected {
        let is_same = |index: &usize| is_unmatched[*index] && key(&actual[*index]) == key(field);
        match (next..actual.len()).chain(0..next).find(is_same) {
            Some(index) => {
                is_unmatched[index] = false;
                next = index + 1;
                compare_field(&rows, field, actual[index].bytes, &mut differences);
            }
            None => add_missing(&rows, field, OnlyIn::Expected, &mut differences),
        }
    }
    for (field, _) in actual.iter().zip(&is_unmatched).filter(|(_, is_unmatched)| **is_unmatched) {
        add_missing(&rows, field, OnlyIn::Actual, &mut differences);
    }
    if expected.is_empty() {
        return Err(Failure::Broken(format!("{id}: nothing was recorded")));
    }
    check_no_differences(&differences)
}

/// Checks that the signal frame and the state after each call hold the values that were loaded before
/// the call, or that the handler stored in the frame, and that each handler began with the initial floating
/// point state. If the scenario's call is executed, the result register may differ.
pub(super) fn check_kept_state(record: &Record, scenario: &Scenario) -> Check {
    let fields = record.fields()?;
    let mut rows: Vec<_> =
        allowed::KEPT_STATE.iter().chain([&allowed::NOT_PROGRAM_STATE]).collect();
    if matches!(scenario.cause, Cause::QueuedSigsys | Cause::QueuedOtherSignal) {
        rows.push(&allowed::RESULT_OF_EXECUTED_CALL);
    }
    if scenario.frames == FrameFormat::Compat {
        rows.extend(&allowed::NULL_SEGMENT_SELECTORS);
    }
    let mut differences = Vec::new();
    // The fields of a variant follow each other. The step `given` has the state that was loaded before the
    // call, the step `edited` has the state that the handler stored in its frame.
    for fields in fields.chunk_by(|a, b| a.moment.variant == b.moment.variant) {
        for given in fields.iter().filter(|field| field.moment.step == "given") {
            let is_of_first_step =
                |field: &&Field<'_>| field.name == given.name && field.moment.count == 0;
            let mut same_fields = fields.iter().filter(is_of_first_step);
            let edited = same_fields.find(|field| field.moment.step == "edited");
            for field in fields.iter().filter(is_of_first_step) {
                let expected = match (field.moment.step, edited) {
                    ("after", Some(edited)) => edited,
                    ("frame" | "after", _) => given,
                    ("handler", _) if matches!(given.name, "registers" | "signal") => given,
                    _ => continue,
                };
                let expected = Field { moment: field.moment, ..*expected };
                compare_field(&rows, &expected, field.bytes, &mut differences);
            }
        }
    }
    for field in fields.iter().filter(|field| field.name == "deviations of the frame") {
        let zeros = vec![0; field.bytes.len()];
        let expected = Field { bytes: &zeros, ..*field };
        compare_field(&[&allowed::REUSED_STACK], &expected, field.bytes, &mut differences);
    }
    let initial = Floating::initial();
    let is_at_handler_entry =
        |field: &&Field<'_>| field.moment.step == "handler" && field.name == "floating";
    for field in fields.iter().filter(is_at_handler_entry).filter(|field| !field.bytes.is_empty()) {
        let expected = Field { bytes: initial.bytes(), ..*field };
        let rows = [&allowed::INITIAL_PKRU, &allowed::NOT_PROGRAM_STATE];
        compare_field(&rows, &expected, field.bytes, &mut differences);
    }
    check_no_differences(&differences)
}

/// The only record that has a field.
#[derive(Clone, Copy)]
enum OnlyIn {
    /// The record of the reference scenario.
    Expected,
    /// The record of the other scenario.
    Actual,
}

/// Adds a difference for a field that only one record has.
fn add_missing(
    rows: &[&AllowedDifference],
    field: &Field<'_>,
    only_in: OnlyIn,
    differences: &mut Vec<Difference>,
) {
    if rows.iter().any(|row| row.allows(field.moment, field.name, "", field.bytes)) {
        return;
    }
    let (present, missing) = (format!("present, {}", format_bytes(field.bytes)), "missing".into());
    let (expected, actual) = match only_in {
        OnlyIn::Expected => (present, missing),
        OnlyIn::Actual => (missing, present),
    };
    let function = allowed::kernel_function_of(field.name);
    differences.push(Difference { location: location(field, ""), expected, actual, function });
}

/// Compares the expected field with the bytes of the same field in the other record (`actual`), part by part,
/// and adds the differences that no row allows.
fn compare_field(
    rows: &[&AllowedDifference],
    field: &Field<'_>,
    actual: &[u8],
    differences: &mut Vec<Difference>,
) {
    if field.bytes == actual {
        return;
    }
    if field.bytes.len() != actual.len() {
        if !rows.iter().any(|row| row.allows(field.moment, field.name, "", actual)) {
            differences.push(Difference {
                location: location(field, ""),
                expected: format!("{} bytes", field.bytes.len()),
                actual: format!("{} bytes", actual.len()),
                function: allowed::kernel_function_of(field.name),
            });
        }
        return;
    }
    let parts = arch::parts_of_field(field.name);
    let mut offset = 0;
    let mut compare_part = |name: &str, start: usize, length: usize| {
        let end = (start + length).min(actual.len());
        let range = start.min(end)..end;
        let (expected, actual) = (&field.bytes[range.clone()], &actual[range]);
        let allows = |row: &&AllowedDifference| row.allows(field.moment, field.name, name, actual);
        if expected == actual || rows.iter().any(allows) {
            return;
        }
        // Report the bytes from the first to the last that differs.
        let first = expected.iter().zip(actual).position(|(a, b)| a != b).unwrap_or(0);
        let last = expected.iter().zip(actual).rposition(|(a, b)| a != b).unwrap_or(0);
        let name = if name.is_empty() || first > 0 {
            format!("{name}+{first:#x}")
        } else {
            name.to_owned()
        };
        differences.push(Difference {
            location: location(field, &name),
            expected: format_bytes(&expected[first..=last]),
            actual: format_bytes(&actual[first..=last]),
            function: allowed::kernel_function_of(field.name),
        });
    };
    for Part(name, length) in parts {
        compare_part(name, offset, *length);
        offset += length;
    }
    compare_part("", offset, actual.len().saturating_sub(offset));
}

/// The name of a part in reports: moment, field and part.
fn location(field: &Field<'_>, part: &str) -> String {
    let Moment { variant, step, count } = field.moment;
    let mut location = format!("{variant}: {step} {count}: {}", field.name);
    if !part.is_empty() {
        let _ = write!(location, ".{part}");
    }
    location
}

/// Bytes as text: a string if all bytes before the last, a terminating zero, are printable; else a number or a
/// hex dump.
fn format_bytes(bytes: &[u8]) -> String {
    if let [bytes @ .., _] = bytes
        && bytes.len() > 3
        && bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
    {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    if let Ok(eight) = bytes.try_into() {
        return format!("{:#x}", u64::from_ne_bytes(eight));
    }
    if let Ok(four) = bytes.try_into() {
        return format!("{:#x}", u32::from_ne_bytes(four));
    }
    let mut text = String::new();
    for byte in &bytes[..bytes.len().min(MAX_BYTES)] {
        let _ = write!(text, "{byte:02x}");
    }
    if bytes.len() > MAX_BYTES {
        let _ = write!(text, "... ({} bytes)", bytes.len());
    }
    text
}

/// Succeeds if there are no differences; else fails with a list of the first [`MAX_DIFFERENCES`].
fn check_no_differences(differences: &[Difference]) -> Check {
    let list_values = |value: fn(&Difference) -> String| {
        let first = differences.iter().take(MAX_DIFFERENCES);
        let items: Vec<_> = first.map(|d| format!("{} = {}", d.location, value(d))).collect();
        items.join("; ")
    };
    if differences.is_empty() {
        return Ok(());
    }
    let unlisted = differences.len().saturating_sub(MAX_DIFFERENCES);
    let ending =
        if unlisted > 0 { format!("; and {unlisted} more differences") } else { String::new() };
    let actual = list_values(|d| format!("{} [{}]", d.actual, d.function));
    Err(mismatch(list_values(|d| d.expected.clone()), actual + &ending))
}
