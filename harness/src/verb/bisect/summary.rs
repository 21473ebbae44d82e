// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The result of a bisection as text for people.

use super::LOG_FILE;
use super::differences::{BisectedCases, RunOutcomes};
use super::state::{BisectionState, JudgedCommit, StepTimes};
use std::fmt::Write as _;
use std::path::Path;
use sudbox_images::{Commit, History, Mark};
use sudbox_report::bisection::{BisectedCase, BisectedCommit, Bisection, BisectionStep};
use sudbox_report::text::escaped_line;

/// The text for a bisection that found the commit.
pub(super) fn text_of_found_commit(
    state: &BisectionState,
    commit: &Commit,
    history: &History<'_>,
    folder: &Path,
) -> String {
    let Some(bisected) = &state.bisected else { return String::new() };
    let mut text = format!(
        "The first {} commit{}\n\n",
        Mark::New.subcommand(bisected.terms),
        range_phrase(state)
    );
    for (label, value) in [
        ("commit", &commit.id),
        ("author", &commit.author),
        ("date", &commit.date),
        ("subject", &commit.subject),
    ] {
        let _ = writeln!(text, "  {label:10}{}", escaped_line(value));
    }
    text.push('\n');
    write_bisected(&mut text, bisected);
    let judged_commits =
        state.ends.iter().chain(state.steps.iter().map(|(judged_commit, _)| judged_commit));
    if let Some(judged_commit) =
        judged_commits.clone().find(|judged_commit| judged_commit.commit.id == commit.id)
        && let Some((run, case)) = bisected.first_new_outcome(&judged_commit.runs)
    {
        let actual = if case.actual.is_empty() {
            String::new()
        } else {
            format!(": {}", escaped_line(&case.actual))
        };
        let _ = writeln!(text, "  {:10}{} {}{actual}", "on it", case.id, case.outcome.as_str());
        let _ = writeln!(text, "  {:10}{}", "", folder.join(&judged_commit.folders[run]).display());
    }
    if let Some(judged_commit) = last_judged_before(state, commit, history) {
        let (id, subject) = (&judged_commit.commit.id, escaped_line(&judged_commit.commit.subject));
        let _ = writeln!(
            text,
            "  {:10}{id:.12} {subject}: {}",
            "before it",
            outcomes_phrase(judged_commit, bisected)
        );
        if let Some(name) = judged_commit.folders.last() {
            let _ = writeln!(text, "  {:10}{}", "", folder.join(name).display());
        }
    }
    write_steps(&mut text, state, bisected, folder);
    text
}

/// The text for a bisection in which only commits that cannot be judged are left.
pub(super) fn text_of_skipped_commits(
    state: &BisectionState,
    commits: &[Commit],
    folder: &Path,
) -> String {
    let Some(bisected) = &state.bisected else { return String::new() };
    let mut text = format!(
        "The first {} commit is one of these {}, of which all but the last cannot be judged{}\n\n",
        Mark::New.subcommand(bisected.terms),
        commits.len(),
        range_phrase(state)
    );
    for commit in commits {
        let _ = writeln!(text, "  {:.12}  {}", commit.id, escaped_line(&commit.subject));
    }
    text.push('\n');
    write_bisected(&mut text, bisected);
    write_steps(&mut text, state, bisected, folder);
    text
}

/// The report: the commits that were found, the cases, the steps, and the text for people.
pub(super) fn report(
    state: &BisectionState,
    found_commits: &[Commit],
    exit_code: u8,
    folder: &Path,
    text: String,
) -> Bisection {
    let bisected_commit = |commit: &Commit| BisectedCommit {
        id: commit.id.clone(),
        subject: escaped_line(&commit.subject),
    };
    let Some(bisected) = &state.bisected else { return Bisection { text, ..Bisection::default() } };
    let step = |judged_commit: &JudgedCommit, mark: Mark| BisectionStep {
        commit: bisected_commit(&judged_commit.commit),
        state: mark.subcommand(bisected.terms).to_owned(),
        make_millis: judged_commit.times.make_millis,
        vm_millis: judged_commit.times.vm_millis,
        total_millis: judged_commit.times.total_millis,
    };
    let ends = state.ends.iter().zip([true, false]).map(|(judged_commit, is_good)| {
        step(judged_commit, if is_good == state.good_is_new { Mark::New } else { Mark::Old })
    });
    Bisection {
        schema: 1,
        sudbox_version: env!("CARGO_PKG_VERSION").to_owned(),
        exit_code,
        commits: found_commits.iter().map(bisected_commit).collect(),
        sought_cases: bisected
            .differences
            .iter()
            .map(|difference| BisectedCase {
                id: difference.id.clone(),
                old_outcome: difference.old_outcome,
                new_outcome: difference.new_outcome,
            })
            .collect(),
        steps: ends
            .chain(state.steps.iter().map(|(judged_commit, mark)| step(judged_commit, *mark)))
            .collect(),
        folder: folder.display().to_string(),
        text,
    }
}

