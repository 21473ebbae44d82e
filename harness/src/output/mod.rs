// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The output of a run: the report on stdout, progress on stderr, files in the folder of the run.
//!
//! Only this module and `session/program.rs`, which forwards the output of the user's program, write to stdout
//! and stderr: clippy refuses it elsewhere (clippy.toml).

pub(crate) mod archive;
pub(crate) mod folder;
pub(crate) mod progress;
pub(crate) mod reports;
pub(crate) mod rerun;

use crate::failure::Failure;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use sudbox_report::{Printable, Screen};

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

/// The properties of stdout, a terminal or a file.
fn plain_screen() -> Screen {
    if !stdout().is_terminal() {
        return Screen::FILE;
    }
    let width = console::Term::stdout().size_checked().map_or(100, |(_, columns)| columns.into());
    Screen::terminal(width, allows_colours())
}

/// Whether a terminal may have colours, by the variable `NO_COLOR` (no-color.org).
fn allows_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[expect(clippy::disallowed_methods, reason = "what is written to it is Printable")]
fn stdout() -> io::Stdout {
    io::stdout()
}

#[expect(clippy::disallowed_methods, reason = "what is written to it is Printable")]
fn stderr() -> io::Stderr {
    io::stderr()
}

/// Writes the lines of a message, escaped, to stderr. A closed stderr is ignored.
pub(crate) fn stderr_line(message: &str) {
    let _ = write(stderr(), &Printable::message(message));
}

/// Writes the lines of a guest's console, escaped, to stderr. Colours and tabs stay on a terminal. A closed
/// stderr is ignored.
pub(crate) fn console_lines(text: &str) {
    let keeps_colours = stderr_is_terminal() && allows_colours();
    let _ = write(stderr(), &Printable::console(text, keeps_colours));
}

/// Writes a question to stderr, without a line end after its last line.
pub(crate) fn ask(question: &str) -> io::Result<()> {
    let question = Printable::message(question);
    let mut stderr = stderr();
    stderr.write_all(question.trim_end_matches('\n').as_bytes())?;
    stderr.write_all(b" ")
}

/// Whether stderr is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    stderr().is_terminal()
}

/// A copy of the descriptor of stderr, for the output of a program that sudbox runs for the user.
pub(crate) fn stderr_descriptor() -> io::Result<OwnedFd> {
    stderr().as_fd().try_clone_to_owned()
}

/// Writes the report to stdout. A closed pipe is not an error.
pub(crate) fn print(report: &Printable) -> anyhow::Result<()> {
    write_stdout(report)
        .map_err(|error| Failure::machine(format!("cannot write the report: {error}")))
}

/// Writes a message of clap: an error to stderr, a help or version to stdout.
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn print_clap_message(message: &clap::Error) -> anyhow::Result<()> {
    let is_error = message.use_stderr();
    let is_terminal = if is_error { stderr_is_terminal() } else { stdout().is_terminal() };
    let text = message.render();
    let text = if is_terminal && allows_colours() {
        Printable::coloured(&text.ansi().to_string())
    } else {
        Printable::message(&text.to_string())
    };
    if is_error {
        let _ = write(stderr(), &text);
        return Ok(());
    }
    write_stdout(&text)
        .map_err(|error| Failure::machine(format!("the help cannot be written: {error}")))
}

/// Writes to stdout. A closed pipe is not an error.
fn write_stdout(text: &Printable) -> io::Result<()> {
    match write(stdout().lock(), text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn write(mut stream: impl Write, text: &Printable) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}
