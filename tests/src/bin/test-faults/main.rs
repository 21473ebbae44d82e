// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checks that cases fail on broken kernels: on kernels with a patch of `tests/faults/`, and on kernels
//! with a mutant of the dispatch code or of the signal code around it ([`sudbox_tests::mutants`]).
//!
//! Run by `make test-faults`; `FAULTS=` takes globs over `KERNEL/FAULT`, `KERNEL/mutants`,
//! `KERNEL/pairs`, pairs of mutants that are active at once, `KERNEL/signal-mutants/FILE`, and
//! `KERNEL/signal-survivors/FILE`, the mutants of that file that no case has noticed yet. The results are
//! stored and shown in `docs/faults.md` ([`sudbox_tests::findings`]).

mod signal_mutants;

use globset::{Glob, GlobMatcher};
use signal_mutants::Chosen;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use sudbox_tests::faults::{self, Fault, KERNELS};
use sudbox_tests::findings::{self, Findings, MutantPairs, Mutants, Noticed};
use sudbox_tests::mutants::{self, Family, Mutant};
use sudbox_tests::{Tree, failed_cases, listed_cases, run, series_and_arch, sudbox, sudbox_run};

/// Value of `--timeout` in seconds: half of the default, because many broken kernels hang.
const TIMEOUT: &str = "30";

/// The kernel whose mutants are tried in pairs.
const PAIRS_KERNEL: &str = "7.3";

/// Selections of cases to run on a mutant, one after the other until a case fails. Most mutants fail
/// the first few cases within a second; all cases would take a minute.
const CASE_SELECTIONS: [&str; 3] =
    ["boot,siginfo/number,selector/flips,range/everything", "core", "all"];

/// The result of running cases on a kernel.
enum JudgedKernel {
    /// Outcome by case id.
    Outcomes(BTreeMap<String, String>),
    /// The kernel does not build or could not be judged, with the reason.
    NotJudged(String),
}

/// The state of this run.
struct FaultRun {
    /// Results of this run and, for faults that are not selected, of earlier runs.
    findings: Findings,
    /// Failures of this run, one line each.
    failures: Vec<String>,
}

impl FaultRun {
    /// Records and prints a failure.
    fn add_failure(&mut self, description: String) {
        println!("    FAILED {description}");
        self.failures.push(description);
    }
}

fn main() {
    let globs: Vec<GlobMatcher> = std::env::args()
        .skip(1)
        .map(|word| Glob::new(&word).expect("a glob").compile_matcher())
        .collect();
    let is_selected = |kernel: &str, name: &str| {
        let name = format!("{kernel}/{name}");
        globs.is_empty() || globs.iter().any(|glob| glob.is_match(&name))
    };
    let faults = faults::all();
    let names: Vec<String> = faults
        .iter()
        .flat_map(|fault| fault.kernels.iter().map(|kernel| format!("{kernel}/{}", fault.name())))
        .chain(KERNELS.iter().map(|kernel| format!("{kernel}/mutants")))
        .chain([format!("{PAIRS_KERNEL}/pairs")])
        .chain(signal_mutants::KERNELS.iter().flat_map(|kernel| {
            let files = Family::Signals.files(kernel).into_iter();
            files.flat_map(move |file| {
                [signal_mutants_of(file), signal_survivors_of(file)]
                    .map(|name| format!("{kernel}/{name}"))
            })
        }))
        .collect();
    if let Some(glob) = globs.iter().find(|glob| !names.iter().any(|name| glob.is_match(name))) {
        eprintln!(
            "{}: no KERNEL/FAULT, KERNEL/mutants, KERNEL/pairs, KERNEL/signal-mutants/FILE or \
             KERNEL/signal-survivors/FILE matches",
            glob.glob()
        );
        std::process::exit(2);
    }
    let mut fault_run = FaultRun { findings: Findings::load(&faults), failures: Vec::new() };
    for kernel in KERNELS {
        let selected_faults: Vec<&Fault> = faults
            .iter()
            .filter(|fault| fault.kernels.iter().any(|k| k == kernel))
            .filter(|fault| is_selected(kernel, fault.name()))
            .collect();
        // The mutated code is the same on every architecture.
        let mutants = is_x86_64(kernel) && is_selected(kernel, "mutants");
        let pairs = kernel == PAIRS_KERNEL && is_selected(kernel, "pairs");
        let signal_files = match signal_mutants::KERNELS.contains(&kernel) {
            true => Family::Signals.files(kernel),
            false => Vec::new(),
        };
        let chosen_mutants = |file: &str| match () {
            // Without globs the results of earlier runs are completed.
            () if !globs.is_empty() && is_selected(kernel, &signal_mutants_of(file)) => {
                Some(Chosen::All)
            }
            () if is_selected(kernel, &signal_survivors_of(file)) => Some(Chosen::NotNoticed),
            () => None,
        };
        let signal_files: Vec<(&str, Chosen)> = signal_files
            .into_iter()
            .filter_map(|file| Some((file, chosen_mutants(file)?)))
            .collect();
        if selected_faults.is_empty() && !mutants && !pairs && signal_files.is_empty() {
            continue;
        }
        let tree = Tree::wait_for(kernel);
        if is_x86_64(kernel) {
            tree.add_selftests(kernel);
        }
        check_unbroken(&tree, kernel, &mut fault_run);
        for fault in selected_faults {
            try_fault(&tree, kernel, fault, &mut fault_run);
            fault_run.findings.store(&faults);
        }
        if mutants {
            try_mutants(&tree, kernel, &mut fault_run);
            fault_run.findings.store(&faults);
        }
        if pairs {
            try_pairs(&tree, kernel, &mut fault_run);
            fault_run.findings.store(&faults);
        }
        if !signal_files.is_empty() {
            signal_mutants::try_files(&tree, kernel, &signal_files, &faults, &mut fault_run);
        }
        // The tree must be unbroken again after the faults.
        check_unbroken(&tree, kernel, &mut fault_run);
    }
    if globs.is_empty() {
        check_equivalents(&mut fault_run);
        check_never_failed(&mut fault_run);
    }
    println!(
        "{} faults, {} mutants, {} cases seen to fail, {} failures",
        fault_run.findings.faults.len(),
        fault_run.findings.count_mutants(),
        fault_run.findings.failed_cases().len(),
        fault_run.failures.len()
    );
    for description in &fault_run.failures {
        println!("    FAILED {description}");
    }
    std::process::exit(i32::from(!fault_run.failures.is_empty()));
}

