//! The form for scripts: everything that was found out, under a version.

use serde::Serialize;

use crate::costs::Measured;
use crate::judgement::Judgement;
use crate::words;
use crate::{CaseReport, Kernel, Options, Outcome, Verdict};

/// Version of the document's schema: raised when a field goes or changes its meaning, not when
/// one is added.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
pub(crate) struct Document<'a> {
    schema: u32,
    sudbox: &'a str,
    judgement: &'static str,
    exit_code: u8,
    /// Why it was not judged, if it was not.
    reason: Option<String>,
    kernel: &'a Kernel,
    machine: &'a str,
    guest: &'a [String],
    unjudged: &'a Option<String>,
    totals: std::collections::BTreeMap<&'static str, usize>,
    boots: u32,
    restored: u32,
    millis: u64,
    cases: Vec<Case<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    measured: &'a [Measured],
}

#[derive(Serialize)]
struct Case<'a> {
    #[serde(flatten)]
    case: &'a CaseReport,
    /// Status of the test in KCIDB's words.
    kcidb: &'static str,
}

/// The verdict as one JSON object and a line end. It can be read back as a [`Verdict`].
///
/// All that a guest said is in it unshortened, and yet it is safe to print: it is ASCII without
/// control characters, all others being escaped as JSON has it (`\u001b`).
///
/// # Panics
/// Never: nothing in a verdict is without a form in JSON.
#[must_use]
pub fn render(verdict: &Verdict, options: Options) -> String {
    pretty(&document(verdict, options))
}

/// A document as a JSON object of safe ASCII and a line end.
pub(crate) fn pretty(document: &impl Serialize) -> String {
    ascii(&serde_json::to_string_pretty(document).expect("strings and numbers only")) + "\n"
}

pub(crate) fn document(verdict: &Verdict, options: Options) -> Document<'_> {
    // Taken apart, so that a field that is added cannot be forgotten here.
    let Verdict {
        sudbox,
        kernel,
        machine,
        guest,
        unjudged,
        cases,
        measured,
        boots,
        restored,
        millis,
    } = verdict;
    let judgement = Judgement::of(verdict, options.strict, options.boot_selected);
    let totals = verdict.totals();
    Document {
        schema: SCHEMA,
        sudbox,
        judgement: judgement.as_str(),
        exit_code: judgement.exit_code(),
        reason: match &judgement {
            Judgement::NotJudged(reason) => Some(reason.clone()),
            _ => None,
        },
        kernel,
        machine,
        guest,
        unjudged,
        totals: Outcome::ALL.into_iter().map(|o| (o.as_str(), totals.of(o))).collect(),
        boots: *boots,
        restored: *restored,
        millis: *millis,
        cases: cases
            .iter()
            .map(|case| Case { case, kcidb: words::of_case(case, options).kcidb })
            .collect(),
        measured,
    }
}

/// Escapes what serde_json leaves as it is: beyond ASCII, and DEL. Such characters stand only
/// inside of strings, where an escape means the same.
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
