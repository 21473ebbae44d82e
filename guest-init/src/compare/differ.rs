// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Comparing two records, field by field and byte by byte.

use super::may_differ::{self, MayDiffer};
use super::record::{Field, Moment, Record};
use crate::arch::{self, Floating, Part};
use crate::case::{Check, Failure};
use crate::support::mismatch;
use std::collections::HashMap;
use std::fmt::Write as _;

/// Maximum number of differences that a failure names.
const NAMED: usize = 8;
/// Maximum number of bytes of a part that a failure shows.
const SHOWN: usize = 16;

/// A difference that nothing explains.
struct Difference {
    place: String,
    expected: String,
    seen: String,
    function: &'static str,
}

/// Whether two records say the same, but for what may differ in a comparison of this id. `seen` is
/// judged by `expected`.
pub(super) fn compare(id: &str, expected: &Record, seen: &Record) -> Check {
    let (expected, seen) = (expected.fields()?, seen.fields()?);
    let rows = may_differ::rows(id);
    let mut differences = Vec::new();
    let key = |field: &Field<'_>| (field.moment, field.name);
    let mut others: HashMap<(Moment, &str), &[u8]> =
        seen.iter().map(|field| (key(field), field.bytes)).collect();
    if others.len() != seen.len() {
        return Err(Failure::Broken(format!("{id}: two fields of one name in a record")));
    }
    for field in &expected {
        match others.remove(&key(field)) {
            Some(bytes) => parts(&rows, field, bytes, &mut differences),
            None => missing(&rows, field, true, &mut differences),
        }
    }
    for field in seen.iter().filter(|field| others.contains_key(&key(field))) {
        missing(&rows, field, false, &mut differences);
    }
    if expected.is_empty() {
        return Err(Failure::Broken(format!("{id}: nothing was recorded")));
    }
    tell(&differences)
}

/// Whether each call left, in the frame and behind it, what it was given.
pub(super) fn returned(record: &Record, executed: bool) -> Check {
    let fields = record.fields()?;
    let mut rows: Vec<_> = may_differ::RETURNED.iter().chain([&may_differ::NO_STATE]).collect();
    if executed {
        rows.push(&may_differ::EXECUTED_RETURNED);
    }
    let mut differences = Vec::new();
    for given in fields.iter().filter(|field| field.moment.step == "given") {
        let later = fields.iter().filter(|field| {
            let moment = field.moment;
            moment.scene == given.moment.scene
                && field.name == given.name
                && moment.count == 0
                && matches!(moment.step, "frame" | "behind")
        });
        for field in later {
            let given = Field { moment: field.moment, ..*given };
            parts(&rows, &given, field.bytes, &mut differences);
        }
    }
    // A handler begins with the initial state.
    let initial = Floating::initial();
    let begun = |field: &&Field<'_>| field.moment.step == "handler" && field.name == "floating";
    for field in fields.iter().filter(begun).filter(|field| !field.bytes.is_empty()) {
        let due = Field { bytes: initial.bytes(), ..*field };
        parts(
            &[&may_differ::DEFAULT_KEYS, &may_differ::NO_STATE],
            &due,
            field.bytes,
            &mut differences,
        );
    }
    tell(&differences)
}

/// A field that only one of the records has.
fn missing(
    rows: &[&MayDiffer],
    field: &Field<'_>,
    expected: bool,
    differences: &mut Vec<Difference>,
) {
    if rows.iter().any(|row| row.allows(field.moment, field.name, "")) {
        return;
    }
    let there = format!("there, {}", hex(field.bytes));
    let (expected, seen) =
        if expected { (there, "not there".into()) } else { ("not there".into(), there) };
    let function = may_differ::function(field.name);
    differences.push(Difference { place: place(field, ""), expected, seen, function });
}

fn parts(rows: &[&MayDiffer], field: &Field<'_>, seen: &[u8], differences: &mut Vec<Difference>) {
    if field.bytes == seen {
        return;
    }
    if field.bytes.len() != seen.len() {
        if !rows.iter().any(|row| row.allows(field.moment, field.name, "")) {
            differences.push(Difference {
                place: place(field, ""),
                expected: format!("{} bytes", field.bytes.len()),
                seen: format!("{} bytes", seen.len()),
                function: may_differ::function(field.name),
            });
        }
        return;
    }
    let layout = arch::layout(field.name);
    let mut at = 0;
    let mut look = |name: &str, start: usize, length: usize| {
        let end = (start + length).min(seen.len());
        let (expected, got) = (&field.bytes[start.min(end)..end], &seen[start.min(end)..end]);
        if expected == got || rows.iter().any(|row| row.allows(field.moment, field.name, name)) {
            return;
        }
        // From the first byte that differs to the last.
        let first = expected.iter().zip(got).position(|(a, b)| a != b).unwrap_or(0);
        let last = expected.iter().zip(got).rposition(|(a, b)| a != b).unwrap_or(0);
        let name = if name.is_empty() || first > 0 {
            format!("{name}+{first:#x}")
        } else {
            name.to_owned()
        };
        differences.push(Difference {
            place: place(field, &name),
            expected: hex(&expected[first..=last]),
            seen: hex(&got[first..=last]),
            function: may_differ::function(field.name),
        });
    };
    for Part(name, length) in layout {
        look(name, at, *length);
        at += length;
    }
    look("", at, seen.len().saturating_sub(at));
}

fn place(field: &Field<'_>, part: &str) -> String {
    let Moment { scene, step, count } = field.moment;
    let mut place = format!("{scene}: {step} {count}: {}", field.name);
    if !part.is_empty() {
        let _ = write!(place, ".{part}");
    }
    place
}

fn hex(bytes: &[u8]) -> String {
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
    for byte in &bytes[..bytes.len().min(SHOWN)] {
        let _ = write!(text, "{byte:02x}");
    }
    if bytes.len() > SHOWN {
        let _ = write!(text, "... ({} bytes)", bytes.len());
    }
    text
}

/// A failure that names the first differences, or none.
fn tell(differences: &[Difference]) -> Check {
    let list = |value: fn(&Difference) -> String| {
        let named: Vec<_> =
            differences.iter().take(NAMED).map(|d| format!("{} = {}", d.place, value(d))).collect();
        named.join("; ")
    };
    if differences.is_empty() {
        return Ok(());
    }
    let more = differences.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} differences more") } else { String::new() };
    let seen = list(|d| format!("{} [{}]", d.seen, d.function));
    Err(mismatch(list(|d| d.expected.clone()), seen + &more))
}
