// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The value parser of `--format`.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use sudbox_report::{Form, Report};

/// A parser for the names of the forms of `T`.
pub(crate) fn form_of<T: Report>() -> impl TypedValueParser<Value = &'static Form<T>> {
    let names = T::FORMS.iter().map(|form| PossibleValue::new(form.name).help(form.about));
    PossibleValuesParser::new(names)
        .map(|name| T::form(&name).expect("only names of forms are possible"))
}
