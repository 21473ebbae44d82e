// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Lays out reports in lines of text, for a terminal or a file.

use crate::text;
use std::fmt::Write as _;

/// Column at which the value of a labelled line starts.
pub(crate) const INDENT: usize = 12;
/// Most lines that are shown of one labelled value.
const VALUE_LINES: usize = 16;

/// The screen or file that a report is laid out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    colour: bool,
    width: usize,
    verbose: bool,
}

impl Screen {
    /// A file or pipe: 100 columns, no colour.
    pub const FILE: Screen = Screen { colour: false, width: 100, verbose: false };

    /// A terminal of `width` columns, of which 40 to 200 are used. Whether colour may be used is for
    /// the caller to find out (`NO_COLOR`).
    #[must_use]
    pub fn terminal(width: usize, colour: bool) -> Screen {
        Screen { colour, width: width.clamp(40, 200), verbose: false }
    }

    /// The same for a reader who asked for more than the usual.
    #[must_use]
    pub fn verbose(self) -> Screen {
        Screen { verbose: true, ..self }
    }

    /// Columns.
    #[must_use]
    pub fn width(self) -> usize {
        self.width
    }
}

/// Colours and weights of an ANSI terminal, by their SGR codes.
#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Bold = 1,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// A report in lines of text, as it grows.
pub(crate) struct Sheet {
    out: String,
    screen: Screen,
}

impl Sheet {
    pub(crate) fn new(screen: Screen) -> Sheet {
        Sheet { out: String::new(), screen }
    }

    pub(crate) fn width(&self) -> usize {
        self.screen.width
    }

    pub(crate) fn is_verbose(&self) -> bool {
        self.screen.verbose
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// Adds a line as it is.
    pub(crate) fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    pub(crate) fn empty_line(&mut self) {
        self.out.push('\n');
    }

    /// Adds escaped text, wrapped: `first` stands before its first line, `others` before the rest.
    /// `others` is at least as wide as `first`, which may be painted.
    pub(crate) fn wrapped(&mut self, first: &str, others: &str, text: &str) {
        self.wrapped_in(None, first, others, text);
    }

    /// As [`Sheet::wrapped`], in a colour.
    pub(crate) fn wrapped_in(
        &mut self,
        colour: Option<Colour>,
        first: &str,
        others: &str,
        text: &str,
    ) {
        let indent = text::columns(others);
        for (i, piece) in text::wrap(text, self.width() - indent).into_iter().enumerate() {
            let piece = colour.map_or_else(|| piece.clone(), |colour| self.paint(colour, &piece));
            self.line(&format!("{}{piece}", if i == 0 { first } else { others }));
        }
    }

    /// Adds a label and its value, or nothing if the value is empty.
    pub(crate) fn labelled(&mut self, label: &str, value: &str) {
        let width = self.width() - INDENT;
        let pieces: Vec<String> =
            text::lines(value).iter().flat_map(|l| text::wrap(l, width)).collect();
        for (i, piece) in pieces.iter().take(VALUE_LINES).enumerate() {
            self.line(&format!("{}{piece}", label_of(label, i)));
        }
        self.left_out(pieces.len().saturating_sub(VALUE_LINES));
    }

    /// Adds a label and a shell command.
    pub(crate) fn command(&mut self, label: &str, command: &str) {
        let lines = text::wrap_command(&text::line(command), self.width() - INDENT);
        for (i, line) in lines.iter().enumerate() {
            self.line(&format!("{}{line}", label_of(label, i)));
        }
    }

    /// Adds a label and lines of a log, each cut to the width.
    pub(crate) fn excerpt<'a>(
        &mut self,
        label: &str,
        lines: impl Iterator<Item = &'a str>,
        left_out: usize,
    ) {
        let width = self.width() - INDENT - 2;
        for (i, line) in lines.enumerate() {
            self.line(&format!("{}| {}", label_of(label, i), text::cut(line, width)));
        }
        self.left_out(left_out);
    }

    fn left_out(&mut self, lines: usize) {
        if lines > 0 {
            let _ = writeln!(self.out, "{:<INDENT$}({lines} lines left out)", "");
        }
    }

    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        match self.screen.colour {
            true => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
            false => text.to_owned(),
        }
    }
}

/// The label of a value's first line, or the space below it.
fn label_of(label: &str, line: usize) -> String {
    let label = if line == 0 { format!("  {label}") } else { String::new() };
    format!("{label:<INDENT$}")
}
