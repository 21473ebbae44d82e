// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The output of a run: the report on stdout, progress on stderr, files in the folder of the run.

pub(crate) mod archive;
pub(crate) mod folder;
pub(crate) mod progress;
pub(crate) mod reports;
pub(crate) mod rerun;

use crate::failure::Failure;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use sudbox_report::Screen;

/// Whether `--quiet` was given: no progress is printed.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Whether `--verbose` was given.
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Sets the options `--quiet` and `--verbose`, for the whole process.
pub(crate) fn set_verbosity(quiet: bool, verbose: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
    VERBOSE.store(verbose, Ordering::Relaxed);
}

/// The properties of stdout for which reports are laid out, with the setting of `--verbose`.
pub(crate) fn screen() -> Screen {
    let screen = plain_screen();
    if VERBOSE.load(Ordering::Relaxed) { screen.with_verbose() } else { screen }
}

/// The properties of stdout, a terminal or a file. Colour needs a terminal without `NO_COLOR`
/// (no-color.org).
fn plain_screen() -> Screen {
    if !std::io::stdout().is_terminal() {
        return Screen::FILE;
    }
    let width = console::Term::stdout().size_checked().map_or(100, |(_, columns)| columns.into());
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Screen::terminal(width, colour)
}

/// Writes a line to stderr. A closed stderr is ignored.
pub(crate) fn stderr_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes the report to stdout. A closed pipe is not an error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::machine(format!("cannot write the report: {error}")))
        }
        _ => Ok(()),
    }
}