/// Whether a kernel is for x86-64. Selftests of the kernel run only on x86-64.
fn is_x86_64(kernel: &str) -> bool {
    series_and_arch(kernel).1 == "x86_64"
}

/// Name of the mutants of a file of the signal code.
fn signal_mutants_of(file: &str) -> String {
    format!("signal-mutants/{file}")
}

/// Name of the mutants of a file of the signal code that no case has noticed yet.
fn signal_survivors_of(file: &str) -> String {
    format!("signal-survivors/{file}")
}

/// Runs cases on the kernel of the tree.
fn judge(tree: &Tree, cases: &str, arguments: &[&str]) -> JudgedKernel {
    let mut words = vec![tree.argument(), "--arch", tree.arch(), "--timeout", TIMEOUT];
    words.extend(["--cases", cases]);
    words.extend(arguments);
    let result = run(sudbox_run(&words));
    if [0, 1].contains(&result.code) {
        return JudgedKernel::Outcomes(result.outcomes());
    }
    let why = result.stderr.lines().filter(|line| !line.starts_with("      ")).collect::<Vec<_>>();
    JudgedKernel::NotJudged(format!("exit code {}: {}", result.code, why.join(" | ")))
}

/// Checks that no case fails on the unmodified tree.
fn check_unbroken(tree: &Tree, kernel: &str, fault_run: &mut FaultRun) {
    match judge(tree, "all", &[]) {
        JudgedKernel::Outcomes(outcomes) if failed_cases(&outcomes).is_empty() => {
            println!("{kernel} as released: {} cases, none fails", outcomes.len());
            // A case that fails by a recorded bug has been seen to fail.
            let known = outcomes.into_iter().filter(|(_, outcome)| outcome == "known");
            fault_run.findings.known.insert(kernel.to_owned(), known.map(|(id, _)| id).collect());
        }
        JudgedKernel::Outcomes(outcomes) => {
            fault_run.add_failure(format!("{kernel} as released: {:?}", failed_cases(&outcomes)));
        }
        JudgedKernel::NotJudged(why) => {
            fault_run.add_failure(format!("{kernel} as released: {why}"))
        }
    }
}

