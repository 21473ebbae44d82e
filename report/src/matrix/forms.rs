// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The list of forms of a matrix.

use super::{Matrix, html, json, table};
use crate::form::{Form, Report};
use crate::forms::{annotations, junit, kcidb};

impl Report for Matrix {
    const FORMS: &'static [Form<Matrix>] = &[
        table::FORM,
        html::FORM,
        json::FORM,
        junit::MATRIX_FORM,
        kcidb::MATRIX_FORM,
        annotations::MATRIX_FORM,
    ];
}
