// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The result of a bisection as text for people.

use super::LOG;
use super::sought::{Seen, Sought};
use super::state::{State, Times, Trial};
use std::fmt::Write as _;
use std::path::Path;
use sudbox_images::{Commit, History, Mark};
use sudbox_report::bisection::{BisectedCommit, Bisection, BisectionStep, SoughtCase};
use sudbox_report::text::line;

/// One commit is the one.
pub(super) fn found(
    state: &State,
    commit: &Commit,
    history: &History<'_>,
    folder: &Path,
) -> String {
    let Some(sought) = &state.sought else { return String::new() };
    let mut text = format!("The first {} commit{}\n\n", Mark::New.word(sought.terms), of(state));
    for (label, value) in [
        ("commit", &commit.id),
        ("author", &commit.author),
        ("date", &commit.date),
        ("subject", &commit.subject),
    ] {
        let _ = writeln!(text, "  {label:10}{}", line(value));
    }
    text.push('\n');
    tell_sought(&mut text, sought);
    let judged = state.ends.iter().chain(state.steps.iter().map(|(trial, _)| trial));
    if let Some(trial) = judged.clone().find(|trial| trial.commit.id == commit.id)
        && let Some((run, shown)) = sought.first(&trial.runs)
    {
        let got =
            if shown.got.is_empty() { String::new() } else { format!(": {}", line(&shown.got)) };
        let _ = writeln!(text, "  {:10}{} {}{got}", "on it", shown.id, shown.outcome.as_str());
        let _ = writeln!(text, "  {:10}{}", "", folder.join(&trial.folders[run]).display());
    }
    if let Some(trial) = before(state, commit, history) {
        let (id, subject) = (&trial.commit.id, line(&trial.commit.subject));
        let _ =
            writeln!(text, "  {:10}{id:.12} {subject}: {}", "before it", outcomes(trial, sought));
        if let Some(name) = trial.folders.last() {
            let _ = writeln!(text, "  {:10}{}", "", folder.join(name).display());
        }
    }
    tell_steps(&mut text, state, sought, folder);
    text
}

/// All that are left but one could not be judged.
pub(super) fn skipped(state: &State, commits: &[Commit], folder: &Path) -> String {
    let Some(sought) = &state.sought else { return String::new() };
    let mut text = format!(
        "The first {} commit is one of these {}, of which all but the last cannot be judged{}\n\n",
        Mark::New.word(sought.terms),
        commits.len(),
        of(state)
    );
    for commit in commits {
        let _ = writeln!(text, "  {:.12}  {}", commit.id, line(&commit.subject));
    }
    text.push('\n');
    tell_sought(&mut text, sought);
    tell_steps(&mut text, state, sought, folder);
    text
}

/// The report: the commits that were found, the cases, the steps, and the text for people.
pub(super) fn report(
    state: &State,
    found: &[Commit],
    exit_code: u8,
    folder: &Path,
    text: String,
) -> Bisection {
    let commit =
        |commit: &Commit| BisectedCommit { id: commit.id.clone(), subject: line(&commit.subject) };
    let Some(sought) = &state.sought else { return Bisection { text, ..Bisection::default() } };
    let step = |trial: &Trial, mark: Mark| BisectionStep {
        commit: commit(&trial.commit),
        is: mark.word(sought.terms).to_owned(),
        make_millis: trial.times.make,
        vm_millis: trial.times.vm,
        millis: trial.times.all,
    };
    let ends = state.ends.iter().zip([true, false]).map(|(trial, is_good)| {
        step(trial, if is_good == state.good_is_new { Mark::New } else { Mark::Old })
    });
    Bisection {
        schema: 1,
        sudbox: env!("CARGO_PKG_VERSION").to_owned(),
        exit_code,
        commits: found.iter().map(commit).collect(),
        sought: sought
            .differences
            .iter()
            .map(|d| SoughtCase { id: d.id.clone(), old: d.old, new: d.new })
            .collect(),
        steps: ends.chain(state.steps.iter().map(|(trial, mark)| step(trial, *mark))).collect(),
        folder: folder.display().to_string(),
        text,
    }
}

