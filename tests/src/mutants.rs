// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mechanical mutants of the code that makes dispatch: negated conditions, dropped statements,
//! values off by one, swapped operators, constants and operands.
//!
//! One kernel has them all; the boot argument `sudbox_mutant=N` chooses one, so that a mutant
//! costs a boot and not a build. For that, each condition or statement becomes a choice between
//! itself and its mutants.

mod code;

use crate::Tree;
use crate::root;
use serde::{Deserialize, Serialize};
use std::fs;

const DISPATCH: &str = "kernel/entry/syscall_user_dispatch.c";

/// Code that is mutated: from one text up to another, in a file.
struct Scope {
    kernels: &'static [&'static str],
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const fn both(file: &'static str, from: &'static str, to: &'static str) -> Scope {
    Scope { kernels: &["6.12", "7.3"], file, from, to }
}

const fn old(file: &'static str, from: &'static str, to: &'static str) -> Scope {
    Scope { kernels: &["6.12"], file, from, to }
}

const fn new(file: &'static str, from: &'static str, to: &'static str) -> Scope {
    Scope { kernels: &["7.3"], file, from, to }
}

/// All of the dispatch code, and what concerns it elsewhere.
const SCOPES: &[Scope] = &[
    old(DISPATCH, "static void trigger_sigsys(", ""),
    new(DISPATCH, "static void trigger_sigsys(", "\n#ifdef CONFIG_SYSCTL"),
    new(DISPATCH, "static int __init syscall_user_dispatch_sysctl_init(", "late_initcall("),
    old(
        "kernel/entry/common.c",
        "\tif (work & SYSCALL_WORK_SYSCALL_USER_DISPATCH) {\n\t\tif (syscall_user_dispatch(",
        "\t/* Handle ptrace */",
    ),
    old(
        "kernel/entry/common.c",
        "\tif (work & SYSCALL_WORK_SYSCALL_USER_DISPATCH) {\n\t\tif (unlikely(",
        "\taudit_syscall_exit(",
    ),
    new(
        "include/linux/entry-common.h",
        "\tif (work & SYSCALL_WORK_SYSCALL_USER_DISPATCH) {\n\t\tif (syscall_user_dispatch(",
        "\t/*\n\t * User space got a time slice",
    ),
    new(
        "include/linux/entry-common.h",
        "\tif (work & SYSCALL_WORK_SYSCALL_USER_DISPATCH) {\n\t\tif (syscall_user_dispatch_clear",
        "\taudit_syscall_exit(",
    ),
    new(
        "include/linux/syscall_user_dispatch.h",
        "static __always_inline bool syscall_user_dispatch_clear_on_dispatch(",
        "int set_syscall_user_dispatch(",
    ),
    both(
        "kernel/fork.c",
        "\tclear_syscall_work_syscall_user_dispatch(",
        "#ifdef CONFIG_STACKPROTECTOR",
    ),
    both("fs/exec.c", "\tclear_syscall_work_syscall_user_dispatch(", "\tif (bprm->secureexec)"),
    both("kernel/ptrace.c", "\tcase PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG:", "\tdefault:"),
    both("kernel/sys.c", "\tcase PR_SET_SYSCALL_USER_DISPATCH:", "#ifdef CONFIG_SCHED_CORE"),
    both(
        "arch/x86/entry/vdso/vma.c",
        "bool arch_syscall_is_vdso_sigreturn(",
        "#ifdef CONFIG_X86_64",
    ),
];

/// Appended to the dispatch code: what chooses the mutant.
const CHOICE: &str = "
#include <linux/init.h>
#include <linux/kstrtox.h>

int sudbox_mutant;

static int __init sudbox_mutant_setup(char *number)
{
	return !kstrtoint(number, 10, &sudbox_mutant);
}
__setup(\"sudbox_mutant=\", sudbox_mutant_setup);
";

/// One mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutant {
    /// Value of `sudbox_mutant=`.
    pub number: usize,
    /// File in the tree; and `, place N` from the second place in it on of which the rest is true.
    pub place: String,
    /// The condition or statement.
    pub was: String,
    /// What it becomes; empty if it is dropped.
    pub is: String,
}

impl std::fmt::Display for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is = if self.is.is_empty() { "nothing" } else { &self.is };
        write!(f, "{}: `{}` becomes `{is}`", self.place, self.was)
    }
}

/// Puts every mutant into the tree of a kernel.
///
/// # Panics
/// If code that is to be mutated is not there.
#[must_use]
pub fn plant(tree: &Tree, kernel: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let mut files: Vec<&str> = SCOPES.iter().map(|scope| scope.file).collect();
    files.dedup();
    for file in files {
        let scopes: Vec<&Scope> = SCOPES
            .iter()
            .filter(|scope| scope.file == file && scope.kernels.contains(&kernel))
            .collect();
        if scopes.is_empty() {
            continue;
        }
        tree.edit(file, |text| {
            let mut out = "extern int sudbox_mutant; ".to_owned();
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
                out.push_str(&code::mutated(&rest[begin..end], file, &mut mutants));
                rest = &rest[end..];
            }
            out.push_str(rest);
            if file == DISPATCH {
                out.push_str(CHOICE);
            }
            out
        });
    }
    mutants
}

/// A mutant that no case can notice, and why.
#[derive(Clone, Debug)]
pub struct Equivalent {
    place: String,
    was: String,
    is: String,
    /// Why it is no fault.
    pub reason: String,
}

impl Equivalent {
    /// Whether it speaks of this mutant.
    #[must_use]
    pub fn is(&self, mutant: &Mutant) -> bool {
        (&self.place, &self.was, &self.is) == (&mutant.place, &mutant.was, &mutant.is)
    }
}

/// What `tests/faults/equivalent.txt` says.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn equivalents() -> Vec<Equivalent> {
    let file = root().join("tests/faults/equivalent.txt");
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines
        .split(|line| line.is_empty())
        .filter(|block| !block.is_empty())
        .map(|block| match block {
            [place, was, is, reason @ ..] if !reason.is_empty() => Equivalent {
                place: (*place).to_owned(),
                was: was.strip_prefix("- ").expect("- what it was").to_owned(),
                is: is.strip_prefix('+').expect("+ what it is").trim_start().to_owned(),
                reason: reason.join(" "),
            },
            _ => panic!("place, -, + and a reason are needed: {block:?}"),
        })
        .collect()
}
