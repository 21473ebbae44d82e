// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The layout of the help, the number of cases in `--list`, output on terminals of several widths, and
//! paths in the binary.

use sudbox_tests::{print_uncaptured, root, run, run_on_terminal, sudbox, sudbox_run};

/// Verbs with the words that their help must have.
const VERBS: &[(&str, &[&str])] = &[
    ("run", &["\nVM:\n", "\nKernel build:\n", "\nExamples:\n", "125", "128", "129", "130"]),
    ("matrix", &["\nVM:\n", "\nKernel build:\n", "\nExamples:\n", "Exits with 1"]),
    ("bench", &["\nVM:\n", "\nKernel build:\n", "\nExamples:\n", "\nExit codes:\n", "125"]),
    ("bisect", &["\nVM:\n", "\nKernel build:\n", "\nExamples:\n", "Exit codes:\n", "125"]),
    ("diff", &["\nVM:\n", "\nKernel build:\n", "\nExamples:\n", "\nExit codes:\n", "125"]),
    ("campaign", &["\nVM:\n", "\nKernel build:\n", "\nExamples:\n", "\nExit codes:\n", "125"]),
    ("record", &["\nVM:\n", "\nKernel build:\n", "\nExamples:\n", "\nExit codes:\n", "125"]),
    ("exec", &["\nVM:\n", "\nKernel build:\n", "\nExamples:\n", "124", "125", "128 + N", "130"]),
    ("sandbox run", &["\nVM:\n", "\nKernel build:\n", "\nExample:\n", "Exits with 0", "125"]),
    ("kselftest", &["\nVM:\n", "\nKernel build:\n", "\nExample:\n", "a test fails", "125"]),
    ("kernels", &["\nExamples:\n", "Exits with 0"]),
    ("report", &["\nExamples:\n", "Exits with 0"]),
    ("doctor", &["Exits with 0", "128"]),
    ("setup", &["Exits with 0", "128"]),
];

fn stdout_of(line: &str) -> String {
    let mut command = sudbox();
    command.args(line.split(' '));
    run(command).expect_code(0).stdout
}

#[test]
fn the_help_is_grouped_with_examples_and_exit_codes() {
    for (verb, words) in VERBS {
        let help = stdout_of(&format!("{verb} --help"));
        for word in *words {
            assert!(help.contains(word), "{verb}: no `{word}` in:\n{help}");
        }
    }
    let help = stdout_of("--help");
    for word in ["Exit codes of `run`", "SUDBOX_CACHE", "NO_COLOR"] {
        assert!(help.contains(word), "no `{word}` in:\n{help}");
    }
}

#[test]
fn the_help_has_no_empty_default_and_fits_the_terminal() {
    for line in VERBS.iter().map(|(verb, _)| format!("{verb} --help")).chain(["--help".into()]) {
        let words: Vec<&str> = line.split(' ').collect();
        for width in [60, 100] {
            let help = on_terminal(width, &words);
            assert!(!help.contains("[default: ]") && !help.contains("[default: \"\"]"), "{help}");
            let columns = |printed: &str| printed.trim_end().chars().count();
            let long = help.lines().find(|printed| columns(printed) > usize::from(width));
            assert_eq!(long, None, "{line}, {width} columns");
        }
    }
}

/// The number of cases in the last line of `run --list`.
fn listed_count(cases: &str) -> usize {
    let list = stdout_of(&format!("run --list --cases {cases}"));
    let last = list.lines().last().expect("a line");
    let number = last.split(' ').next().and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("no number of cases: {last}"))
}

#[test]
fn a_run_has_as_many_cases_as_the_list_says() {
    let judged_count = |cases: &str| {
        let report = run(sudbox_run(&["--cases", cases])).expect_code(0).json();
        report["cases"].as_array().expect("cases").len()
    };
    assert_eq!(listed_count("selector"), judged_count("selector"));
    assert_eq!(listed_count("all"), judged_count("all"));
}

/// The output of a command on a terminal of this width, without escape sequences. Stdout and stderr are
/// the terminal.
fn on_terminal(width: u16, arguments: &[&str]) -> String {
    let mut command = sudbox();
    command.args(arguments);
    without_escapes(&run_on_terminal(width, command))
}

/// Removes control sequences (ECMA-48, section 5.4).
fn without_escapes(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| ('\x40'..='\x7e').contains(&c)).map_or(0, |at| at + 1);
        plain.push_str(&piece[end..]);
    }
    plain
}

#[test]
fn the_output_fits_the_terminal() {
    for width in [40, 60, 80, 100, 120, 160, 200] {
        for line in [
            "run --cases selector,entries",
            "matrix --kernels 6.12 --cases boot",
            "report list",
            "kernels",
            "doctor",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let text = on_terminal(width, &words);
            assert!(!text.trim().is_empty(), "{line}");
            for printed in text.split(['\r', '\n']) {
                // Only a path without spaces, such as the report folder, may be longer.
                let printed = printed.trim_end();
                let value = printed.trim().trim_start_matches("report").trim();
                let is_path = value.starts_with('/') && !value.contains(' ');
                let fits = printed.chars().count() <= usize::from(width);
                assert!(fits || is_path, "{line}, {width} columns: {printed}");
            }
        }
    }
}

#[test]
fn the_list_is_the_same_in_json() {
    let list = stdout_of("run --list --arch s390x --format json");
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let cases = list["cases"].as_array().expect("cases");
    let count = |field: &str, value: &serde_json::Value| {
        cases.iter().filter(|case| &case[field] == value).count()
    };
    let table = stdout_of("run --list --arch s390x");
    let summary = table.lines().last().expect("a count");
    let excluded = cases.len() - count("exclusion_reason", &serde_json::Value::Null);
    assert!(summary.ends_with(&format!("{excluded} more on other architectures")), "{summary}");
    let without = count("without_dispatch", &true.into());
    assert!(summary.contains(&format!("{without} more on kernels without dispatch")), "{summary}");
    let tested = cases.len() - excluded - without;
    assert!(summary.starts_with(&format!("{tested} cases, ")), "{summary}");
}

/// A release build replaces the paths of the checkout and of cargo's folder.
#[test]
fn the_binary_has_no_path_of_the_machine_that_built_it() {
    let command = sudbox();
    let path = command.get_program();
    if !path.to_string_lossy().contains("/release/") {
        print_uncaptured("NOT RUN: paths in the command: it is no release build");
        return;
    }
    let bytes = std::fs::read(path).expect("the command can be read");
    let text = String::from_utf8_lossy(&bytes);
    let home = std::env::home_dir().expect("a home").join(".cargo");
    let cargo = std::env::var_os("CARGO_HOME").map_or(home, std::path::PathBuf::from);
    for path in [root().join("target"), root().join("harness"), cargo.join("registry")] {
        let path = path.to_str().expect("UTF-8");
        assert!(!text.contains(path), "the command contains {path}");
    }
}
