// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checks that cases fail on the mutants of the signal code that a dispatched call passes.

use super::{FaultRun, JudgedKernel, check_without_mutant, judge_mutated};
use sudbox_tests::faults::Fault;
use sudbox_tests::findings::SignalMutants;
use sudbox_tests::mutants::{self, Equivalent, Family, Mutant};
use sudbox_tests::{Tree, failed_cases};

/// The kernels whose signal code is mutated.
pub(crate) const KERNELS: [&str; 1] = ["7.3"];

/// A few cases that use 64-bit and 32-bit frames. Most mutants of frames fail them.
const FRAMES: &str =
    "boot,registers/general-kept,siginfo/number,signals/alternate-stack,entries/int80-32";

/// The cases that a mutant is asked about last, because they take as long as all others together.
const LONG_CASES: &str = "conserve,grid,stress";

/// The selections of cases for a mutant of a file, one after the other until a case fails. The first
/// ones are the cases that look at what the file's code writes.
fn selections_of(file: &str) -> Vec<String> {
    let first: &[&str] = match file {
        "fs/binfmt_elf.c" => &["boot,signals/core-tells,compare/*-death"],
        "kernel/seccomp.c" => &["boot,seccomp"],
        "kernel/ptrace.c" => &["boot,ptrace,compare/*-stops"],
        "kernel/signal.c" => &[
            FRAMES,
            "boot,signals,siginfo,restart,ptrace,compare/trap*,compare/queued*,compare/frame-32",
        ],
        _ => &[
            FRAMES,
            "boot,signals,registers,restart,compare/trap*,compare/queued,compare/other-signal,\
             compare/frame-32,compare/int80-trap",
        ],
    };
    let excluded: Vec<String> = first
        .last()
        .into_iter()
        .flat_map(|words| words.split(','))
        .filter(|word| *word != "boot")
        .chain(LONG_CASES.split(','))
        .map(|word| format!("!{word}"))
        .collect();
    first
        .iter()
        .map(|&words| words.to_owned())
        .chain([format!("all,{}", excluded.join(",")), format!("boot,{LONG_CASES}")])
        .collect()
}

/// The mutants of a file that are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// All, as if none had been tried.
    All,
    /// Those that no case of earlier runs noticed, and those that were not tried.
    NotNoticed,
}

/// Builds the kernel with all mutants of the signal code, and checks that a case fails on each chosen mutant
/// of these files that is not equivalent. Mutants are tried in an order by a seed, and results are stored
/// after each, so that the mutants tried before an interruption are a sample of the file.
pub(crate) fn try_files(
    tree: &Tree,
    kernel: &str,
    files: &[(&str, Chosen)],
    faults: &[Fault],
    fault_run: &mut FaultRun,
) {
    let all = mutants::insert_all(tree, kernel, Family::Signals);
    let equivalents = mutants::equivalents(Family::Signals);
    check_without_mutant(tree, kernel, fault_run);
    for (file, chosen) in files {
        let made: Vec<Mutant> = all.iter().filter(|m| m.file() == *file).cloned().collect();
        let before = match chosen {
            Chosen::All => None,
            Chosen::NotNoticed => fault_run.findings.signal_mutants_of(kernel, file),
        };
        let mut found = before.unwrap_or_else(|| SignalMutants::untried(made.len()));
        let Some(mut places) = found.not_noticed(&made) else {
            fault_run
                .add_failure(format!("{kernel} {file} has other mutants now: try all of them"));
            continue;
        };
        mutants::shuffle(&mut places);
        let selections = selections_of(file);
        let selections: Vec<&str> = selections.iter().map(String::as_str).collect();
        for place in places {
            let mutant = &made[place];
            let append = format!("sudbox_mutant={}", mutant.number);
            let name = format!("{kernel} signal mutant {}, {mutant}", mutant.number);
            match judge_mutated(tree, &append, &selections) {
                JudgedKernel::NotJudged(why) => {
                    fault_run.add_failure(format!("{name}: {why}"));
                    found.add(place, mutant, None);
                }
                JudgedKernel::Outcomes(outcomes) => {
                    let noticed_by = failed_cases(&outcomes);
                    println!("{name}: {noticed_by:?}");
                    let reason = equivalents.iter().find(|entry| entry.matches(mutant));
                    if let Some(what) = contradiction(noticed_by.is_empty(), reason) {
                        fault_run.add_failure(format!("{name}: {what}"));
                    }
                    found.add(place, mutant, Some(noticed_by));
                }
            }
            let of_kernel = fault_run.findings.signal_mutants.entry(kernel.to_owned()).or_default();
            of_kernel.insert((*file).to_owned(), found.clone());
            fault_run.findings.store(faults);
        }
    }
    tree.reset();
}

/// The failure if a mutant survives without a reason, or is noticed though it has one.
fn contradiction(survives: bool, reason: Option<&Equivalent>) -> Option<&'static str> {
    match (survives, reason) {
        (true, None) => Some("survives"),
        (false, Some(_)) => Some("is noticed, though it is called equivalent"),
        _ => None,
    }
}
