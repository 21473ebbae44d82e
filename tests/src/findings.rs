// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The results of `make test-faults`. They are stored in `tests/faults/findings.json`, so that a run of
//! a few faults keeps the results of the others. `docs/faults.md` is generated from the results.

use crate::faults::Fault;
use crate::mutants::{self, Family, Mutant};
use crate::root;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

const FINDINGS_FILE: &str = "tests/faults/findings.json";
const PAGE_FILE: &str = "docs/faults.md";

/// Results for all broken kernels.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Findings {
    /// By unmodified kernel, the cases with outcome `known`.
    pub known: BTreeMap<String, BTreeSet<String>>,
    /// By fault and kernel, the tests that noticed the fault.
    pub faults: BTreeMap<String, BTreeMap<String, Noticed>>,
    /// By kernel, the results of its mutants.
    pub mutants: BTreeMap<String, Mutants>,
    /// By kernel, the results of its pairs of mutants.
    pub pairs: BTreeMap<String, MutantPairs>,
    /// By kernel and file, the results of the mutants of its signal code.
    #[serde(default)]
    pub signal_mutants: BTreeMap<String, BTreeMap<String, SignalMutants>>,
}

/// The tests that noticed a fault.
#[derive(Debug, Serialize, Deserialize)]
pub struct Noticed {
    /// Cases that failed.
    pub cases: BTreeSet<String>,
    /// Whether the kernel's own selftests of dispatch failed; `None` if they were not run.
    pub selftests: Option<bool>,
}

/// Results of the mutants of a kernel.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Mutants {
    /// Number of mutants.
    pub all: usize,
    /// Number of mutants that a case noticed.
    pub noticed: usize,
    /// Number of mutants that the kernel's own selftests noticed.
    pub selftests: usize,
    /// Mutants that no case noticed.
    pub survivors: Vec<Mutant>,
    /// Cases that noticed a mutant.
    pub cases: BTreeSet<String>,
}

/// Results of the pairs of mutants of a kernel.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct MutantPairs {
    /// Number of pairs.
    pub all: usize,
    /// Pairs that no case noticed.
    pub survivors: Vec<[Mutant; 2]>,
    /// Cases that noticed a pair.
    pub cases: BTreeSet<String>,
}

/// Results of the mutants of a file of the signal code.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SignalMutants {
    /// Number of mutants.
    pub all: usize,
    /// Places, from 0, of the mutants without a verdict in the list of the file's mutants: they were not
    /// tried, or a case could not be prepared.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub untried: BTreeSet<usize>,
    /// Number of mutants that a case noticed.
    pub noticed: usize,
    /// Mutants that no case noticed.
    pub survivors: Vec<Mutant>,
    /// Cases that noticed a mutant.
    pub cases: BTreeSet<String>,
}

impl SignalMutants {
    /// The results before any of this number of mutants is tried.
    #[must_use]
    pub fn untried(all: usize) -> SignalMutants {
        SignalMutants { all, untried: (0..all).collect(), ..SignalMutants::default() }
    }

    /// The places of the mutants that no case has noticed, and of those without a verdict. `made` are the
    /// mutants of the file. `None` if the results are about other mutants.
    #[must_use]
    pub fn not_noticed(&self, made: &[Mutant]) -> Option<Vec<usize>> {
        let place = |survivor| made.iter().position(|mutant| mutant.is_same_change(survivor));
        let survivors: Option<Vec<usize>> = self.survivors.iter().map(place).collect();
        let places: Vec<usize> = survivors?.into_iter().chain(self.untried.clone()).collect();
        let counted = self.noticed + places.len();
        (self.all == made.len() && self.all == counted).then_some(places)
    }

    /// Adds the result of a mutant, which is at this place in the list of the file's mutants: the cases that
    /// noticed it, or `None` if there is no verdict.
    pub fn add(&mut self, place: usize, mutant: &Mutant, noticed_by: Option<BTreeSet<String>>) {
        self.survivors.retain(|other| !other.is_same_change(mutant));
        let Some(cases) = noticed_by else {
            self.untried.insert(place);
            return;
        };
        self.untried.remove(&place);
        if cases.is_empty() {
            self.survivors.push(mutant.clone());
        } else {
            self.noticed += 1;
            self.cases.extend(cases);
        }
        self.survivors.sort_by_key(|mutant| mutant.number);
    }
}

