// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lays out reports as lines of text for a terminal or a file.

use crate::text::{self, Printable};

/// Column at which the value of a labelled line starts.
pub(crate) const VALUE_COLUMN: usize = 12;
/// Maximum number of lines of one labelled value.
const MAX_VALUE_LINES: usize = 16;

/// Properties of the terminal or file for which a report is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    colour: bool,
    width: usize,
    verbose: bool,
    is_terminal: bool,
}

impl Screen {
    /// A file or pipe: 100 columns, no colour.
    pub const FILE: Screen =
        Screen { colour: false, width: 100, verbose: false, is_terminal: false };

    /// A terminal of `width` columns, but at least 40 and at most 200. `colour` tells whether to use colours.
    #[must_use]
    pub fn terminal(width: usize, colour: bool) -> Screen {
        Screen { colour, width: width.clamp(40, 200), verbose: false, is_terminal: true }
    }

    /// The same screen for a verbose report.
    #[must_use]
    pub fn with_verbose(self) -> Screen {
        Screen { verbose: true, ..self }
    }

    /// The width in columns.
    #[must_use]
    pub fn width(self) -> usize {
        self.width
    }

    /// Whether the screen is a terminal, not a file or pipe.
    pub(crate) fn is_terminal(self) -> bool {
        self.is_terminal
    }
}

/// Colours and bold type, by their SGR codes (ECMA-48, section 8.3.117).
#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Bold = 1,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// Builds a report as lines of text.
pub(crate) struct ReportWriter {
    out: Printable,
    screen: Screen,
}

impl ReportWriter {
    pub(crate) fn new(screen: Screen) -> ReportWriter {
        ReportWriter { out: Printable::default(), screen }
    }

    pub(crate) fn width(&self) -> usize {
        self.screen.width
    }

    pub(crate) fn is_verbose(&self) -> bool {
        self.screen.verbose
    }

    pub(crate) fn finish(self) -> Printable {
        self.out
    }

    /// Adds a line without its trailing spaces. Escapes what is neither printable nor a colour.
    pub(crate) fn write_line(&mut self, line: &str) {
        self.out.push_line(line, self.screen.colour);
    }

    pub(crate) fn write_empty_line(&mut self) {
        self.write_line("");
    }

    /// Adds wrapped text, which the caller has escaped. `first` precedes the first line, `others` every
    /// other line. `first` may contain colour codes, and is at most as wide as `others`.
    pub(crate) fn write_wrapped(&mut self, first: &str, others: &str, text: &str) {
        self.write_wrapped_in(None, first, others, text);
    }

    /// Like [`ReportWriter::write_wrapped`], in a colour.
    pub(crate) fn write_wrapped_in(
        &mut self,
        colour: Option<Colour>,
        first: &str,
        others: &str,
        text: &str,
    ) {
        let indent = text::width_in_columns(others);
        for (index, piece) in text::wrapped(text, self.width() - indent).into_iter().enumerate() {
            let piece = colour.map_or_else(|| piece.clone(), |colour| self.paint(colour, &piece));
            self.write_line(&format!("{}{piece}", if index == 0 { first } else { others }));
        }
    }

    /// Adds a label and its value. Adds nothing if the value is empty.
    pub(crate) fn write_labelled(&mut self, label: &str, value: &str) {
        let width = self.width() - VALUE_COLUMN;
        let pieces: Vec<String> =
            text::escaped_lines(value).iter().flat_map(|line| text::wrapped(line, width)).collect();
        for (index, piece) in pieces.iter().take(MAX_VALUE_LINES).enumerate() {
            self.write_line(&format!("{}{piece}", label_field(label, index)));
        }
        self.write_omission_note(pieces.len().saturating_sub(MAX_VALUE_LINES));
    }

    /// Adds a label and a shell command.
    pub(crate) fn write_command(&mut self, label: &str, command: &str) {
        let lines =
            text::wrapped_command(&text::escaped_line(command), self.width() - VALUE_COLUMN);
        for (index, line) in lines.iter().enumerate() {
            self.write_line(&format!("{}{line}", label_field(label, index)));
        }
    }

    /// Adds a label and lines of a log, each cut to the width of the screen. `left_out` is the number of
    /// lines that the caller left out.
    pub(crate) fn write_excerpt<'a>(
        &mut self,
        label: &str,
        lines: impl Iterator<Item = &'a str>,
        left_out: usize,
    ) {
        let width = self.width() - VALUE_COLUMN - 2;
        for (index, line) in lines.enumerate() {
            self.write_line(&format!(
                "{}| {}",
                label_field(label, index),
                text::truncated(line, width)
            ));
        }
        self.write_omission_note(left_out);
    }

    fn write_omission_note(&mut self, lines: usize) {
        if lines > 0 {
            self.write_line(&format!("{:<VALUE_COLUMN$}({lines} lines left out)", ""));
        }
    }

    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        match self.screen.colour {
            true => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
            false => text.to_owned(),
        }
    }
}

/// The field before a line of a value: the label before line 0, spaces before any other line.
fn label_field(label: &str, line_index: usize) -> String {
    let label = if line_index == 0 { format!("  {label}") } else { String::new() };
    format!("{label:<VALUE_COLUMN$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_escaped_and_have_colours_on_a_terminal_only() {
        for (screen, expected) in [
            (Screen::FILE, "\\u{1b}[31ma\\u{1b}[0m\\u{1b}[2J\n  \\u{3a}:error::b\n"),
            (Screen::terminal(80, true), "\x1b[31ma\x1b[0m\\u{1b}[2J\n  \\u{3a}:error::b\n"),
        ] {
            let mut writer = ReportWriter::new(screen);
            writer.write_line("\x1b[31ma\x1b[0m\x1b[2J");
            writer.write_wrapped("  ", "  ", "::error::b");
            assert_eq!(&*writer.finish(), expected);
        }
    }
}
