// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Escapes and lays out text of the guest.
//!
//! The guest controls the text of logs and of the console. Unescaped, this text could control a terminal
//! (escape sequences, bidirectional controls), break XML (characters that XML does not allow), forge a
//! line of KTAP, or fill the screen. [`escaped_line`] and [`escaped_lines`] return printable characters only.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Maximum length of a line in characters. The part of a longer line after this length is replaced by its
/// length in bytes.
pub const MAX_LINE_CHARS: usize = 1000;

/// Escapes a text into one line: line ends and unprintable characters become Rust escapes (`\u{1b}`), tabs
/// become spaces, and the line is cut at [`MAX_LINE_CHARS`].
#[must_use]
pub fn escaped_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_LINE_CHARS));
    let mut remaining = text.trim_end();
    for _ in 0..MAX_LINE_CHARS {
        let mut chars = remaining.chars();
        let Some(c) = chars.next() else { return out };
        remaining = chars.as_str();
        push_escaped(&mut out, c);
    }
    match remaining.len() {
        0 => out,
        count => format!("{out}... ({count} bytes more)"),
    }
}

/// The lines of a text, each escaped by [`escaped_line`]. Removes carriage returns before line ends,
/// and empty lines at both ends.
#[must_use]
pub fn escaped_lines(text: &str) -> Vec<String> {
    text.trim_matches(['\r', '\n']).lines().map(escaped_line).collect()
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
