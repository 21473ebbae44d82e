// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mutants of the kernel's dispatch code, and of the signal code around it, made by rules: negated
//! conditions, dropped statements, values off by one, replaced operators, constants and operands.
//!
//! One kernel contains all mutants of a family: each condition or statement becomes an expression that selects
//! the original or one of its mutants. The boot argument `sudbox_mutant=N` selects a mutant, and
//! `sudbox_second_mutant=M` one more, so that trying a mutant or a pair costs a boot and not a build.

mod code;
mod sections;

use crate::Tree;
use crate::root;
use sections::{DISPATCH_SECTIONS, MutatedSection, SIGNAL_SECTIONS};
use serde::{Deserialize, Serialize};
use std::fs;

const DISPATCH: &str = "kernel/entry/syscall_user_dispatch.c";

/// A family of mutants, which share a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The dispatch code, and the lines about dispatch in other files.
    Dispatch,
    /// The code of signals, frames, core dumps, seccomp and ptrace that a dispatched call passes.
    Signals,
}

impl Family {
    fn sections(self) -> &'static [MutatedSection] {
        match self {
            Family::Dispatch => DISPATCH_SECTIONS,
            Family::Signals => SIGNAL_SECTIONS,
        }
    }

    /// The file in `tests/faults/` that lists the equivalent mutants.
    #[must_use]
    pub fn equivalents_file(self) -> &'static str {
        match self {
            Family::Dispatch => "equivalent.txt",
            Family::Signals => "equivalent-signals.txt",
        }
    }

    /// The mutated files of a kernel, in the order of their mutants.
    #[must_use]
    pub fn files(self, kernel: &str) -> Vec<&'static str> {
        let sections = self.sections().iter().filter(|section| section.kernels.contains(&kernel));
        let mut files: Vec<&str> = sections.map(|section| section.file).collect();
        files.dedup();
        files
    }
}

/// C code, inserted at the start of each file with mutants. Some of the files include others.
const DECLARATIONS: &str = "#ifndef SUDBOX_MUTANTS
#define SUDBOX_MUTANTS
extern int sudbox_mutant, sudbox_second_mutant;
#define sudbox_is_mutant(number) (sudbox_mutant == (number) || sudbox_second_mutant == (number))
#endif
";

/// C code, appended to the dispatch code, that parses the boot arguments.
const BOOT_ARGUMENTS: &str = "
#include <linux/init.h>
#include <linux/kstrtox.h>

int sudbox_mutant;
int sudbox_second_mutant;

static int __init sudbox_mutant_setup(char *number)
{
	return !kstrtoint(number, 10, &sudbox_mutant);
}
__setup(\"sudbox_mutant=\", sudbox_mutant_setup);

static int __init sudbox_second_mutant_setup(char *number)
{
	return !kstrtoint(number, 10, &sudbox_second_mutant);
}
__setup(\"sudbox_second_mutant=\", sudbox_second_mutant_setup);
";

/// The files whose mutants are paired.
const PAIRED_FILES: [&str; 3] =
    [DISPATCH, "include/linux/entry-common.h", "include/linux/syscall_user_dispatch.h"];

/// One mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutant {
    /// Value of `sudbox_mutant=`.
    pub number: usize,
    /// File in the tree, followed by `, place N` for the N-th equal mutant of a file, from the second.
    pub place: String,
    /// The original condition or statement.
    #[serde(rename = "was")]
    pub original: String,
    /// The code in its place; empty if the statement is dropped.
    #[serde(rename = "is")]
    pub replacement: String,
}

impl Mutant {
    /// The mutated file.
    #[must_use]
    pub fn file(&self) -> &str {
        self.place.split_once(',').map_or(self.place.as_str(), |(file, _)| file)
    }

    /// Whether another mutant is the same change of the same place, whatever its number.
    #[must_use]
    pub fn is_same_change(&self, other: &Mutant) -> bool {
        (&self.place, &self.original, &self.replacement)
            == (&other.place, &other.original, &other.replacement)
    }
}

impl std::fmt::Display for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let new = if self.replacement.is_empty() { "nothing" } else { &self.replacement };
        write!(f, "{}: `{}` becomes `{new}`", self.place, self.original)
    }
}