impl Findings {
    /// Loads the results of earlier runs, without those of faults that no longer exist.
    ///
    /// # Panics
    /// If the file cannot be read.
    #[must_use]
    pub fn load(faults: &[Fault]) -> Findings {
        let text = fs::read_to_string(root().join(FINDINGS_FILE)).expect(FINDINGS_FILE);
        let mut findings: Findings = serde_json::from_str(&text).expect(FINDINGS_FILE);
        findings.faults.retain(|name, kernels| {
            let fault = faults.iter().find(|fault| fault.name() == name);
            kernels.retain(|kernel, _| fault.is_some_and(|fault| fault.kernels.contains(kernel)));
            !kernels.is_empty()
        });
        findings
    }

    /// Stores the results and generates the page.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn store(&self, faults: &[Fault]) {
        let text = serde_json::to_string_pretty(self).expect("strings and numbers");
        fs::write(root().join(FINDINGS_FILE), text + "\n").expect(FINDINGS_FILE);
        fs::write(root().join(PAGE_FILE), self.render_page(faults)).expect(PAGE_FILE);
    }

    /// Number of mutants of all kernels, without pairs.
    #[must_use]
    pub fn count_mutants(&self) -> usize {
        let dispatch = self.mutants.values().map(|mutants| mutants.all);
        let signals = self.signal_mutants.values().flat_map(BTreeMap::values);
        dispatch.chain(signals.map(|mutants| mutants.all)).sum()
    }

    /// The mutants of a family that no case noticed, of all kernels.
    pub fn survivors(&self, family: Family) -> impl Iterator<Item = &Mutant> {
        let dispatch = self.mutants.values().map(|mutants| &mutants.survivors);
        let signals = self.signal_mutants.values().flat_map(BTreeMap::values);
        let signals = signals.map(|mutants| &mutants.survivors);
        let of_family: Vec<_> = match family {
            Family::Dispatch => dispatch.collect(),
            Family::Signals => signals.collect(),
        };
        of_family.into_iter().flatten()
    }

    /// The results of the mutants of a file of the signal code, if any were tried.
    #[must_use]
    pub fn signal_mutants_of(&self, kernel: &str, file: &str) -> Option<SignalMutants> {
        self.signal_mutants.get(kernel)?.get(file).cloned()
    }

    /// Cases that failed on some kernel.
    #[must_use]
    pub fn failed_cases(&self) -> BTreeSet<&str> {
        let faults = self.faults.values().flat_map(BTreeMap::values).map(|noticed| &noticed.cases);
        let mutants = self.mutants.values().map(|mutants| &mutants.cases);
        let pairs = self.pairs.values().map(|pairs| &pairs.cases);
        let signals = self.signal_mutants.values().flat_map(BTreeMap::values);
        faults
            .chain(mutants)
            .chain(signals.map(|mutants| &mutants.cases))
            .chain(pairs)
            .chain(self.known.values())
            .flatten()
            .map(String::as_str)
            .collect()
    }

    /// Number of faults that the kernel's own selftests noticed on some kernel.
    fn noticed_by_selftests(&self) -> usize {
        self.faults
            .values()
            .filter(|kernels| kernels.values().any(|noticed| noticed.selftests == Some(true)))
            .count()
    }

    /// The text of `docs/faults.md`.
    fn render_page(&self, faults: &[Fault]) -> String {
        let mut text = String::from(include_str!("findings-page.md"));
        let _ = write!(
            text,
            "\n## Faults\n\n{} of them; the kernel's own selftests of dispatch, `sud_test` and \
             `get_set_sud`, notice {}.\n\n| fault | what becomes of the promise | kernels | noticed \
             by | selftests |\n|---|---|---|---|---|\n",
            self.faults.len(),
            self.noticed_by_selftests(),
        );
        for (name, kernels) in &self.faults {
            let Some(fault) = faults.iter().find(|fault| fault.name() == name) else { continue };
            let cases: BTreeSet<&String> =
                kernels.values().flat_map(|noticed| &noticed.cases).collect();
            let cases: Vec<String> = cases.iter().map(|case| format!("`{case}`")).collect();
            let noticing_kernels: Vec<&str> = kernels
                .iter()
                .filter(|(_, noticed)| noticed.selftests == Some(true))
                .map(|(kernel, _)| kernel.as_str())
                .collect();
            let were_not_run = kernels.values().all(|noticed| noticed.selftests.is_none());
            let selftests_text = match noticing_kernels.len() {
                0 if were_not_run => "not asked".to_owned(),
                0 => "-".to_owned(),
                count if count == kernels.len() => "notice".to_owned(),
                _ => format!("notice on {}", noticing_kernels.join(", ")),
            };
            let kernels: Vec<&str> = kernels.keys().map(String::as_str).collect();
            let _ = writeln!(
                text,
                "| [{name}](../tests/faults/{}) | {} | {} | {} | {selftests_text} |",
                fault.patch,
                fault.description,
                kernels.join(" "),
                cases.join(" ")
            );
        }
        text.push_str(
            "\n## Mutants\n\n| kernel | mutants | noticed | equivalent | selftests notice |\n\
             |---|---|---|---|---|\n",
        );
        let equivalents = mutants::equivalents(Family::Dispatch);
        let is_equivalent =
            |mutant: &&Mutant| equivalents.iter().any(|entry| entry.matches(mutant));
        for (kernel, results) in &self.mutants {
            let Mutants { all, noticed, selftests, survivors, .. } = results;
            let _ = writeln!(
                text,
                "| {kernel} | {all} | {noticed} | {} | {selftests} |",
                survivors.iter().filter(is_equivalent).count()
            );
        }
        self.render_survivors(&mut text, Family::Dispatch);
        text.push_str("\n## Pairs of mutants\n\n");
        for (kernel, pairs) in &self.pairs {
            let MutantPairs { all, survivors, .. } = pairs;
            let noticed = all - survivors.len();
            let _ = writeln!(
                text,
                "Of {all} pairs of mutants of {kernel}, sampled by a seed, {noticed} are noticed. Both \
                 mutants of a pair are active at\nonce, in two places of the code that dispatches and \
                 the hooks of the entry code."
            );
            for [first, second] in survivors {
                let _ = writeln!(text, "\n- {first}; {second}");
            }
        }
        self.render_signal_mutants(&mut text);
        text.push_str("\n## Cases that nothing here makes fail\n\n");
        for (case, reason) in never_failed() {
            let _ = writeln!(text, "- `{case}`: {reason}");
        }
        text
    }

    /// Appends the mutants of a family that no case noticed, with the reasons of those that are equivalent.
    fn render_survivors(&self, text: &mut String, family: Family) {
        let equivalents = mutants::equivalents(family);
        let (mut explained, mut unexplained) = (String::new(), String::new());
        let mut listed = BTreeSet::new();
        for mutant in self.survivors(family) {
            if !listed.insert(mutant.to_string()) {
                continue;
            }
            let _ = match equivalents.iter().find(|entry| entry.matches(mutant)) {
                Some(entry) => writeln!(explained, "- {mutant}: {}", entry.reason),
                None => writeln!(unexplained, "- {mutant}"),
            };
        }
        let _ = write!(text, "\nEquivalent, so that no case can notice:\n\n{explained}");
        if !unexplained.is_empty() {
            let _ = write!(text, "\nNeither noticed nor known to be equivalent:\n\n{unexplained}");
        }
    }

    /// Appends the results of the mutants of the signal code.
    fn render_signal_mutants(&self, text: &mut String) {
        let equivalents = mutants::equivalents(Family::Signals);
        let is_equivalent =
            |mutant: &&Mutant| equivalents.iter().any(|entry| entry.matches(mutant));
        text.push_str(include_str!("findings-signals.md"));
        text.push_str(
            "\n| kernel | file | mutants | tried | noticed | equivalent | open |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for (kernel, files) in &self.signal_mutants {
            for (file, results) in files {
                let SignalMutants { all, untried, noticed, survivors, .. } = results;
                let equivalent = survivors.iter().filter(is_equivalent).count();
                let open = survivors.len() - equivalent;
                let _ = writeln!(
                    text,
                    "| {kernel} | `{file}` | {all} | {} | {noticed} | {equivalent} | {open} |",
                    all - untried.len()
                );
            }
        }
        self.render_survivors(text, Family::Signals);
    }
}

/// The cases that no fault makes fail, with the reason, from `tests/faults/never-failed.txt`.
///
/// # Panics
/// If the file cannot be read.
#[must_use]
pub fn never_failed() -> BTreeMap<String, String> {
    let file = root().join("tests/faults/never-failed.txt");
    let text = fs::read_to_string(&file).expect("never-failed.txt");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .map(|(case, reason)| (case.to_owned(), reason.to_owned()))
        .collect()
}
