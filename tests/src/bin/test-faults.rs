// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Breaks kernels and demands that the cases notice: every patch of `tests/faults/`, and every
//! mechanical mutant of the dispatch code. `make test-faults`; `FAULTS=` takes globs over
//! `kernel/fault` and `kernel/mutants`. What is found is kept and told in `docs/faults.md`.

use globset::{Glob, GlobMatcher};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use sudbox_tests::faults::{self, Fault, KERNELS};
use sudbox_tests::findings::{self, Findings, Mutants, Noticed};
use sudbox_tests::mutants::{self, Mutant};
use sudbox_tests::{Tree, listed_cases, run, series_and_arch, sudbox, sudbox_run};

/// Seconds after which a boot is a hang; a case has a sixth. Half of what people get, because
/// here hangs are the rule.
const TIMEOUT: &str = "30";

/// Cases that meet a mutant, until one notices: a kernel that is broken altogether fails the first
/// few in a moment, and would take a minute for all.
const LOOKS: [&str; 3] = ["boot,siginfo/number,selector/flips,range/everything", "core", "all"];

/// What became of a broken kernel.
enum Judged {
    /// Outcome by case.
    Outcomes(BTreeMap<String, String>),
    /// There is none: it does not build, or could not be judged; why.
    Not(String),
}

/// What a run finds, and what earlier ones found of the rest.
struct Trial {
    findings: Findings,
    /// What is wrong, one line each.
    wrong: Vec<String>,
}

impl Trial {
    fn wrong(&mut self, what: String) {
        println!("    FAILED {what}");
        self.wrong.push(what);
    }
}

fn main() {
    let chosen: Vec<GlobMatcher> = std::env::args()
        .skip(1)
        .map(|word| Glob::new(&word).expect("a glob").compile_matcher())
        .collect();
    let is_chosen = |kernel: &str, name: &str| {
        let name = format!("{kernel}/{name}");
        chosen.is_empty() || chosen.iter().any(|glob| glob.is_match(&name))
    };
    let faults = faults::all();
    let mut trial = Trial { findings: Findings::load(&faults), wrong: Vec::new() };
    for kernel in KERNELS {
        let chosen_faults: Vec<&Fault> = faults
            .iter()
            .filter(|fault| fault.kernels.iter().any(|k| k == kernel))
            .filter(|fault| is_chosen(kernel, fault.name()))
            .collect();
        // What they change is the same code on every architecture.
        let mutants = is_own(kernel) && is_chosen(kernel, "mutants");
        if chosen_faults.is_empty() && !mutants {
            continue;
        }
        let tree = Tree::of(kernel);
        if is_own(kernel) {
            tree.add_selftests(kernel);
        }
        sound(&tree, kernel, &mut trial);
        for fault in chosen_faults {
            one_fault(&tree, kernel, fault, &mut trial);
            trial.findings.store(&faults);
        }
        if mutants {
            all_mutants(&tree, kernel, &mut trial);
            trial.findings.store(&faults);
        }
        // What was broken is whole again.
        sound(&tree, kernel, &mut trial);
    }
    if chosen.is_empty() {
        unused(&mut trial);
        never_failed(&mut trial);
    }
    println!(
        "{} faults, {} mutants, {} cases seen to fail, {} failures",
        trial.findings.faults.len(),
        trial.findings.mutants.values().map(|mutants| mutants.all).sum::<usize>(),
        trial.findings.seen().len(),
        trial.wrong.len()
    );
    for what in &trial.wrong {
        println!("    FAILED {what}");
    }
    std::process::exit(i32::from(!trial.wrong.is_empty()));
}

/// Whether a kernel is one of x86-64, for which the kernel's own selftests are built.
fn is_own(kernel: &str) -> bool {
    series_and_arch(kernel).1 == "x86_64"
}

/// Judges the kernel in the tree.
fn judge(tree: &Tree, cases: &str, arguments: &[&str]) -> Judged {
    let mut words = vec![tree.argument(), "--arch", tree.arch(), "--timeout", TIMEOUT];
    words.extend(["--cases", cases]);
    words.extend(arguments);
    let ran = run(sudbox_run(&words));
    if [0, 1].contains(&ran.code) {
        return Judged::Outcomes(ran.outcomes());
    }
    let why = ran.stderr.lines().filter(|line| !line.starts_with("      ")).collect::<Vec<_>>();
    Judged::Not(format!("exit code {}: {}", ran.code, why.join(" | ")))
}

/// The cases by which a kernel is known to be broken.
fn noticed(outcomes: &BTreeMap<String, String>) -> BTreeSet<String> {
    outcomes
        .iter()
        .filter(|(_, outcome)| ["fail", "crash", "hang"].contains(&outcome.as_str()))
        .map(|(id, _)| id.clone())
        .collect()
}

/// The tree as it was released: no case may fail.
fn sound(tree: &Tree, kernel: &str, trial: &mut Trial) {
    match judge(tree, "all", &[]) {
        Judged::Outcomes(outcomes) if noticed(&outcomes).is_empty() => {
            println!("{kernel} as released: {} cases, none fails", outcomes.len());
            // A recorded bug of a released kernel is a failure that was seen.
            let known = outcomes.into_iter().filter(|(_, outcome)| outcome == "known");
            trial.findings.known.insert(kernel.to_owned(), known.map(|(id, _)| id).collect());
        }
        Judged::Outcomes(outcomes) => {
            trial.wrong(format!("{kernel} as released: {:?}", noticed(&outcomes)));
        }
        Judged::Not(why) => trial.wrong(format!("{kernel} as released: {why}")),
    }
}

