//! The form for people: what is broken first, what was kept in a few lines.

use std::fmt::Write as _;

use sudbox_protocol::Feature;

use crate::judgement::Judgement;
use crate::telling::telling;
use crate::text;
use crate::{CaseReport, Options, Outcome, Verdict};

/// Widest line in characters, except for a command to be copied, which is never broken.
pub(crate) const WIDTH: usize = 100;
/// Column at which the value of a labelled line starts.
const INDENT: usize = 12;
/// Lines of console shown with a failure.
const CONSOLE_LINES: usize = 12;
/// Lines of a case's log shown with a failure: the last ones.
const LOG_LINES: usize = 8;
/// Lines of `expected` and of `got` shown with a failure.
const VALUE_LINES: usize = 16;

/// Colours of an ANSI terminal.
#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Bold = 1,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// Text as it grows.
pub(crate) struct Page {
    pub(crate) out: String,
    pub(crate) colour: bool,
}

/// The verdict as a table, lines of at most 100 characters.
#[must_use]
pub fn render(verdict: &Verdict, options: Options) -> String {
    let mut page = Page { out: String::new(), colour: options.colour };
    page.head(verdict);
    let judgement = Judgement::of(verdict, options.strict, options.boot_selected);
    for outcome in Outcome::ALL.into_iter().filter(|o| o.is_failure()) {
        for case in verdict.cases.iter().filter(|c| c.outcome == outcome) {
            page.failure(case);
        }
    }
    page.asides(verdict);
    page.passes(verdict);
    page.totals(verdict, &judgement);
    page.out
}

impl Page {
    fn head(&mut self, verdict: &Verdict) {
        let kernel = &verdict.kernel;
        let mut first = match text::line(&kernel.release) {
            release if release.is_empty() => format!("Linux {}", text::line(&kernel.reference)),
            release => format!("Linux {release}"),
        };
        for part in [&kernel.arch, &kernel.flavour] {
            if !part.is_empty() {
                let _ = write!(first, ", {}", text::line(part));
            }
        }
        if let Some(sentence) = &kernel.stands_in {
            let _ = write!(first, ". {}", text::line(sentence));
        }
        for (i, piece) in text::wrap(&first, WIDTH - 2).into_iter().enumerate() {
            let piece = self.paint(Colour::Bold, &piece);
            let _ = writeln!(self.out, "{}{piece}", if i == 0 { "" } else { "  " });
        }
        self.labelled("source", &kernel.source);
        self.labelled("machine", &verdict.machine);
        for fact in &verdict.guest {
            self.labelled("guest", fact);
        }
    }

    fn failure(&mut self, case: &CaseReport) {
        let word = self.paint(Colour::Red, &format!("{:<6}", case.outcome.as_str().to_uppercase()));
        let id = self.paint(Colour::Bold, &text::line(&case.id));
        let _ = writeln!(self.out, "\n{word} {id}");
        self.labelled("promise", &case.promise);
        self.labelled("expected", &case.expected);
        self.labelled("got", &case.got);
        self.labelled("kernel", &case.kernel_function);
        let log: Vec<String> = case.log.iter().flat_map(|l| text::lines(l)).collect();
        let skipped = log.len().saturating_sub(LOG_LINES);
        self.excerpt("log", log[skipped..].iter().map(String::as_str), skipped);
        if let Some(console) = &case.console {
            let lines = text::lines(console);
            let (shown, left_out) = telling(&lines, CONSOLE_LINES);
            self.excerpt("console", shown.into_iter(), left_out);
        }
        if !case.rerun.is_empty() {
            let _ = writeln!(self.out, "{:<INDENT$}{}", "  again", text::line(&case.rerun));
        }
    }

    /// What is neither kept nor broken, each outcome by its reasons.
    fn asides(&mut self, verdict: &Verdict) {
        for outcome in [Outcome::Fixed, Outcome::Unmet, Outcome::Known, Outcome::Absent] {
            let cases: Vec<&CaseReport> =
                verdict.cases.iter().filter(|c| c.outcome == outcome).collect();
            if cases.is_empty() {
                continue;
            }
            let says = match outcome {
                Outcome::Fixed => "a recorded kernel bug no longer shows",
                Outcome::Unmet => "not tried: the machine lacks what it needs",
                Outcome::Known => "fails as a recorded kernel bug says",
                _ => "the kernel does not offer it, as expected",
            };
            let word = self.paint(Colour::Yellow, &format!("{:<10}", outcome.as_str()));
            let _ = writeln!(self.out, "\n{word}  {says}");
            let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
            for case in cases {
                match reasons.iter_mut().find(|(reason, _)| *reason == case.got) {
                    Some((_, ids)) => ids.push(&case.id),
                    None => reasons.push((&case.got, vec![&case.id])),
                }
            }
            for (reason, ids) in reasons {
                let (reason, all) = (text::line(reason), text::line(&ids.join(" ")));
                // Of many cases the reason is the title, of a single one the text.
                let line = match ids.len() {
                    1 => format!("{all}: {reason}"),
                    _ => format!("{reason}: {all}"),
                };
                for (i, piece) in text::wrap(&line, WIDTH - 4).into_iter().enumerate() {
                    let _ = writeln!(self.out, "{}{piece}", if i == 0 { "  " } else { "    " });
                }
            }
        }
    }

