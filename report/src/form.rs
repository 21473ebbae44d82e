// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The forms in which a report can be written.

use crate::terminal::Screen;
use crate::text::Printable;

/// A form of the report on a `T`: a file of this crate and a row of [`Report::FORMS`].
pub struct Form<T: 'static> {
    /// Name on the command line (`--format`).
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// Name of the file with this form in the report folder of a run.
    pub file_name: &'static str,
    /// Renders the report. Only forms for people depend on the screen.
    pub render: fn(&T, Screen) -> Printable,
}

impl<T> std::fmt::Debug for Form<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A result that can be rendered in several forms.
pub trait Report: Sized + 'static {
    /// The list of forms. The first one, for people, is the default.
    const FORMS: &'static [Form<Self>];

    /// The form with this name.
    #[must_use]
    fn form(name: &str) -> Option<&'static Form<Self>> {
        Self::FORMS.iter().find(|form| form.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::Campaign;
    use crate::costs::Costs;
    use crate::costs::comparison::Comparison;
    use crate::diff::Diff;
    use crate::matrix::Matrix;
    use crate::verdict::Verdict;
    use std::collections::BTreeSet;

    fn names_are_distinct<T: Report>() {
        let names: BTreeSet<&str> = T::FORMS.iter().map(|form| form.name).collect();
        let files: BTreeSet<&str> = T::FORMS.iter().map(|form| form.file_name).collect();
        assert_eq!((names.len(), files.len()), (T::FORMS.len(), T::FORMS.len()));
        assert_eq!(T::FORMS[0].name, "table");
    }

    #[test]
    fn forms_have_distinct_names_and_file_names() {
        names_are_distinct::<Verdict>();
        names_are_distinct::<Matrix>();
        names_are_distinct::<Costs>();
        names_are_distinct::<Comparison>();
        names_are_distinct::<Diff>();
        names_are_distinct::<Campaign>();
    }
}
