// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the broken kernels have shown, kept in `tests/faults/findings.json` from run to run, so that
//! a few faults can be tried again without the rest; `docs/faults.md` is made from it.

use crate::faults::Fault;
use crate::mutants::{self, Mutant};
use crate::root;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

const FILE: &str = "tests/faults/findings.json";
const PAGE: &str = "docs/faults.md";

/// What is known of the broken kernels.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Findings {
    /// By kernel, the cases that fail as a recorded bug of it says.
    pub known: BTreeMap<String, BTreeSet<String>>,
    /// By fault and kernel, who noticed.
    pub faults: BTreeMap<String, BTreeMap<String, Noticed>>,
    /// By kernel, what became of its mutants.
    pub mutants: BTreeMap<String, Mutants>,
}

/// Who noticed a fault.
#[derive(Debug, Serialize, Deserialize)]
pub struct Noticed {
    /// Cases of ours, of those that were asked.
    pub cases: BTreeSet<String>,
    /// Whether the kernel's own selftests of dispatch did, where they were asked.
    pub selftests: Option<bool>,
}

/// What became of the mutants of a kernel.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Mutants {
    /// How many there are.
    pub all: usize,
    /// How many a case noticed.
    pub noticed: usize,
    /// How many the kernel's own selftests noticed.
    pub selftests: usize,
    /// Those that no case noticed.
    pub survivors: Vec<Mutant>,
    /// Cases that noticed one.
    pub cases: BTreeSet<String>,
}

impl Findings {
    /// What earlier runs found of faults that there still are.
    ///
    /// # Panics
    /// If the file cannot be read.
    #[must_use]
    pub fn load(faults: &[Fault]) -> Findings {
        let text = fs::read_to_string(root().join(FILE)).expect(FILE);
        let mut findings: Findings = serde_json::from_str(&text).expect(FILE);
        findings.faults.retain(|name, kernels| {
            let fault = faults.iter().find(|fault| fault.name() == name);
            kernels.retain(|kernel, _| fault.is_some_and(|fault| fault.kernels.contains(kernel)));
            !kernels.is_empty()
        });
        findings
    }

    /// Keeps them, and writes the page.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn store(&self, faults: &[Fault]) {
        let text = serde_json::to_string_pretty(self).expect("strings and numbers");
        fs::write(root().join(FILE), text + "\n").expect(FILE);
        fs::write(root().join(PAGE), self.page(faults)).expect(PAGE);
    }

    /// Cases that were seen to fail, on any kernel.
    #[must_use]
    pub fn seen(&self) -> BTreeSet<&str> {
        let faults = self.faults.values().flat_map(BTreeMap::values).map(|noticed| &noticed.cases);
        let mutants = self.mutants.values().map(|mutants| &mutants.cases);
        faults.chain(mutants).chain(self.known.values()).flatten().map(String::as_str).collect()
    }

    /// How many faults the kernel's own selftests noticed on some kernel.
    fn by_selftests(&self) -> usize {
        self.faults
            .values()
            .filter(|kernels| kernels.values().any(|by| by.selftests == Some(true)))
            .count()
    }

    fn page(&self, faults: &[Fault]) -> String {
        let mut text = String::from(include_str!("findings-page.md"));
        let _ = write!(
            text,
            "\n## Faults\n\n{} of them; the kernel's own selftests of dispatch, `sud_test` and \
             `get_set_sud`, notice {}.\n\n| fault | what becomes of the promise | kernels | noticed \
             by | selftests |\n|---|---|---|---|---|\n",
            self.faults.len(),
            self.by_selftests(),
        );
        for (name, kernels) in &self.faults {
            let Some(fault) = faults.iter().find(|fault| fault.name() == name) else { continue };
            let by: BTreeSet<&String> = kernels.values().flat_map(|by| &by.cases).collect();
            let by: Vec<String> = by.iter().map(|case| format!("`{case}`")).collect();
            let own: Vec<&str> = kernels
                .iter()
                .filter(|(_, by)| by.selftests == Some(true))
                .map(|(kernel, _)| kernel.as_str())
                .collect();
            let own = match own.len() {
                0 if kernels.values().all(|by| by.selftests.is_none()) => "not asked".to_owned(),
                0 => "-".to_owned(),
                all if all == kernels.len() => "notice".to_owned(),
                _ => format!("notice on {}", own.join(", ")),
            };
            let kernels: Vec<&str> = kernels.keys().map(String::as_str).collect();
            let _ = writeln!(
                text,
                "| [{name}](../tests/faults/{}) | {} | {} | {} | {own} |",
                fault.patch,
                fault.says,
                kernels.join(" "),
                by.join(" ")
            );
        }
        text.push_str(
            "\n## Mutants\n\n| kernel | mutants | noticed | equivalent | selftests notice |\n\
             |---|---|---|---|---|\n",
        );
        for (kernel, found) in &self.mutants {
            let Mutants { all, noticed, selftests, survivors, .. } = found;
            let _ = writeln!(
                text,
                "| {kernel} | {all} | {noticed} | {} | {selftests} |",
                survivors.len()
            );
        }
        text.push_str("\nEquivalent, so that no case can notice:\n\n");
        let equivalents = mutants::equivalents();
        let mut told = BTreeSet::new();
        for mutant in self.mutants.values().flat_map(|mutants| &mutants.survivors) {
            if told.insert(mutant.to_string())
                && let Some(entry) = equivalents.iter().find(|entry| entry.is(mutant))
            {
                let _ = writeln!(text, "- {mutant}: {}", entry.reason);
            }
        }
        text.push_str("\n## Cases that nothing here makes fail\n\n");
        for (case, reason) in never_failed() {
            let _ = writeln!(text, "- `{case}`: {reason}");
        }
        text
    }
}

/// The cases that nothing makes fail, and why: `tests/faults/never-failed.txt`.
///
/// # Panics
/// If it cannot be read.
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
