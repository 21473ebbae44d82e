// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Escapes and lays out text of strangers: of a guest, a tree, a patch, a package or a tool.
//!
//! Unescaped, such text could control a terminal (escape sequences, bidirectional controls), give commands to
//! a CI service that reads its log, break XML (characters that XML does not allow), forge a line of KTAP, or
//! fill the screen. [`escaped_line`] and [`escaped_lines`] return printable characters only. [`Printable`] is
//! what may be printed: its constructors escape.

use std::fmt::Write as _;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Maximum length of a line in characters. The part of a longer line after this length is replaced by its
/// length in bytes.
pub const MAX_LINE_CHARS: usize = 1000;

/// Maximum length of a line of a message in characters. A message may list all cases.
const MAX_MESSAGE_CHARS: usize = 20_000;

/// Text that is safe to print: lines of printable characters, of which only the text's own layout has colours.
///
/// Only this module can make one, so a function that takes a `Printable` cannot print unescaped text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printable(String);

impl Printable {
    /// The lines of a message, each escaped as by [`escaped_line`] and cut at 20,000 characters.
    #[must_use]
    pub fn message(text: &str) -> Printable {
        Printable::from_lines(text, Kept::Nothing, MAX_MESSAGE_CHARS)
    }

    /// The lines of a text that sudbox laid out in colours, such as its help.
    #[must_use]
    pub fn coloured(text: &str) -> Printable {
        Printable::from_lines(text, Kept::Colours, MAX_MESSAGE_CHARS)
    }

    /// The lines of a console, cut at [`MAX_LINE_CHARS`]. For a terminal (`keeps_colours`), tabs and colours
    /// stay, and a colour ends with its line.
    #[must_use]
    pub fn console(text: &str, keeps_colours: bool) -> Printable {
        let kept = if keeps_colours { Kept::ColoursAndTabs } else { Kept::Nothing };
        Printable::from_lines(text, kept, MAX_LINE_CHARS)
    }

    /// A document of a format that has commands of its own kind, such as XML or a shell script. The writer of
    /// the format has escaped the text in it; control and format characters other than line ends and tabs are
    /// escaped here in any case.
    #[must_use]
    pub fn document(text: &str) -> Printable {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '\n' | '\t' => out.push(c),
                c => push_escaped(&mut out, c),
            }
        }
        Printable(out)
    }

    /// Adds a line, which may have the colours of sudbox's own layout if `has_colours`.
    pub(crate) fn push_line(&mut self, line: &str, has_colours: bool) {
        let kept = if has_colours { Kept::Colours } else { Kept::Nothing };
        push_escaped_line(&mut self.0, line, kept, usize::MAX);
        self.0.push('\n');
    }

    fn from_lines(text: &str, kept: Kept, max_chars: usize) -> Printable {
        let mut out = String::with_capacity(text.len());
        for line in text.lines() {
            push_escaped_line(&mut out, line, kept, max_chars);
            out.push('\n');
        }
        Printable(out)
    }
}

impl std::ops::Deref for Printable {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Printable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<[u8]> for Printable {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Unprintable text that is not escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Nothing,
    Colours,
    ColoursAndTabs,
}

/// Escapes a text into one line: line ends and unprintable characters become Rust escapes (`\u{1b}`), tabs
/// become spaces, and the line is cut at [`MAX_LINE_CHARS`]. A character of what a CI service would take for a
/// command is escaped too.
#[must_use]
pub fn escaped_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_LINE_CHARS));
    push_escaped_line(&mut out, text, Kept::Nothing, MAX_LINE_CHARS);
    out
}

/// The lines of a text, each escaped by [`escaped_line`]. Removes carriage returns before line ends,
/// and empty lines at both ends.
#[must_use]
pub fn escaped_lines(text: &str) -> Vec<String> {
    text.trim_matches(['\r', '\n']).lines().map(escaped_line).collect()
}

