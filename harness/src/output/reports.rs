// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Prints reports, and writes all their forms into the folder of the run.

use super::folder::RunFolder;
use super::progress::Progress;
use sudbox_report::runs::{SUMMARY_FILE, Summarised};
use sudbox_report::{Form, Report, Screen};

/// Prints `subject` in one form, then writes every form into the folder. A form that cannot be
/// written only causes a note on stderr.
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn print_and_write<T: Report + Summarised>(
    subject: &T,
    form: &Form<T>,
    folder: &RunFolder,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let screen = super::screen();
    let text = (form.render)(subject, screen);
    let print_result = super::print(&text);
    if let Err(error) = write_forms_and_summary(subject, form, &text, screen, folder) {
        progress.print("note", &format!("{error:#}"));
    }
    progress.print("report", &folder.path().display().to_string());
    print_result
}

/// Writes every form and the summary. `printed_text` is the text of `form` for `screen`.
fn write_forms_and_summary<T: Report + Summarised>(
    subject: &T,
    form: &Form<T>,
    printed_text: &str,
    screen: Screen,
    folder: &RunFolder,
) -> anyhow::Result<()> {
    for other in T::FORMS {
        if other.name == form.name && screen == Screen::FILE {
            folder.write(other.file_name, printed_text)?;
        } else {
            folder.write(other.file_name, (other.render)(subject, Screen::FILE))?;
        }
    }
    folder.write(SUMMARY_FILE, serde_json::to_vec(&subject.summary())?)?;
    Ok(())
}

/// Writes every form of `subject` into the folder.
///
/// # Errors
/// If the folder cannot be written.
pub(crate) fn write_forms<T: Report>(subject: &T, folder: &RunFolder) -> anyhow::Result<()> {
    for form in T::FORMS {
        folder.write(form.file_name, (form.render)(subject, Screen::FILE))?;
    }
    Ok(())
}
