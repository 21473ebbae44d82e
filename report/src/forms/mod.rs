// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The forms of the report on one kernel. Each form has a file and a row in the list of forms.

pub(crate) mod annotations;
mod html;
pub(crate) mod json;
pub(crate) mod junit;
pub(crate) mod kcidb;
mod ktap;
pub(crate) mod table;

use crate::form::{Form, Report};
use crate::verdict::Verdict;

impl Report for Verdict {
    const FORMS: &'static [Form<Verdict>] =
        &[table::FORM, ktap::FORM, html::FORM, junit::FORM, json::FORM, kcidb::FORM];
}
