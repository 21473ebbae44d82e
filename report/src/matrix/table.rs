//! The matrix for people: its kernels, the promises kept by group, what differs between
//! neighbours, and what failed.

use std::fmt::Write as _;

use super::{Cell, Change, Found, Matrix, differences};
use crate::table::{Colour, Page, WIDTH, group};
use crate::{Judgement, Outcome, Verdict, text};

/// Column at which what is said of a cell starts, behind its number.
const INDENT: usize = 4;
/// Width of a column of the grid: `23/24 absent` and a space.
const COLUMN: usize = 13;

/// The matrix as a table, lines of at most 100 characters.
#[must_use]
pub fn render(matrix: &Matrix, colour: bool) -> String {
    let mut page = Page { out: String::new(), colour };
    for (place, (cell, found)) in matrix.plan.cells.iter().zip(&matrix.found).enumerate() {
        let says = match found {
            None => "in another shard".to_owned(),
            Some(found) => summary(matrix, found),
        };
        let line = format!("{}: {}", text::line(&cell.to_string()), text::line(&says));
        for (i, piece) in text::wrap(&line, WIDTH - INDENT - 2).into_iter().enumerate() {
            let number = if i == 0 { (place + 1).to_string() } else { String::new() };
            let _ = writeln!(page.out, "{number:>3}  {piece}");
        }
    }
    grid(&mut page, matrix);
    differing(&mut page, matrix);
    failures(&mut page, matrix);
    total(&mut page, matrix);
    page.out
}

/// What became of a cell, in one line.
fn summary(matrix: &Matrix, found: &Found) -> String {
    let word = match (found, matrix.judgement(found)) {
        (_, Judgement::Kept) => "every promise kept".to_owned(),
        (_, Judgement::Broken(n)) => format!("BROKEN: {n}"),
        (_, Judgement::Surprised(n)) => format!("NOT AS EXPECTED: {n} fixed or unmet"),
        (Found::Judged(_), Judgement::NotJudged(why)) => return format!("NOT JUDGED: {why}"),
        (Found::Failed { exit_code, .. }, Judgement::NotJudged(why)) => {
            return format!("NOT JUDGED ({exit_code}): {why}");
        }
    };
    let Found::Judged(verdict) = found else { return word };
    let totals = verdict.totals();
    let counts: Vec<String> = Outcome::ALL
        .into_iter()
        .filter(|outcome| totals.of(*outcome) > 0)
        .map(|outcome| format!("{} {}", totals.of(outcome), outcome.as_str()))
        .collect();
    let stands_in = verdict.kernel.stands_in.as_ref().map(|why| format!(" ({why})"));
    format!(
        "Linux {}, {word} ({}){}",
        verdict.kernel.release,
        counts.join(", "),
        stands_in.unwrap_or_default()
    )
}

/// Groups in the order in which they first appear.
pub(super) fn groups(matrix: &Matrix) -> Vec<&str> {
    let mut groups = Vec::new();
    for (_, verdict) in matrix.judged() {
        for case in &verdict.cases {
            if !groups.contains(&group(&case.id)) {
                groups.push(group(&case.id));
            }
        }
    }
    groups
}

/// Kept, all, and the worst outcome of a group; `None` if the kernel has no case of it.
fn of_group(verdict: &Verdict, name: &str) -> Option<(usize, usize, Outcome)> {
    let outcomes = || verdict.cases.iter().filter(|c| group(&c.id) == name).map(|c| c.outcome);
    // Outcomes are declared the worst first.
    let worst = outcomes().min()?;
    Some((outcomes().filter(|o| *o == Outcome::Pass).count(), outcomes().count(), worst))
}

/// Kept of all in each group of each kernel that was judged, in as many blocks as it takes.
fn grid(page: &mut Page, matrix: &Matrix) {
    let judged: Vec<(usize, &Verdict)> = matrix.judged().collect();
    let groups = groups(matrix);
    let names: Vec<String> = groups.iter().map(|name| text::cut(&text::line(name), 16)).collect();
    let title = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(4) + 4;
    for block in judged.chunks((WIDTH - title) / COLUMN) {
        let mut head = page.paint(Colour::Green, &format!("{:<title$}", "kept"));
        for (place, _) in block {
            let name = text::line(&matrix.plan.cells[*place].kernel);
            let number = place + 1;
            let label = text::cut(&format!("{number} {name}"), COLUMN - 1);
            let _ = write!(head, "{label:<COLUMN$}");
        }
        let _ = writeln!(page.out, "\n{}", head.trim_end());
        for (name, shown) in groups.iter().zip(&names) {
            let mut row = format!("{:<title$}", format!("  {shown}"));
            for (_, verdict) in block {
                let (text, colour) = match of_group(verdict, name) {
                    None => (String::new(), None),
                    Some((kept, all, worst)) => entry(kept, all, worst),
                };
                let text = format!("{text:<COLUMN$}");
                row.push_str(&colour.map_or_else(|| text.clone(), |c| page.paint(c, &text)));
            }
            let _ = writeln!(page.out, "{}", row.trim_end());
        }
    }
}