    /// How many of each group were kept, as a grid.
    fn passes(&mut self, verdict: &Verdict) {
        let mut groups: Vec<(String, usize, usize)> = Vec::new();
        for case in &verdict.cases {
            let name = text::line(group(&case.id));
            let at = groups.iter().position(|g| g.0 == name).unwrap_or_else(|| {
                groups.push((name, 0, 0));
                groups.len() - 1
            });
            groups[at].1 += usize::from(case.outcome == Outcome::Pass);
            groups[at].2 += 1;
        }
        groups.retain(|g| g.1 > 0);
        if groups.is_empty() {
            return;
        }
        let word = self.paint(Colour::Green, &format!("{:<10}", "kept"));
        let _ = writeln!(self.out, "\n{word}  promises by group");
        let cells: Vec<String> = groups
            .iter()
            .map(|(name, kept, all)| {
                let count = if kept == all { format!("{all}") } else { format!("{kept} of {all}") };
                format!("{name} {count}")
            })
            .collect();
        let cell = cells.iter().map(|c| c.chars().count()).max().unwrap_or(0).min(WIDTH - 4) + 2;
        let columns = ((WIDTH - 2) / cell).max(1);
        for row in cells.chunks(columns) {
            let row: String =
                row.iter().map(|c| format!("{:<cell$}", text::cut(c, cell))).collect();
            let _ = writeln!(self.out, "  {}", row.trim_end());
        }
    }

    fn totals(&mut self, verdict: &Verdict, judgement: &Judgement) {
        let totals = verdict.totals();
        let counts: Vec<String> = Outcome::ALL
            .into_iter()
            .filter(|o| totals.of(*o) > 0)
            .map(|o| format!("{} {}", totals.of(o), o.as_str()))
            .collect();
        let all = verdict.cases.len();
        let of_all = if counts.is_empty() { String::new() } else { counts.join(", ") + "; " };
        let count = verdict.boots.saturating_add(verdict.restored);
        let vms = match count {
            0 => "no VM".to_owned(),
            1 => "1 VM".to_owned(),
            _ => format!("{count} VMs"),
        };
        let restored = match verdict.restored {
            0 => String::new(),
            restored => format!(", {restored} of them restored"),
        };
        let line = format!(
            "{all} {}: {of_all}{vms}{restored}, {} ms",
            if all == 1 { "case" } else { "cases" },
            verdict.millis
        );
        let (colour, word) = match judgement {
            Judgement::Kept if is_without_dispatch(&verdict.cases) => (
                Colour::Green,
                "VERDICT: no dispatch in this kernel, as expected; nothing else to keep".to_owned(),
            ),
            Judgement::Kept => {
                let aside = all - totals.of(Outcome::Pass);
                let aside = if aside == 0 { String::new() } else { format!(", {aside} aside") };
                (Colour::Green, format!("VERDICT: every promise kept{aside}"))
            }
            Judgement::Broken(n) => (Colour::Red, format!("BROKEN: {n} of {all}")),
            Judgement::Surprised(n) => {
                (Colour::Yellow, format!("NOT AS EXPECTED: {n} of {all} fixed or unmet (--strict)"))
            }
            Judgement::NotJudged(reason) => {
                (Colour::Yellow, format!("NOT JUDGED: {}", text::line(reason)))
            }
        };
        self.out.push('\n');
        if line.chars().count() + 2 + word.chars().count() <= WIDTH {
            let word = self.paint(colour, &word);
            let _ = writeln!(self.out, "{line}  {word}");
        } else {
            let _ = writeln!(self.out, "{line}");
            for piece in text::wrap(&word, WIDTH) {
                let piece = self.paint(colour, &piece);
                let _ = writeln!(self.out, "{piece}");
            }
        }
    }

    /// A label and its text, nothing if the text is empty.
    pub(crate) fn labelled(&mut self, label: &str, value: &str) {
        let lines = text::lines(value);
        let pieces: Vec<String> =
            lines.iter().flat_map(|l| text::wrap(l, WIDTH - INDENT)).collect();
        for (i, piece) in pieces.iter().take(VALUE_LINES).enumerate() {
            let label = if i == 0 { format!("  {label}") } else { String::new() };
            let _ = writeln!(self.out, "{label:<INDENT$}{piece}");
        }
        self.left_out(pieces.len().saturating_sub(VALUE_LINES));
    }

    fn excerpt<'a>(&mut self, label: &str, lines: impl Iterator<Item = &'a str>, left_out: usize) {
        for (i, line) in lines.enumerate() {
            let label = if i == 0 { format!("  {label}") } else { String::new() };
            let line = text::cut(line, WIDTH - INDENT - 2);
            let _ = writeln!(self.out, "{label:<INDENT$}| {line}");
        }
        self.left_out(left_out);
    }

    fn left_out(&mut self, lines: usize) {
        if lines > 0 {
            let _ = writeln!(self.out, "{:<INDENT$}({lines} lines left out)", "");
        }
    }

    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
            false => text.to_owned(),
        }
    }
}

/// Whether these are the cases of a kernel that has no dispatch and should have none. That all are
/// absent does not say so: those of one feature are where that alone is.
fn is_without_dispatch(cases: &[CaseReport]) -> bool {
    let is_absence = |case: &CaseReport| group(&case.id) == "absence";
    let lacks_it = |case: &CaseReport| case.got == Feature::Dispatch.as_str();
    cases.iter().all(|case| case.outcome == Outcome::Absent || is_absence(case))
        && cases.iter().any(|case| is_absence(case) || lacks_it(case))
}

/// The group of a case: what stands before the slash of its id.
pub(crate) fn group(id: &str) -> &str {
    id.split_once('/').map_or(id, |(group, _)| group)
}
