//! Costs for scripts.

use super::Costs;
use super::comparison::Comparison;
use crate::json::pretty;
use serde::Serialize;

/// Version of the documents' schema: raised when a field goes or changes its meaning, not when one is
/// added.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<'a, T> {
    schema: u32,
    #[serde(flatten)]
    content: &'a T,
}

/// The costs as one JSON object and a line end, of ASCII alone.
#[must_use]
pub fn render(costs: &Costs) -> String {
    pretty(&Document { schema: SCHEMA, content: costs })
}

/// A comparison as one JSON object and a line end, of ASCII alone.
#[must_use]
pub fn render_comparison(comparison: &Comparison) -> String {
    pretty(&Document { schema: SCHEMA, content: comparison })
}
