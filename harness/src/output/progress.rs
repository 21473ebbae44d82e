// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Progress on stderr: a bar on a terminal, else a line for each phase and for every half minute of
//! waiting.

use crate::interrupt;
use indicatif::{ProgressBar, ProgressStyle};
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use sudbox_images::Monitor;
use sudbox_report::{Printable, text};

/// Time between two lines of one phase if stderr is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Columns before the text of a line.
const TEXT_COLUMN: usize = 11;

/// Minimum width of a terminal, in columns, for a bar with its numbers.
const MIN_WIDTH_FOR_BAR: usize = 100;

/// Prints the progress of a run to stderr.
pub(crate) struct Progress {
    /// Prefix of every line: the name of the kernel, if several kernels are judged at a time.
    prefix: String,
    bar: Option<ProgressBar>,
    is_terminal: bool,
    /// Whether only notes are printed.
    is_silent: bool,
    phase: String,
    last_printed: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Progress {
            prefix: String::new(),
            bar: None,
            is_terminal: super::stderr_is_terminal(),
            is_silent: false,
            phase: String::new(),
            last_printed: Instant::now(),
        }
    }

    /// Makes a `Progress` for one of several kernels. Its lines begin with `name`. It shows no bar,
    /// because the lines of the other kernels go to the same terminal.
    pub(crate) fn labelled(name: &str) -> Self {
        let mut progress = Progress::new();
        progress.prefix = format!("{name}: ");
        progress.is_terminal = false;
        progress
    }

    /// Makes a `Progress` that prints notes only, for one of many short runs.
    pub(crate) fn silent() -> Self {
        let mut progress = Progress::new();
        (progress.is_silent, progress.is_terminal) = (true, false);
        progress
    }

    /// Prints a text, escaped, with a label before its first line, and removes the bar.
    pub(crate) fn print(&mut self, label: &str, text: &str) {
        self.end_bar();
        let is_shown = !self.is_silent || label == "note";
        if is_shown && !super::QUIET.load(Ordering::Relaxed) {
            let text = format!("{}{text}", self.prefix);
            super::stderr_line(&labelled_text(label, &text, terminal_width()));
        }
    }

    fn end_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// The width in columns of the terminal that stderr goes to; `None` if stderr is a file or pipe.
fn terminal_width() -> Option<usize> {
    let size = console::Term::stderr().size_checked().filter(|_| super::stderr_is_terminal());
    size.map(|(_, columns)| columns.into())
}

/// The lines of a text, escaped, each in the form of [`labelled_lines`], with the label before the first.
fn labelled_text(label: &str, text: &str, width: Option<usize>) -> String {
    let mut label = label;
    let mut labelled = String::new();
    for line in Printable::message(text).lines() {
        for line in labelled_lines(std::mem::take(&mut label), line, width) {
            labelled.push_str(&line);
            labelled.push('\n');
        }
    }
    labelled
}

/// Wraps a labelled line at spaces for a terminal of this width. Does not split a word that is
/// longer than the width, such as a path, so that the user can copy the word.
fn labelled_lines(label: &str, text: &str, width: Option<usize>) -> Vec<String> {
    let mut line = format!("{label:>9}  ");
    let Some(width) = width else { return vec![line + text] };
    let mut lines = Vec::new();
    let mut is_empty = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !is_empty && text::width_in_columns(&line) + 1 + text::width_in_columns(word) > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(TEXT_COLUMN)));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line);
    lines
}

/// The template of the progress line. On a terminal narrower than [`MIN_WIDTH_FOR_BAR`], the line
/// has the numbers without a bar.
fn bar_template(total_is_known: bool, width: Option<usize>) -> &'static str {
    match (total_is_known, width.is_some_and(|width| width < MIN_WIDTH_FOR_BAR)) {
        (false, _) => "           {spinner} {pos} {msg}  {elapsed}",
        (true, false) => "           [{bar:40}] {pos}/{len} {msg}  {elapsed} of about {duration}",
        (true, true) => "  {pos}/{len} {msg}  {elapsed}",
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end_bar();
    }
}

