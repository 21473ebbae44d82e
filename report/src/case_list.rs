// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cases that a selection contains: `run --list`.

use serde::Serialize;
use std::fmt::Write as _;

use crate::form::{Form, Report};
use crate::forms::json::to_json;
use crate::terminal::Screen;
use crate::text::Printable;

/// The cases of a selection, in the order in which they run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CaseList {
    /// Version of the schema.
    pub schema: u32,
    /// The architecture for which the cases are listed.
    pub arch: String,
    /// The cases.
    pub cases: Vec<ListedCase>,
}

/// A case of a selection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListedCase {
    /// The id of the case.
    pub id: String,
    /// The promise of the kernel that the case checks.
    pub promise: String,
    /// The kernel function that keeps the promise.
    pub kernel_function: String,
    /// Whether the case is for kernels without dispatch.
    pub without_dispatch: bool,
    /// The reason why the case does not exist on the architecture, if it does not.
    pub exclusion_reason: Option<String>,
}

impl Report for CaseList {
    const FORMS: &'static [Form<CaseList>] = &[
        Form {
            name: "table",
            about: "For people",
            file_name: "cases.txt",
            render: |list, _| table(list),
        },
        Form {
            name: "json",
            about: "All that is known",
            file_name: "cases.json",
            render: |list, _: Screen| to_json(list),
        },
    ];
}

/// One line for each case with its promise, then the cases for kernels without dispatch, then the
/// cases that do not exist on the architecture with the reasons, and a count.
fn table(list: &CaseList) -> Printable {
    let mut text = String::new();
    let width = list.cases.iter().map(|case| case.id.len()).max().unwrap_or(0);
    let (excluded, included): (Vec<&ListedCase>, Vec<&ListedCase>) =
        list.cases.iter().partition(|case| case.exclusion_reason.is_some());
    let (without_dispatch, with_dispatch): (Vec<&ListedCase>, Vec<&ListedCase>) =
        included.into_iter().partition(|case| case.without_dispatch);
    let mut write_section = |heading: &str, cases: &[&ListedCase]| {
        if !heading.is_empty() && !cases.is_empty() {
            let _ = writeln!(text, "\n{heading}:");
        }
        for case in cases {
            let description = case.exclusion_reason.as_ref().unwrap_or(&case.promise);
            let _ = writeln!(text, "{:width$}  {description}", case.id);
        }
    };
    write_section("", &with_dispatch);
    write_section("on kernels without dispatch", &without_dispatch);
    write_section(&format!("not on {}", list.arch), &excluded);
    let _ = write!(text, "\n{} cases", with_dispatch.len());
    for (count, where_they_run) in [
        (without_dispatch.len(), "on kernels without dispatch"),
        (excluded.len(), "on other architectures"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} more {where_they_run}");
        }
    }
    Printable::message(&text)
}