/// Inserts all mutants of a family into the tree of a kernel, and returns them.
///
/// # Panics
/// If a section to mutate is not in its file.
#[must_use]
pub fn insert_all(tree: &Tree, kernel: &str, family: Family) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for file in family.files(kernel) {
        let sections = family
            .sections()
            .iter()
            .filter(|section| section.file == file && section.kernels.contains(&kernel));
        tree.edit(file, |text| {
            let mut out = DECLARATIONS.to_owned();
            let mut rest = text;
            for section in sections {
                let begin = rest.find(section.from);
                let begin = begin.unwrap_or_else(|| panic!("{file} without {:?}", section.from));
                let length = match section.to {
                    "" => Some(rest.len() - begin),
                    to => rest[begin..].find(to),
                };
                let end =
                    begin + length.unwrap_or_else(|| panic!("{file} without {:?}", section.to));
                out.push_str(&rest[..begin]);
                out.push_str(&code::mutate(&rest[begin..end], file, family, &mut mutants));
                rest = &rest[end..];
            }
            out.push_str(rest);
            out
        });
    }
    tree.edit(DISPATCH, |text| text.to_owned() + BOOT_ARGUMENTS);
    mutants
}

/// The number of pairs that are sampled.
const PAIRS: usize = 120;
/// The seed of the sample. Another one tries other pairs.
const PAIRS_SEED: u64 = 1;

/// A sample of pairs of mutants in the code that dispatches and in the hooks of the entry code, each of
/// two places. Neither mutant of a pair is equivalent to the original.
#[must_use]
pub fn sample_pairs(mutants: &[Mutant]) -> Vec<[Mutant; 2]> {
    let equivalents = equivalents(Family::Dispatch);
    let mutants: Vec<&Mutant> = mutants
        .iter()
        .filter(|mutant| PAIRED_FILES.iter().any(|file| mutant.place.starts_with(file)))
        .filter(|mutant| !equivalents.iter().any(|entry| entry.matches(mutant)))
        .collect();
    let mut random = fastrand::Rng::with_seed(PAIRS_SEED);
    let mut pairs = Vec::new();
    while pairs.len() < PAIRS {
        let [first, second] =
            std::array::from_fn(|_| mutants[random.usize(..mutants.len())].clone());
        let is_new = |pair: &[Mutant; 2]| pair[0] != first || pair[1] != second;
        let has_two_places = first.number < second.number
            && (&first.place, &first.original) != (&second.place, &second.original);
        if has_two_places && pairs.iter().all(is_new) {
            pairs.push([first, second]);
        }
    }
    pairs
}

/// The seed of the order in which the mutants of a file are tried.
const ORDER_SEED: u64 = 1;

/// Brings mutants into an order by a seed, so that the first ones are a sample of all.
pub fn shuffle<T>(mutants: &mut [T]) {
    fastrand::Rng::with_seed(ORDER_SEED).shuffle(mutants);
}

/// A mutant that behaves like the original, so that no case can notice it.
#[derive(Clone, Debug)]
pub struct Equivalent {
    place: String,
    original: String,
    replacement: String,
    /// The reason why the mutant is no fault.
    pub reason: String,
}

impl Equivalent {
    /// Whether this entry describes `mutant`.
    #[must_use]
    pub fn matches(&self, mutant: &Mutant) -> bool {
        (&self.place, &self.original, &self.replacement)
            == (&mutant.place, &mutant.original, &mutant.replacement)
    }
}

/// Reads the list of the equivalent mutants of a family in `tests/faults/`.
///
/// # Panics
/// If the file cannot be read or an entry is incomplete.
#[must_use]
pub fn equivalents(family: Family) -> Vec<Equivalent> {
    let file = root().join("tests/faults").join(family.equivalents_file());
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines
        .split(|line| line.is_empty())
        .filter(|block| !block.is_empty())
        .map(|block| match block {
            [place, original, replacement, reason @ ..] if !reason.is_empty() => Equivalent {
                place: (*place).to_owned(),
                original: original.strip_prefix("- ").expect("`- ` and the original").to_owned(),
                replacement: replacement
                    .strip_prefix('+')
                    .expect("`+` and the replacement")
                    .trim_start()
                    .to_owned(),
                reason: reason.join(" "),
            },
            _ => panic!("place, -, + and a reason are needed: {block:?}"),
        })
        .collect()
}