impl Monitor for Progress {
    fn phase(&mut self, phase: &str) {
        self.print("", phase);
        phase.clone_into(&mut self.phase);
        self.last_printed = Instant::now();
    }

    fn progress(&mut self, done: u64, expected: u64, unit: &str) {
        if self.is_silent || super::QUIET.load(Ordering::Relaxed) {
            return;
        }
        if self.is_terminal {
            let bar = self.bar.get_or_insert_with(|| {
                let template = bar_template(expected != 0, terminal_width());
                let style = ProgressStyle::with_template(template)
                    .expect("the template is a constant")
                    .progress_chars("=> ");
                ProgressBar::new(expected).with_style(style)
            });
            bar.set_length(expected.max(done));
            bar.set_message(unit.to_owned());
            bar.set_position(done);
        } else if self.last_printed.elapsed() >= LINE_INTERVAL {
            self.last_printed = Instant::now();
            let of_expected =
                if expected == 0 { String::new() } else { format!(" of about {expected}") };
            super::stderr_line(&format!(
                "{:>9}  {}{}: {done}{of_expected} {unit}",
                "", self.prefix, self.phase
            ));
        }
    }

    fn note(&mut self, text: &str) {
        self.print("note", text);
    }

    fn interrupt(&self) -> Option<BorrowedFd<'_>> {
        interrupt::descriptor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTHS: [usize; 7] = [40, 60, 80, 100, 120, 160, 200];

    #[test]
    fn lines_fit_terminals_and_keep_every_word() {
        let text = "v6.12.5 cannot be had here; 6.12.8, the nearest of its series, stands in for \
                    it; the report is in ~/.cache/sudbox/runs/2026-11-30T04-52-54-1234567";
        let path = text.rsplit(' ').next().unwrap();
        for width in WIDTHS {
            let lines = labelled_lines("note", text, Some(width));
            for line in &lines {
                assert!(
                    text::width_in_columns(line) <= width || line.trim() == path,
                    "{width}: {lines:?}"
                );
                assert!(line.starts_with("     "), "{lines:?}");
            }
            let words: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
            let expected: Vec<&str> = std::iter::once("note").chain(text.split(' ')).collect();
            assert_eq!(words, expected, "{width}");
        }
        let whole = labelled_lines("note", text, None);
        assert_eq!(whole, [format!("     note  {text}")], "a file or pipe has whole lines");
    }

    #[test]
    fn notes_are_escaped_line_by_line() {
        let note = "a\x1b]0;t\x07 b\r\n::add-mask::x\nc\r::error::y";
        let escaped = "     note  a\\u{1b}]0;t\\u{7} b\n           \\u{3a}:add-mask::x\n           c\\r::error::y\n";
        assert_eq!(labelled_text("note", note, None), escaped);
        assert_eq!(labelled_text("note", note, Some(80)), escaped);
    }

    #[test]
    fn bars_fit_terminals() {
        let filled = |template: &str| {
            // The longest values: the bytes of a package of hundreds of MB.
            let pieces = [
                ("[{bar:40}]", "[========================================]"),
                ("{pos}", "123456789"),
                ("{len}", "123456789"),
                ("{msg}", "objects"),
                ("{elapsed}", "59m"),
                ("{duration}", "59m"),
                ("{spinner}", "/"),
            ];
            let fill = |text: String, (name, value): &(&str, &str)| text.replace(name, value);
            pieces.iter().fold(template.to_owned(), fill)
        };
        for width in WIDTHS {
            for total_is_known in [false, true] {
                let line = filled(bar_template(total_is_known, Some(width)));
                assert!(!line.contains('{') && line.len() <= width, "{width}: {line}");
            }
        }
        assert!(bar_template(true, Some(200)).contains("{bar"));
    }
}
