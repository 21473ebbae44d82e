// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mutants of the kernel's dispatch code, made by rules: negated conditions, dropped statements,
//! values off by one, replaced operators, constants and operands.
//!
//! One kernel contains all mutants: each condition or statement becomes an expression that selects
//! the original or one of its mutants. The boot argument `sudbox_mutant=N` selects a mutant, and
//! `sudbox_second_mutant=M` one more, so that trying a mutant or a pair costs a boot and not a build.

mod code;

use crate::Tree;
use crate::root;
use serde::{Deserialize, Serialize};
use std::fs;

const DISPATCH: &str = "kernel/entry/syscall_user_dispatch.c";

/// A section of code to mutate.
struct MutatedSection {
    /// Series whose source has the section.
    kernels: &'static [&'static str],
    /// File below the root of the tree.
    file: &'static str,
    /// Text with which the section begins.
    from: &'static str,
    /// Text before which the section ends; empty for the end of the file.
    to: &'static str,
}

const fn scope_in_both(file: &'static str, from: &'static str, to: &'static str) -> MutatedSection {
    MutatedSection { kernels: &["6.12", "7.3"], file, from, to }
}

const fn scope_in_6_12(file: &'static str, from: &'static str, to: &'static str) -> MutatedSection {
    MutatedSection { kernels: &["6.12"], file, from, to }
}

const fn scope_in_7_3(file: &'static str, from: &'static str, to: &'static str) -> MutatedSection {
    MutatedSection { kernels: &["7.3"], file, from, to }
}

/// The dispatch code, and the lines about dispatch in other files.
const MUTATED_SECTIONS: &[MutatedSection] = &[
    scope_in_6_12(DISPATCH, "static void trigger_sigsys(", ""),
    scope_in_7_3(DISPATCH, "static void trigger_sigsys(", "\n#ifdef CONFIG_SYSCTL"),
    scope_in_7_3(
        DISPATCH,
        "static int __init syscall_user_dispatch_sysctl_init(",
        "late_initcall(",
    ),
    scope_in_6_12(
        "kernel/entry/common.c",
        "\tif (work & SYSCALL_WORK_SYSCALL_USER_DISPATCH) {\n\t\tif (syscall_user_dispatch(",
        "\t/* Handle ptrace */",
    ),
    scope_in_6_12(
        "kernel/entry/common.c",
        "\tif (work & SYSCALL_WORK_SYSCALL_USER_DISPATCH) {\n\t\tif (unlikely(",
        "\taudit_syscall_exit(",
    ),
    scope_in_7_3(
        "include/linux/entry-common.h",
        "\tif (work & SYSCALL_WORK_SYSCALL_USER_DISPATCH) {\n\t\tif (syscall_user_dispatch(",
        "\t/*\n\t * User space got a time slice",
    ),
    scope_in_7_3(
        "include/linux/entry-common.h",
        "\tif (work & SYSCALL_WORK_SYSCALL_USER_DISPATCH) {\n\t\tif (syscall_user_dispatch_clear",
        "\taudit_syscall_exit(",
    ),
    scope_in_7_3(
        "include/linux/syscall_user_dispatch.h",
        "static __always_inline bool syscall_user_dispatch_clear_on_dispatch(",
        "int set_syscall_user_dispatch(",
    ),
    scope_in_both(
        "kernel/fork.c",
        "\tclear_syscall_work_syscall_user_dispatch(",
        "#ifdef CONFIG_STACKPROTECTOR",
    ),
    scope_in_both(
        "fs/exec.c",
        "\tclear_syscall_work_syscall_user_dispatch(",
        "\tif (bprm->secureexec)",
    ),
    scope_in_both(
        "kernel/ptrace.c",
        "\tcase PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG:",
        "\tdefault:",
    ),
    scope_in_both(
        "kernel/sys.c",
        "\tcase PR_SET_SYSCALL_USER_DISPATCH:",
        "#ifdef CONFIG_SCHED_CORE",
    ),
    scope_in_both(
        "arch/x86/entry/vdso/vma.c",
        "bool arch_syscall_is_vdso_sigreturn(",
        "#ifdef CONFIG_X86_64",
    ),
];

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

impl std::fmt::Display for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let new = if self.replacement.is_empty() { "nothing" } else { &self.replacement };
        write!(f, "{}: `{}` becomes `{new}`", self.place, self.original)
    }
}

/// Inserts all mutants into the tree of a kernel, and returns them.
///
/// # Panics
/// If a section to mutate is not in its file.
#[must_use]
pub fn insert_all(tree: &Tree, kernel: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let mut files: Vec<&str> = MUTATED_SECTIONS.iter().map(|scope| scope.file).collect();
    files.dedup();
    for file in files {
        let scopes: Vec<&MutatedSection> = MUTATED_SECTIONS
            .iter()
            .filter(|scope| scope.file == file && scope.kernels.contains(&kernel))
            .collect();
        if scopes.is_empty() {
            continue;
        }
        tree.edit(file, |text| {
            let mut out = DECLARATIONS.to_owned();
            let mut rest = text;
            for scope in scopes {
                let begin = rest.find(scope.from);
                let begin = begin.unwrap_or_else(|| panic!("{file} without {:?}", scope.from));
                let length = match scope.to {
                    "" => Some(rest.len() - begin),
                    to => rest[begin..].find(to),
                };
                let end = begin + length.unwrap_or_else(|| panic!("{file} without {:?}", scope.to));
                out.push_str(&rest[..begin]);
                out.push_str(&code::mutate(&rest[begin..end], file, &mut mutants));
                rest = &rest[end..];
            }
            out.push_str(rest);
            if file == DISPATCH {
                out.push_str(BOOT_ARGUMENTS);
            }
            out
        });
    }
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
    let equivalents = equivalents();
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

/// Reads `tests/faults/equivalent.txt`.
///
/// # Panics
/// If the file cannot be read or an entry is incomplete.
#[must_use]
pub fn equivalents() -> Vec<Equivalent> {
    let file = root().join("tests/faults/equivalent.txt");
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