/// Applies one patch, and checks that its cases fail.
fn try_fault(tree: &Tree, kernel: &str, fault: &Fault, fault_run: &mut FaultRun) {
    let began = Instant::now();
    let name = format!("{kernel} {}", fault.name());
    if let Err(why) = tree.try_apply_fault(&fault.patch) {
        fault_run.add_failure(format!("{name}: {why}"));
        tree.reset();
        return;
    }
    let arguments: Vec<&str> = fault.run.iter().map(String::as_str).collect();
    let judged = judge(tree, &fault.cases.join(","), &arguments);
    let selftests = is_x86_64(kernel).then(|| selftests_notice(tree, &arguments)).transpose();
    tree.reset();
    match judged {
        JudgedKernel::NotJudged(why) => fault_run.add_failure(format!("{name}: {why}")),
        JudgedKernel::Outcomes(outcomes) => {
            let noticed_by = failed_cases(&outcomes);
            let selftests = selftests.unwrap_or_else(|why| {
                fault_run.add_failure(format!("{name}: {why}"));
                None
            });
            let suffix = if selftests == Some(true) { ", and its own selftests" } else { "" };
            println!("{name}: {noticed_by:?}{suffix} in {:.0} s", began.elapsed().as_secs_f32());
            for required_case in &fault.cases {
                let glob = Glob::new(required_case).expect("a glob").compile_matcher();
                if !noticed_by.iter().any(|id| glob.is_match(id)) {
                    fault_run.add_failure(format!("{name}: {required_case} does not notice"));
                }
            }
            let kernels = fault_run.findings.faults.entry(fault.name().to_owned()).or_default();
            kernels.insert(kernel.to_owned(), Noticed { cases: noticed_by, selftests });
        }
    }
}

/// As [`judge`]. Cases that hang are run once more if no other case fails: on a machine under load a case can
/// miss its deadline without a fault of the kernel.
fn judge_hangs_again(tree: &Tree, cases: &str, arguments: &[&str]) -> JudgedKernel {
    let judged = judge(tree, cases, arguments);
    let JudgedKernel::Outcomes(outcomes) = &judged else { return judged };
    let failed = failed_cases(outcomes);
    if failed.is_empty() || failed.iter().any(|id| outcomes[id] != "hang") {
        return judged;
    }
    let again: Vec<&str> = failed.iter().map(String::as_str).collect();
    judge(tree, &again.join(","), arguments)
}

/// Runs the selections of cases on the mutated kernel with these boot arguments, until a case fails.
fn judge_mutated(tree: &Tree, boot_arguments: &str, selections: &[&str]) -> JudgedKernel {
    selections
        .iter()
        .map(|cases| judge_hangs_again(tree, cases, &["--append", boot_arguments]))
        .find(|judged| match judged {
            JudgedKernel::Outcomes(outcomes) => !failed_cases(outcomes).is_empty(),
            JudgedKernel::NotJudged(_) => true,
        })
        .unwrap_or_else(|| JudgedKernel::Outcomes(BTreeMap::new()))
}

/// Checks that no case fails on the mutated kernel while no mutant is active.
fn check_without_mutant(tree: &Tree, kernel: &str, fault_run: &mut FaultRun) {
    match judge(tree, "all", &["--append", "sudbox_mutant=0 sudbox_second_mutant=0"]) {
        JudgedKernel::Outcomes(outcomes) if failed_cases(&outcomes).is_empty() => {}
        JudgedKernel::Outcomes(outcomes) => {
            fault_run
                .add_failure(format!("{kernel} without mutant: {:?}", failed_cases(&outcomes)));
        }
        JudgedKernel::NotJudged(why) => {
            fault_run.add_failure(format!("{kernel} with mutants: {why}"))
        }
    }
}

/// Builds the kernel with all mutants, and checks that a case fails on each pair of a sample.
fn try_pairs(tree: &Tree, kernel: &str, fault_run: &mut FaultRun) {
    let mutants = mutants::insert_all(tree, kernel, Family::Dispatch);
    let pairs = mutants::sample_pairs(&mutants);
    check_without_mutant(tree, kernel, fault_run);
    // The second boot argument alone must activate its mutant, or the pairs would be single mutants.
    let second = pairs[0][1].number;
    match judge_mutated(tree, &format!("sudbox_second_mutant={second}"), &CASE_SELECTIONS) {
        JudgedKernel::Outcomes(outcomes) if !failed_cases(&outcomes).is_empty() => {}
        _ => {
            fault_run.add_failure(format!("{kernel}: sudbox_second_mutant={second} breaks nothing"))
        }
    }
    let mut results = MutantPairs { all: pairs.len(), ..MutantPairs::default() };
    for [first, second] in pairs {
        let numbers = [first.number, second.number];
        let boot_arguments =
            format!("sudbox_mutant={} sudbox_second_mutant={}", numbers[0], numbers[1]);
        let name = format!("{kernel} mutants {numbers:?}, {first}; {second}");
        match judge_mutated(tree, &boot_arguments, &CASE_SELECTIONS) {
            JudgedKernel::NotJudged(why) => fault_run.add_failure(format!("{name}: {why}")),
            JudgedKernel::Outcomes(outcomes) => {
                let noticed_by = failed_cases(&outcomes);
                println!("{name}: {noticed_by:?}");
                if noticed_by.is_empty() {
                    fault_run.add_failure(format!("{name}: survives"));
                    results.survivors.push([first, second]);
                }
                results.cases.extend(noticed_by);
            }
        }
    }
    tree.reset();
    fault_run.findings.pairs.insert(kernel.to_owned(), results);
}

