// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Costs and comparisons as JSON for scripts.

use super::Costs;
use super::comparison::Comparison;
use crate::form::Form;
use crate::forms::json::to_json;
use serde::Serialize;

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Costs> = Form {
    name: "json",
    about: "All that is known",
    file_name: "costs.json",
    render: |costs, _| to_json(&Document { schema: SCHEMA, content: costs }),
};

/// The row of this form in the list of forms of a comparison.
pub(crate) const COMPARISON_FORM: Form<Comparison> = Form {
    name: "json",
    about: "All that is known",
    file_name: "comparison.json",
    render: |comparison, _| to_json(&Document { schema: SCHEMA, content: comparison }),
};

/// Version of the schemas. It is raised if a field is removed or changes its meaning, not if one is added.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Document<'a, T> {
    schema: u32,
    #[serde(flatten)]
    content: &'a T,
}