/// Appends a line without its trailing spaces, escaped and cut at `max_chars`.
///
/// CI services take commands from lines of their log: GitHub from `::command::` after leading spaces and from
/// `##[command]` anywhere (`ActionCommand.cs` of actions/runner), Azure and TeamCity from `##word[command]`.
/// A `::` is escaped after any space, because the line may be wrapped there.
fn push_escaped_line(out: &mut String, text: &str, kept: Kept, max_chars: usize) {
    let start = out.len();
    let mut ends_coloured = false;
    let mut remaining = text.trim_end();
    for _ in 0..max_chars {
        if kept != Kept::Nothing
            && let Some(length) = colour_length(remaining)
        {
            let (colour, rest) = remaining.split_at(length);
            ends_coloured = !matches!(colour, "\x1b[m" | "\x1b[0m");
            out.push_str(colour);
            remaining = rest;
            continue;
        }
        let mut chars = remaining.chars();
        let Some(c) = chars.next() else { break };
        remaining = chars.as_str();
        let line = &out[start..];
        match c {
            '\t' if kept == Kept::ColoursAndTabs => out.push(c),
            ':' if remaining.starts_with(':')
                && (line.is_empty() || line.ends_with([' ', '\t'])) =>
            {
                out.extend(c.escape_unicode());
            }
            '[' if line.trim_end_matches(|c: char| c.is_ascii_alphabetic()).ends_with("##") => {
                out.extend(c.escape_unicode());
            }
            c => push_escaped(out, c),
        }
    }
    if !remaining.is_empty() {
        let _ = write!(out, "... ({} bytes more)", remaining.len());
    }
    if ends_coloured {
        out.push_str("\x1b[0m");
    }
}

/// The length in bytes of the colour sequence that the text begins with: SGR, ESC `[` parameters `m`
/// (ECMA-48, section 8.3.117).
fn colour_length(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let count = parameters.bytes().take_while(|b| b.is_ascii_digit() || *b == b';').count();
    (parameters.as_bytes().get(count) == Some(&b'm')).then_some("\x1b[m".len() + count)
}

/// Appends a character, escaped unless it is printable. `char::escape_debug` escapes control, format,
/// private and unassigned characters, line separators, and combining marks.
fn push_escaped(out: &mut String, c: char) {
    match c {
        '\t' => out.push(' '),
        '\\' | '"' | '\'' => out.push(c),
        c => out.extend(c.escape_debug()),
    }
}

/// Width of a line on a terminal in columns; wide characters (CJK, emoji) have two.
#[must_use]
pub fn width_in_columns(line: &str) -> usize {
    line.width()
}

/// Splits a line into the longest prefix of at most `width` columns and the rest.
fn split_at_column(line: &str, width: usize) -> (&str, &str) {
    let mut columns = 0;
    for (index, c) in line.char_indices() {
        columns += c.width().unwrap_or(0);
        if columns > width {
            return line.split_at(index);
        }
    }
    (line, "")
}

/// Cuts an escaped line to `width` columns. A line that was cut ends with three dots.
#[must_use]
pub fn truncated(line: &str, width: usize) -> String {
    if width_in_columns(line) <= width {
        return line.to_owned();
    }
    let dots = &"..."[..width.min(3)];
    format!("{}{dots}", split_at_column(line, width - dots.len()).0)
}

/// Pads an escaped line with spaces to `width` columns, or cuts it.
#[must_use]
pub fn padded(line: &str, width: usize) -> String {
    let truncated = truncated(line, width);
    let spaces = width - width_in_columns(&truncated);
    truncated + &" ".repeat(spaces)
}

/// Wraps an escaped line at spaces into pieces of at most `width` columns. Splits words that are longer
/// than `width`.
#[must_use]
pub fn wrapped(line: &str, width: usize) -> Vec<String> {
    let width = width.max(2);
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for mut word in line.split(' ').filter(|word| !word.is_empty()) {
        if !piece.is_empty() && width_in_columns(&piece) + 1 + width_in_columns(word) > width {
            pieces.push(std::mem::take(&mut piece));
        }
        if !piece.is_empty() {
            piece.push(' ');
        }
        while width_in_columns(word) > width - width_in_columns(&piece) {
            let (first, rest) = split_at_column(word, width - width_in_columns(&piece));
            piece.push_str(first);
            pieces.push(std::mem::take(&mut piece));
            word = rest;
        }
        piece.push_str(word);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// Wraps a shell command at spaces outside of quotes into lines of at most `width` columns. Each line
/// except the last ends with ` \`, so that a shell accepts a copy of the lines. Words that are longer than
/// `width` are not split.
#[must_use]
pub fn wrapped_command(command: &str, width: usize) -> Vec<String> {
    const CONTINUATION: &str = " \\";
    let mut lines = vec![String::new()];
    let mut in_quotes = false;
    for word in command.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        let fits =
            width_in_columns(line) + 1 + width_in_columns(word) + CONTINUATION.len() <= width;
        if line.is_empty() && !in_quotes {
            line.push_str(word);
        } else if fits || in_quotes {
            line.push(' ');
            line.push_str(word);
        } else {
            line.push_str(CONTINUATION);
            lines.push(word.to_owned());
        }
        in_quotes ^= word.matches('\'').count() % 2 == 1;
    }
    lines
}

#[cfg(test)]
mod tests;
