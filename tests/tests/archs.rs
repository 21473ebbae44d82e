// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox run --list`: the cases of each architecture, and why it lacks the others.

use std::collections::BTreeSet;
use sudbox_images::Arch;
use sudbox_tests::{run, sudbox};

/// Ids of cases, with the promise or the reason why the architecture lacks the case.
type Listed = Vec<(String, String)>;

/// The cases that an architecture has, and those that it lacks.
fn list(arch: Arch) -> (Listed, Listed) {
    let mut command = sudbox();
    command.args(["run", "--list", "--arch", arch.name()]);
    let result = run(command).expect_code(0);
    let line = |line: &str| {
        let (id, says) = line.split_once(' ').unwrap_or((line, ""));
        (id.to_owned(), says.trim().to_owned())
    };
    let heading = format!("\nnot on {}:\n", arch.name());
    let (there, not) = result.stdout.split_once(&heading).expect("cases that it has not");
    let cases = |text: &str| {
        let ids = |(id, _): &(String, String)| id.contains('/');
        text.lines().map(line).filter(ids).collect()
    };
    (cases(there), cases(not))
}

#[test]
fn every_case_is_on_an_architecture_or_says_why_not() {
    let mut all: Option<BTreeSet<String>> = None;
    for arch in Arch::ALL {
        let (there, not) = list(arch);
        let ids: BTreeSet<String> = there.iter().chain(&not).map(|(id, _)| id.clone()).collect();
        assert_eq!(ids.len(), there.len() + not.len(), "{}: a case is listed twice", arch.name());
        assert!(there.len() > 100, "{} has {} cases", arch.name(), there.len());
        for (id, says) in there.iter().chain(&not) {
            assert!(says.len() > 10, "{}: {id}: {says:?}", arch.name());
        }
        let same = all.get_or_insert_with(|| ids.clone());
        assert_eq!(*same, ids, "{} lists other cases", arch.name());
    }
}

#[test]
fn what_differs_is_listed_where_it_is() {
    let (there, not) = list(Arch::X86_64);
    assert!(there.iter().any(|(id, _)| id == "entries/int80"));
    assert!(not.iter().any(|(id, _)| id == "registers/floating-kept"));
    for arch in Arch::ALL.into_iter().filter(|arch| *arch != Arch::X86_64) {
        let (_, not) = list(arch);
        let int80 = not.iter().find(|(id, _)| id == "entries/int80");
        assert_eq!(
            int80.expect("no int 0x80").1,
            "other architectures have one way into the kernel"
        );
    }
    let (there, not) = list(Arch::S390x);
    assert!(there.iter().any(|(id, _)| id == "registers/flags-kept"));
    assert!(not.iter().any(|(id, _)| id == "arguments/kernel-selector-refused"));
}