/// One line with the result of a step.
pub(super) fn step_line(
    judged_commit: &JudgedCommit,
    mark: Mark,
    bisected: &BisectedCases,
) -> String {
    let StepTimes { make_millis, vm_millis, .. } = judged_commit.times;
    let other = formatted_seconds(judged_commit.times.other_millis());
    format!(
        "{}: {}; make {}, VM {}, rest {other}",
        mark.subcommand(bisected.terms),
        outcomes_phrase(judged_commit, bisected),
        formatted_seconds(make_millis),
        formatted_seconds(vm_millis)
    )
}

/// The ends and the tree in words, as in ` between v6.16 and v6.17 of ~/src/linux`.
fn range_phrase(state: &BisectionState) -> String {
    let args = &state.args;
    let (old, new) =
        if state.good_is_new { (args.bad(), args.good()) } else { (args.good(), args.bad()) };
    format!(
        " between {} and {} of {}",
        escaped_line(old),
        escaped_line(new),
        escaped_line(args.build.source.linux.as_deref().unwrap_or_default())
    )
}

/// The judged commit before `commit`: its parent if the parent was judged, else its ancestor that
/// was judged last.
fn last_judged_before<'a>(
    state: &'a BisectionState,
    commit: &Commit,
    history: &History<'_>,
) -> Option<&'a JudgedCommit> {
    let old_end = state.ends.get(usize::from(state.good_is_new))?;
    let old_commits = || {
        let steps = state.steps.iter().filter(|(_, mark)| *mark == Mark::Old);
        std::iter::once(old_end).chain(steps.map(|(judged_commit, _)| judged_commit))
    };
    old_commits().find(|judged_commit| commit.parents.contains(&judged_commit.commit.id)).or_else(
        || old_commits().rfind(|judged_commit| history.is_ancestor(&judged_commit.commit, commit)),
    )
}

fn write_bisected(text: &mut String, bisected: &BisectedCases) {
    let mut label = "sought";
    for difference in &bisected.differences {
        let (old, new) = (difference.old_outcome.as_str(), difference.new_outcome.as_str());
        let _ = writeln!(text, "  {label:10}{}: {old}, then {new}", difference.id);
        label = "";
    }
}

/// The outcomes of the bisected cases in each run.
fn outcomes_phrase(judged_commit: &JudgedCommit, bisected: &BisectedCases) -> String {
    let outcomes_of_run = |run: &RunOutcomes| {
        let cases = bisected.differences.iter().filter_map(|difference| run.case(&difference.id));
        let mut texts: Vec<String> =
            cases.map(|case| format!("{} {}", case.id, case.outcome.as_str())).collect();
        if texts.len() > 3 {
            let more = texts.split_off(3).len();
            texts.push(format!("and {more} more"));
        }
        if texts.is_empty() {
            return escaped_line(
                run.unjudged.as_deref().unwrap_or("the bisected cases did not run"),
            );
        }
        texts.join(", ")
    };
    let runs: Vec<String> = judged_commit.runs.iter().map(outcomes_of_run).collect();
    match runs.split_first() {
        Some((first, others)) if others.iter().all(|run| run == first) => first.clone(),
        _ => runs.join("; then "),
    }
}

fn write_steps(text: &mut String, state: &BisectionState, bisected: &BisectedCases, folder: &Path) {
    let _ = writeln!(
        text,
        "\n  {:10}{:14}{:6}{:>9}{:>9}{:>9}  subject",
        "step", "commit", "is", "make", "VM", "rest"
    );
    let mut write_row = |step: &str, judged_commit: &JudgedCommit, mark: &str| {
        let JudgedCommit { commit, times, .. } = judged_commit;
        let [make, vm, other] =
            [times.make_millis, times.vm_millis, times.other_millis()].map(formatted_seconds);
        let subject = escaped_line(&commit.subject);
        let _ = writeln!(
            text,
            "  {step:10}{:<14.12}{mark:6}{make:>9}{vm:>9}{other:>9}  {subject}",
            commit.id
        );
    };
    for (judged_commit, is_good) in state.ends.iter().zip([true, false]) {
        let mark = if is_good == state.good_is_new { Mark::New } else { Mark::Old };
        write_row(
            if is_good { "good end" } else { "bad end" },
            judged_commit,
            mark.subcommand(bisected.terms),
        );
    }
    let mut total_times = StepTimes::default();
    for (number, (judged_commit, mark)) in (1..).zip(&state.steps) {
        write_row(&number.to_string(), judged_commit, mark.subcommand(bisected.terms));
        total_times.add(judged_commit.times);
    }
    let skipped = state.steps.iter().filter(|(_, mark)| *mark == Mark::Skip).count();
    let _ = writeln!(
        text,
        "\n  {} steps, {skipped} skipped, {}: make {}, VM {}, rest {}",
        state.steps.len(),
        formatted_seconds(total_times.total_millis),
        formatted_seconds(total_times.make_millis),
        formatted_seconds(total_times.vm_millis),
        formatted_seconds(total_times.other_millis())
    );
    let _ = writeln!(text, "  git bisect replay {}", folder.join(LOG_FILE).display());
}

fn formatted_seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}
