// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The form for scripts: the whole verdict as JSON with a versioned schema.

use serde::Serialize;

use crate::case_measurement::CaseMeasurement;
use crate::form::Form;
use crate::judgement::Judgement;
use crate::status_map;
use crate::text::Printable;
use crate::{CaseReport, Coverage, Kernel, Outcome, RecordingComparison, Verdict};

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Verdict> = Form {
    name: "json",
    about: "All that is known",
    file_name: "report.json",
    render: |verdict, _| to_json(&Document::from_verdict(verdict)),
};

/// Version of the schema. It is raised if a field is removed or changes its meaning, not if one is added.
const SCHEMA: u32 = 1;

/// The JSON document, which can be deserialised as a [`Verdict`].
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Document<'a> {
    schema: u32,
    sudbox: &'a str,
    date: &'a str,
    judgement: &'static str,
    exit_code: u8,
    /// The reason why the kernel was not judged, if it was not.
    reason: Option<String>,
    kernel: &'a Kernel,
    machine: &'a str,
    image: &'a str,
    options: &'a str,
    guest: &'a [String],
    strict: bool,
    boot_selected: bool,
    not_selected: usize,
    unjudged: &'a Option<String>,
    coverage: Coverage,
    totals: std::collections::BTreeMap<&'static str, usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: &'a Option<RecordingComparison>,
    boots: u32,
    restored: u32,
    millis: u64,
    cases: Vec<Case<'a>>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    measured: &'a [CaseMeasurement],
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Case<'a> {
    #[serde(flatten)]
    case: &'a CaseReport,
    /// KCIDB's status of the test.
    kcidb: &'static str,
}

impl<'a> Document<'a> {
    pub(crate) fn from_verdict(verdict: &'a Verdict) -> Document<'a> {
        // The pattern names every field, so that the compiler reports a new field that is missing here.
        let Verdict {
            sudbox_version: sudbox,
            start_time: date,
            kernel,
            machine,
            image_id: image,
            options,
            guest_facts: guest,
            strict,
            boot_selected,
            not_selected,
            unjudged_reason: unjudged,
            cases,
            measurements: measured,
            comparison: recording,
            boots,
            restored,
            duration_millis: millis,
        } = verdict;
        let judgement = Judgement::from_verdict(verdict);
        let totals = verdict.totals();
        let with_status =
            |case| Case { case, kcidb: status_map::status_of_case(case, verdict).kcidb };
        Document {
            schema: SCHEMA,
            sudbox,
            date,
            judgement: judgement.as_str(),
            exit_code: judgement.exit_code(),
            reason: judgement.reason().map(str::to_owned),
            kernel,
            machine,
            image,
            options,
            guest,
            strict: *strict,
            boot_selected: *boot_selected,
            not_selected: *not_selected,
            unjudged,
            coverage: verdict.coverage(),
            totals: Outcome::ALL
                .into_iter()
                .map(|outcome| (outcome.as_str(), totals.count_of(outcome)))
                .collect(),
            recording,
            boots: *boots,
            restored: *restored,
            millis: *millis,
            cases: cases.iter().map(with_status).collect(),
            measured,
        }
    }
}

/// Serialises a document as indented JSON and a line end.
///
/// # Panics
/// If the document has maps with keys that are not strings.
#[must_use]
pub fn to_json(document: &impl Serialize) -> Printable {
    let json = serde_json::to_string_pretty(document).expect("strings and numbers only");
    Printable::document(&(escape_json(&json) + "\n"))
}

/// Escapes what is not safe to print in JSON and what serde_json does not escape: DEL, non-ASCII characters
/// and `##`, which begins a command of a CI service. Valid JSON has them only in strings.
pub(crate) fn escape_json(json: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        let begins_command = c == '#' && out.ends_with('#');
        if c.is_ascii() && c != '\x7f' && !begins_command {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}
