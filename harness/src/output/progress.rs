// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Progress on stderr: a bar on a terminal, else a line per phase and one
//! for every half minute of waiting.

use crate::interrupt;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use sudbox_images::Monitor;

/// Time between two lines of one phase if stderr is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Prints the progress of a run to stderr.
pub(crate) struct Progress {
    /// Prefix of every line, if several kernels are worked on at a time.
    prefix: String,
    bar: Option<ProgressBar>,
    terminal: bool,
    phase: String,
    last_printed: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Progress {
            prefix: String::new(),
            bar: None,
            terminal: std::io::stderr().is_terminal(),
            phase: String::new(),
            last_printed: Instant::now(),
        }
    }

    /// Progress of one of several kernels. Its lines begin with `name`, and it shows no bar,
    /// because the others print to the same terminal.
    pub(crate) fn labelled(name: &str) -> Self {
        let mut progress = Progress::new();
        progress.prefix = format!("{name}: ");
        progress.terminal = false;
        progress
    }

    /// Prints a line with a label, and removes the bar.
    pub(crate) fn print(&mut self, label: &str, text: &str) {
        self.end_bar();
        if !super::QUIET.load(Ordering::Relaxed) {
            super::stderr_line(&format!("{label:>9}  {}{text}", self.prefix));
        }
    }

    fn end_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
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
        if super::QUIET.load(Ordering::Relaxed) {
            return;
        }
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| {
                // The total is not always known.
                let template = if expected == 0 {
                    "           {spinner} {pos} {msg}  {elapsed}"
                } else {
                    "           [{bar:40}] {pos}/{len} {msg}  {elapsed} of about {duration}"
                };
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
            let of = if expected == 0 { String::new() } else { format!(" of about {expected}") };
            super::stderr_line(&format!(
                "{:>9}  {}{}: {done}{of} {unit}",
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