/// One line on the result of a step.
pub(super) fn judged(trial: &Trial, mark: Mark, sought: &Sought) -> String {
    let Times { make, vm, .. } = trial.times;
    let rest = seconds(trial.times.rest());
    format!(
        "{}: {}; make {}, VM {}, rest {rest}",
        mark.word(sought.terms),
        outcomes(trial, sought),
        seconds(make),
        seconds(vm)
    )
}

/// ` between v6.16 and v6.17 of ~/src/linux`.
fn of(state: &State) -> String {
    let args = &state.args;
    let (old, new) =
        if state.good_is_new { (args.bad(), args.good()) } else { (args.good(), args.bad()) };
    format!(
        " between {} and {} of {}",
        line(old),
        line(new),
        line(args.build.source.linux.as_deref().unwrap_or_default())
    )
}

/// The run before the commit: of its parent, where that was judged, else of the last of its ancestors
/// that was.
fn before<'a>(state: &'a State, commit: &Commit, history: &History<'_>) -> Option<&'a Trial> {
    let old_end = state.ends.get(usize::from(state.good_is_new))?;
    let old = || {
        let steps = state.steps.iter().filter(|(_, mark)| *mark == Mark::Old);
        std::iter::once(old_end).chain(steps.map(|(trial, _)| trial))
    };
    old()
        .find(|trial| commit.parents.contains(&trial.commit.id))
        .or_else(|| old().rfind(|trial| history.is_ancestor(&trial.commit, commit)))
}

fn tell_sought(text: &mut String, sought: &Sought) {
    let mut label = "sought";
    for d in &sought.differences {
        let (old, new) = (d.old.as_str(), d.new.as_str());
        let _ = writeln!(text, "  {label:10}{}: {old}, then {new}", d.id);
        label = "";
    }
}

/// The outcomes of the bisected cases in each run.
fn outcomes(trial: &Trial, sought: &Sought) -> String {
    let of_run = |seen: &Seen| {
        let known = sought.differences.iter().filter_map(|d| seen.of(&d.id));
        let mut told: Vec<String> =
            known.map(|shown| format!("{} {}", shown.id, shown.outcome.as_str())).collect();
        if told.len() > 3 {
            let more = told.split_off(3).len();
            told.push(format!("and {more} more"));
        }
        if told.is_empty() {
            return line(seen.unjudged.as_deref().unwrap_or("the bisected cases did not run"));
        }
        told.join(", ")
    };
    let runs: Vec<String> = trial.runs.iter().map(of_run).collect();
    match runs.split_first() {
        Some((first, rest)) if rest.iter().all(|run| run == first) => first.clone(),
        _ => runs.join("; then "),
    }
}

fn tell_steps(text: &mut String, state: &State, sought: &Sought, folder: &Path) {
    let _ = writeln!(
        text,
        "\n  {:10}{:14}{:6}{:>9}{:>9}{:>9}  subject",
        "step", "commit", "is", "make", "VM", "rest"
    );
    let mut row = |step: &str, trial: &Trial, is: &str| {
        let Trial { commit, times, .. } = trial;
        let [make, vm, rest] = [times.make, times.vm, times.rest()].map(seconds);
        let subject = line(&commit.subject);
        let _ = writeln!(
            text,
            "  {step:10}{:<14.12}{is:6}{make:>9}{vm:>9}{rest:>9}  {subject}",
            commit.id
        );
    };
    for (trial, is_good) in state.ends.iter().zip([true, false]) {
        let is = if is_good == state.good_is_new { Mark::New } else { Mark::Old };
        row(if is_good { "good end" } else { "bad end" }, trial, is.word(sought.terms));
    }
    let mut sum = Times::default();
    for (number, (trial, mark)) in (1..).zip(&state.steps) {
        row(&number.to_string(), trial, mark.word(sought.terms));
        sum.add(trial.times);
    }
    let skipped = state.steps.iter().filter(|(_, mark)| *mark == Mark::Skip).count();
    let _ = writeln!(
        text,
        "\n  {} steps, {skipped} skipped, {}: make {}, VM {}, rest {}",
        state.steps.len(),
        seconds(sum.all),
        seconds(sum.make),
        seconds(sum.vm),
        seconds(sum.rest())
    );
    let _ = writeln!(text, "  git bisect replay {}", folder.join(LOG).display());
}

fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}
