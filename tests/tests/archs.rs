// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox run --list`: the cases of each architecture, and the reasons why it lacks the others.

use std::collections::BTreeSet;
use sudbox_images::Arch;
use sudbox_tests::{run, sudbox};

/// Ids of cases, with the promise or the reason why the architecture lacks the case.
type ListedCases = Vec<(String, String)>;

/// The cases that an architecture has, and the cases that it lacks.
fn list(arch: Arch) -> (ListedCases, ListedCases) {
    let mut command = sudbox();
    command.args(["run", "--list", "--arch", arch.name()]);
    let result = run(command).expect_code(0);
    let parse_line = |line: &str| {
        let (id, description) = line.split_once(' ').unwrap_or((line, ""));
        (id.to_owned(), description.trim().to_owned())
    };
    let heading = format!("\nnot on {}:\n", arch.name());
    let (existing, lacking) = result.stdout.split_once(&heading).expect("a list of lacking cases");
    let cases = |text: &str| {
        let is_case = |(id, _): &(String, String)| id.contains('/');
        text.lines().map(parse_line).filter(is_case).collect()
    };
    (cases(existing), cases(lacking))
}

#[test]
fn every_architecture_lists_every_case_with_its_promise_or_the_reason_why_it_is_lacking() {
    let mut first_ids: Option<BTreeSet<String>> = None;
    for arch in Arch::ALL {
        let (existing, lacking) = list(arch);
        let all = || existing.iter().chain(&lacking);
        let ids: BTreeSet<String> = all().map(|(id, _)| id.clone()).collect();
        assert_eq!(ids.len(), all().count(), "{}: a case is listed twice", arch.name());
        assert!(existing.len() > 100, "{} has {} cases", arch.name(), existing.len());
        for (id, description) in all() {
            assert!(description.len() > 10, "{}: {id}: {description:?}", arch.name());
        }
        let first_ids = first_ids.get_or_insert_with(|| ids.clone());
        assert_eq!(*first_ids, ids, "{} lists other cases", arch.name());
    }
}

#[test]
fn a_case_of_one_architecture_is_lacking_on_the_others() {
    let (existing, lacking) = list(Arch::X86_64);
    assert!(existing.iter().any(|(id, _)| id == "entries/int80"));
    assert!(lacking.iter().any(|(id, _)| id == "registers/floating-kept"));
    for arch in Arch::ALL.into_iter().filter(|arch| *arch != Arch::X86_64) {
        let (_, lacking) = list(arch);
        let int80 = lacking.iter().find(|(id, _)| id == "entries/int80");
        assert_eq!(int80.expect("no int 0x80").1, "other architectures have one system call entry");
    }
    let (existing, lacking) = list(Arch::S390x);
    assert!(existing.iter().any(|(id, _)| id == "registers/flags-kept"));
    assert!(lacking.iter().any(|(id, _)| id == "arguments/kernel-selector-refused"));
}