/// Applies one patch, and demands that its cases fail.
fn one_fault(tree: &Tree, kernel: &str, fault: &Fault, trial: &mut Trial) {
    let began = Instant::now();
    let name = format!("{kernel} {}", fault.name());
    if let Err(why) = tree.try_apply(&fault.patch) {
        trial.wrong(format!("{name}: {why}"));
        tree.reset();
        return;
    }
    let arguments: Vec<&str> = fault.run.iter().map(String::as_str).collect();
    let judged = judge(tree, &fault.cases.join(","), &arguments);
    let selftests = is_own(kernel).then(|| selftests_notice(tree, &arguments)).transpose();
    tree.reset();
    match judged {
        Judged::Not(why) => trial.wrong(format!("{name}: {why}")),
        Judged::Outcomes(outcomes) => {
            let by = noticed(&outcomes);
            let selftests = selftests.unwrap_or_else(|why| {
                trial.wrong(format!("{name}: {why}"));
                None
            });
            let own = if selftests == Some(true) { ", and its own selftests" } else { "" };
            println!("{name}: {by:?}{own} in {:.0} s", began.elapsed().as_secs_f32());
            for wanted in &fault.cases {
                let glob = Glob::new(wanted).expect("a glob").compile_matcher();
                if !by.iter().any(|id| glob.is_match(id)) {
                    trial.wrong(format!("{name}: {wanted} does not notice"));
                }
            }
            let kernels = trial.findings.faults.entry(fault.name().to_owned()).or_default();
            kernels.insert(kernel.to_owned(), Noticed { cases: by, selftests });
        }
    }
}

/// Builds the kernel with all mutants, and demands that some case notices each.
fn all_mutants(tree: &Tree, kernel: &str, trial: &mut Trial) {
    let mutants = mutants::plant(tree, kernel);
    let equivalents = mutants::equivalents();
    let mut found = Mutants { all: mutants.len(), ..Mutants::default() };
    match judge(tree, "all", &["--append", "sudbox_mutant=0"]) {
        Judged::Outcomes(outcomes) if noticed(&outcomes).is_empty() => {}
        Judged::Outcomes(outcomes) => {
            trial.wrong(format!("{kernel} without mutant: {:?}", noticed(&outcomes)));
        }
        Judged::Not(why) => trial.wrong(format!("{kernel} with mutants: {why}")),
    }
    for mutant in mutants {
        let append = format!("sudbox_mutant={}", mutant.number);
        let name = format!("{kernel} mutant {}, {mutant}", mutant.number);
        let reason = equivalents.iter().find(|entry| entry.is(&mutant));
        let judged = LOOKS
            .iter()
            .map(|cases| judge(tree, cases, &["--append", &append]))
            .find(|judged| match judged {
                Judged::Outcomes(outcomes) => !noticed(outcomes).is_empty(),
                Judged::Not(_) => true,
            })
            .unwrap_or_else(|| Judged::Outcomes(BTreeMap::new()));
        match judged {
            Judged::Not(why) => trial.wrong(format!("{name}: {why}")),
            Judged::Outcomes(outcomes) => {
                let by = noticed(&outcomes);
                let selftests = selftests_notice(tree, &["--append", &append]);
                let selftests = selftests.unwrap_or_else(|why| {
                    trial.wrong(format!("{name}: {why}"));
                    false
                });
                found.selftests += usize::from(selftests);
                let own = if selftests { ", and its own selftests" } else { "" };
                println!("{name}: {by:?}{own}");
                match (by.is_empty(), reason) {
                    (true, None) => trial.wrong(format!("{name}: survives")),
                    (true, Some(_)) => found.survivors.push(mutant),
                    (false, Some(_)) => trial.wrong(format!("{name}: noticed by {by:?}")),
                    (false, None) => found.noticed += 1,
                }
                found.cases.extend(by);
            }
        }
    }
    tree.reset();
    trial.findings.mutants.insert(kernel.to_owned(), found);
}

/// Whether the kernel's own selftests of dispatch notice: one of them fails, or does not end, or
/// the kernel does not bear it.
fn selftests_notice(tree: &Tree, arguments: &[&str]) -> Result<bool, String> {
    let mut command = sudbox();
    command.arg("kselftest").args(arguments).arg(tree.argument());
    let ran = run(command);
    match ran.code {
        0 => Ok(false),
        1 | 125 => Ok(true),
        code => Err(format!("its selftests: exit code {code}: {}", ran.stderr)),
    }
}

/// Whatever is said of a mutant that there is not.
fn unused(trial: &mut Trial) {
    let mutants = trial.findings.mutants.values();
    let survivors: Vec<Mutant> = mutants.flat_map(|mutants| mutants.survivors.clone()).collect();
    for entry in mutants::equivalents() {
        if !survivors.iter().any(|mutant| entry.is(mutant)) {
            trial.wrong(format!("equivalent.txt speaks of no mutant that survives: {entry:?}"));
        }
    }
}

/// Every case must have been seen to fail, or be named as one that is not, with the reason.
fn never_failed(trial: &mut Trial) {
    let cases = listed_cases();
    let reasons = findings::never_failed();
    let seen: BTreeSet<String> = trial.findings.seen().into_iter().map(str::to_owned).collect();
    for case in cases.difference(&seen) {
        match reasons.get(case) {
            Some(reason) => println!("never seen to fail: {case}: {reason}"),
            None => trial.wrong(format!("never seen to fail: {case}")),
        }
    }
    for case in reasons.keys().filter(|case| seen.contains(*case) || !cases.contains(*case)) {
        trial.wrong(format!("never-failed.txt: {case} has failed, or is no case"));
    }
}
