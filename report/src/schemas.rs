// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checks that the published schemas of the JSON forms, `schemas/*.json`, match the serialised types.

use crate::bisection::Bisection;
use crate::campaign::Campaign;
use crate::case_list::{CaseList, ListedCase};
use crate::costs::Costs;
use crate::costs::comparison::Comparison;
use crate::costs::json::Document as CostsDocument;
use crate::diff::Diff;
use crate::forms::json::Document;
use crate::history::History;
use crate::kernels::KernelList;
use crate::machine::MachineReport;
use crate::matrix::Matrix;
use crate::matrix::json::Document as MatrixDocument;
use crate::program::ProgramReport;
use crate::pruned::{PrunedKernels, PrunedRuns};
use crate::runs::RunList;
use crate::selftests::SelftestReport;
use crate::{Report, Screen, Verdict};
use schemars::schema_for;
use serde_json::Value;
use std::path::Path;

/// Checks that the published schema equals `schema`, and returns it. With `SUDBOX_WRITE_SCHEMAS=1`,
/// publishes `schema` first.
fn published(name: &str, schema: &schemars::Schema) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{name}.json"));
    let text = serde_json::to_string_pretty(schema).unwrap() + "\n";
    if std::env::var_os("SUDBOX_WRITE_SCHEMAS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let published = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(published == text, "{} is outdated: SUDBOX_WRITE_SCHEMAS=1 writes it", file.display());
    serde_json::from_str(&text).unwrap()
}

/// Checks the fields of the JSON form of `subject`.
fn check_fields<T: Report>(schema: &Value, subject: &T) {
    let form = T::form("json").expect("a form for scripts");
    check_document(schema, &(form.render)(subject, Screen::FILE));
}

/// Checks that a document has all required fields of its schema and no unknown ones.
fn check_document(schema: &Value, document: &str) {
    let document: Value = serde_json::from_str(document).unwrap();
    let fields = document.as_object().unwrap();
    let properties = schema["properties"].as_object().unwrap();
    for field in fields.keys() {
        assert!(properties.contains_key(field), "{field} is not in the schema");
    }
    for field in schema["required"].as_array().unwrap() {
        assert!(fields.contains_key(field.as_str().unwrap()), "{field} is required");
    }
}

#[test]
fn the_published_schemas_are_those_of_the_reports() {
    let schema = published("run", &schema_for!(Document<'_>));
    check_fields(&schema, &Verdict::default());
    let plan = crate::matrix::Plan {
        sudbox_version: String::new(),
        command: String::new(),
        strict: false,
        boot_selected: false,
        cells: Vec::new(),
    };
    let schema = published("matrix", &schema_for!(MatrixDocument<'_>));
    check_fields(&schema, &Matrix { plan, shards: None, results: Vec::new() });
    let _ = published("bench", &schema_for!(CostsDocument<'_, Costs>));
    let _ = published("bench-compare", &schema_for!(CostsDocument<'_, Comparison>));
    check_fields(&published("campaign", &schema_for!(Campaign)), &Campaign::default());
    check_fields(&published("diff", &schema_for!(Diff)), &Diff::default());
    check_fields(&published("kernels", &schema_for!(KernelList)), &KernelList::default());
    check_fields(&published("doctor", &schema_for!(MachineReport)), &MachineReport::default());
    check_fields(&published("bisect", &schema_for!(Bisection)), &Bisection::default());
    check_fields(&published("report-list", &schema_for!(RunList)), &RunList::from_runs(Vec::new()));
    let schema = published("exec", &schema_for!(ProgramReport));
    check_document(&schema, &ProgramReport::default().to_json());
    let schema = published("kselftest", &schema_for!(SelftestReport));
    check_document(&schema, &SelftestReport::default().to_json());
    let schema = published("run-list", &schema_for!(CaseList));
    check_fields(&schema, &CaseList { cases: vec![ListedCase::default()], ..CaseList::default() });
    let schema = published("kernels-prune", &schema_for!(PrunedKernels));
    check_fields(&schema, &PrunedKernels::default());
    let schema = published("report-prune", &schema_for!(PrunedRuns));
    check_fields(&schema, &PrunedRuns::default());
    let schema = published("report-history", &schema_for!(History));
    check_fields(&schema, &History::from_entries(&[], |_| true));
}
