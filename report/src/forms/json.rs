// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The form for scripts: all that is known, under a schema with a version.

use serde::Serialize;

use crate::costs::Measured;
use crate::form::Form;
use crate::judgement::Judgement;
use crate::status_map;
use crate::{CaseReport, Coverage, Kernel, Outcome, Verdict};

/// The row of this form.
pub(crate) const FORM: Form<Verdict> = Form {
    name: "json",
    about: "All that is known",
    file_name: "report.json",
    render: |verdict, _| pretty(&Document::of(verdict)),
};

/// Version of the schema. It is raised when a field is removed or changes its meaning, not when one is
/// added.
const SCHEMA: u32 = 1;

/// The document. It can be read back as a [`Verdict`].
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Document<'a> {
    schema: u32,
    sudbox: &'a str,
    date: &'a str,
    judgement: &'static str,
    exit_code: u8,
    /// Why the kernel was not judged, if it was not.
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
    boots: u32,
    restored: u32,
    millis: u64,
    cases: Vec<Case<'a>>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    measured: &'a [Measured],
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
    pub(crate) fn of(verdict: &'a Verdict) -> Document<'a> {
        // Without `..`, so that a new field cannot be forgotten here.
        let Verdict {
            sudbox,
            date,
            kernel,
            machine,
            image,
            options,
            guest,
            strict,
            boot_selected,
            not_selected,
            unjudged,
            cases,
            measured,
            boots,
            restored,
            millis,
        } = verdict;
        let judgement = Judgement::of(verdict);
        let totals = verdict.totals();
        let with_status = |case| Case { case, kcidb: status_map::of_case(case, verdict).kcidb };
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
            totals: Outcome::ALL.into_iter().map(|o| (o.as_str(), totals.of(o))).collect(),
            boots: *boots,
            restored: *restored,
            millis: *millis,
            cases: cases.iter().map(with_status).collect(),
            measured,
        }
    }
}

/// A document as a JSON object and a line end.
///
/// The text is ASCII without control characters: all others are escaped (`\u001b`). So it is safe to
/// print, though it holds all that a guest said.
pub(crate) fn pretty(document: &impl Serialize) -> String {
    ascii(&serde_json::to_string_pretty(document).expect("strings and numbers only")) + "\n"
}

/// Escapes the characters that serde_json does not: DEL, and those beyond ASCII. They occur only in
/// strings, where an escape means the same.
pub(crate) fn ascii(json: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\x7f' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}
