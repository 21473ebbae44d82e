// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The lists of forms of costs and of a comparison of costs.

use super::comparison::Comparison;
use super::{Costs, comparison_table, json, page, table};
use crate::form::{Form, Report};

impl Report for Costs {
    const FORMS: &'static [Form<Costs>] = &[table::FORM, json::FORM, page::FORM];
}

impl Report for Comparison {
    const FORMS: &'static [Form<Comparison>] = &[comparison_table::FORM, json::COMPARISON_FORM];
}