/// Builds the kernel with all mutants, and checks that a case fails on each that is not equivalent.
fn try_mutants(tree: &Tree, kernel: &str, fault_run: &mut FaultRun) {
    let mutants = mutants::insert_all(tree, kernel, Family::Dispatch);
    let equivalents = mutants::equivalents(Family::Dispatch);
    let mut results = Mutants { all: mutants.len(), ..Mutants::default() };
    check_without_mutant(tree, kernel, fault_run);
    for mutant in mutants {
        let append = format!("sudbox_mutant={}", mutant.number);
        let name = format!("{kernel} mutant {}, {mutant}", mutant.number);
        let reason = equivalents.iter().find(|entry| entry.matches(&mutant));
        match judge_mutated(tree, &append, &CASE_SELECTIONS) {
            JudgedKernel::NotJudged(why) => fault_run.add_failure(format!("{name}: {why}")),
            JudgedKernel::Outcomes(outcomes) => {
                let noticed_by = failed_cases(&outcomes);
                let selftests = selftests_notice(tree, &["--append", &append]);
                let selftests = selftests.unwrap_or_else(|why| {
                    fault_run.add_failure(format!("{name}: {why}"));
                    false
                });
                results.selftests += usize::from(selftests);
                let suffix = if selftests { ", and its own selftests" } else { "" };
                println!("{name}: {noticed_by:?}{suffix}");
                match (noticed_by.is_empty(), reason) {
                    (true, reason) => {
                        if reason.is_none() {
                            fault_run.add_failure(format!("{name}: survives"));
                        }
                        results.survivors.push(mutant);
                    }
                    (false, Some(_)) => {
                        fault_run.add_failure(format!("{name}: noticed by {noticed_by:?}"))
                    }
                    (false, None) => results.noticed += 1,
                }
                results.cases.extend(noticed_by);
            }
        }
    }
    tree.reset();
    fault_run.findings.mutants.insert(kernel.to_owned(), results);
}

/// Whether the kernel's own selftests of dispatch notice the fault: one fails or hangs, or the kernel
/// crashes.
fn selftests_notice(tree: &Tree, arguments: &[&str]) -> Result<bool, String> {
    let mut command = sudbox();
    command.arg("kselftest").args(arguments).arg(tree.argument());
    let result = run(command);
    match result.code {
        0 => Ok(false),
        1 => Ok(true),
        125 if !result.stderr.contains("it does not compile") => Ok(true),
        code => Err(format!("its selftests: exit code {code}: {}", result.stderr)),
    }
}

/// Checks that every entry of the lists of equivalent mutants describes a mutant that survived.
fn check_equivalents(fault_run: &mut FaultRun) {
    for family in [Family::Dispatch, Family::Signals] {
        let survivors: Vec<Mutant> = fault_run.findings.survivors(family).cloned().collect();
        for entry in mutants::equivalents(family) {
            if !survivors.iter().any(|mutant| entry.matches(mutant)) {
                fault_run.add_failure(format!(
                    "no mutant of {family:?} survives that matches {entry:?}"
                ));
            }
        }
    }
}

/// Checks that every case has failed on some kernel, or is listed with a reason in never-failed.txt.
fn check_never_failed(fault_run: &mut FaultRun) {
    let cases = listed_cases();
    let reasons = findings::never_failed();
    let failed: BTreeSet<String> =
        fault_run.findings.failed_cases().into_iter().map(str::to_owned).collect();
    for case in cases.difference(&failed) {
        match reasons.get(case) {
            Some(reason) => println!("never seen to fail: {case}: {reason}"),
            None => fault_run.add_failure(format!("never seen to fail: {case}")),
        }
    }
    for case in reasons.keys().filter(|case| failed.contains(*case) || !cases.contains(*case)) {
        fault_run.add_failure(format!("never-failed.txt: {case} has failed, or is no case"));
    }
}