fn entry(kept: usize, all: usize, worst: Outcome) -> (String, Option<Colour>) {
    match worst {
        Outcome::Pass => (all.to_string(), None),
        worst if worst.is_failure() => {
            (format!("{kept}/{all} {}", worst.as_str().to_uppercase()), Some(Colour::Red))
        }
        worst => (format!("{kept}/{all} {}", worst.as_str()), Some(Colour::Yellow)),
    }
}

/// What differs between neighbours.
fn differing(page: &mut Page, matrix: &Matrix) {
    let differences = differences(matrix);
    if differences.is_empty() {
        return;
    }
    let word = page.paint(Colour::Yellow, &format!("{:<10}", "differs"));
    let _ = writeln!(page.out, "\n{word}  from the one before it");
    for difference in differences {
        let (from, to) = names(matrix, difference.from, difference.to);
        let kind = kind(matrix, difference.to);
        let nothing = if difference.changes.is_empty() { ": nothing" } else { "" };
        let line = format!("{from} -> {to}{kind}{nothing}");
        let _ = writeln!(page.out, "  {}", text::cut(&line, WIDTH - 2));
        for change in &difference.changes {
            let line = format!("{}: {}", step(change), text::line(&change.cases.join(" ")));
            for (i, piece) in text::wrap(&line, WIDTH - 6).into_iter().enumerate() {
                let _ = writeln!(page.out, "{}{piece}", if i == 0 { "    " } else { "      " });
            }
        }
    }
}

/// Two neighbours, by what differs between them.
pub(super) fn names(matrix: &Matrix, from: usize, to: usize) -> (String, String) {
    let [one, other] = [from, to].map(|place| &matrix.plan.cells[place]);
    let (one, other) = if one.kernel != other.kernel {
        (&one.kernel, &other.kernel)
    } else if one.arch != other.arch {
        (&one.arch, &other.arch)
    } else {
        (&one.flavour, &other.flavour)
    };
    (text::line(one), text::line(other))
}

/// What two neighbours have in common, where not all kernels of the matrix have it.
pub(super) fn kind(matrix: &Matrix, place: usize) -> String {
    let cells = &matrix.plan.cells;
    let differing = |of: fn(&Cell) -> &str| cells.iter().any(|cell| of(cell) != of(&cells[0]));
    let kinds: [fn(&Cell) -> &str; 2] = [|cell| cell.arch.as_str(), |cell| cell.flavour.as_str()];
    let said = kinds.into_iter().filter(|of| differing(*of));
    said.map(|of| format!(", {}", text::line(of(&cells[place])))).collect()
}

/// From which outcome to which.
pub(super) fn step(change: &Change) -> String {
    let word = |outcome: Option<Outcome>| outcome.map_or("not there", Outcome::as_str);
    format!("{} -> {}", word(change.was), word(change.is))
}

/// What failed, the first lines of each: all is in the reports of the cells.
fn failures(page: &mut Page, matrix: &Matrix) {
    for (place, verdict) in matrix.judged() {
        for case in verdict.cases.iter().filter(|case| case.outcome.is_failure()) {
            let word = format!("{:<6}", case.outcome.as_str().to_uppercase());
            let word = page.paint(Colour::Red, &word);
            let cell = text::line(&matrix.plan.cells[place].to_string());
            let id = page.paint(Colour::Bold, &text::line(&case.id));
            let _ = writeln!(page.out, "\n{word} {id} on {}", text::cut(&cell, 60));
            page.labelled("expected", &case.expected);
            page.labelled("got", &case.got);
            let _ = writeln!(page.out, "{:<12}{}", "  again", text::line(&case.rerun));
        }
    }
}

fn total(page: &mut Page, matrix: &Matrix) {
    let (mut kept, mut broken, mut surprised, mut unjudged) = (0, 0, 0, 0);
    for (_, found) in matrix.cells() {
        *match matrix.judgement(found) {
            Judgement::Kept => &mut kept,
            Judgement::Broken(_) => &mut broken,
            Judgement::Surprised(_) => &mut surprised,
            Judgement::NotJudged(_) => &mut unjudged,
        } += 1;
    }
    let count = kept + broken + surprised + unjudged;
    let of = match matrix.plan.cells.len() {
        all if all == count => String::new(),
        all => format!(" of {all}"),
    };
    let _ = write!(page.out, "\n{count}{of} {}: ", if count == 1 { "kernel" } else { "kernels" });
    let parts = [
        (broken, "broken", Colour::Red),
        (surprised, "not as expected", Colour::Yellow),
        (unjudged, "not judged", Colour::Yellow),
        (kept, "kept every promise", Colour::Green),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, colour)| page.paint(colour, &format!("{count} {what}")))
        .collect();
    let _ = writeln!(page.out, "{}", parts.join(", "));
}
