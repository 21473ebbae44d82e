// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exit codes with a stdout or stderr that is closed or full.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};
use sudbox_tests::sudbox;

/// The exit code of a command with these streams.
fn exit_code(mut command: Command, stdout: Stdio, stderr: Stdio) -> Option<i32> {
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    command.status().expect("sudbox").code()
}

fn sudbox_with(arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command.args(arguments);
    command
}

/// `/dev/full`, on which every write fails with `ENOSPC`.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("/dev/full").into()
}

/// A pipe without a reader: every write fails with `EPIPE`.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// A command line of each verb that neither builds nor downloads, and one of a run on a VM.
const VERBS: &[&str] = &[
    "run --list",
    "run running --cases selector/flips",
    "run --cases boot",
    "matrix --kernels 6.12 --list",
    "matrix --kernels 6.12 --cases boot",
    "bench running --only native",
    "exec -- uname",
    "exec --format json -- uname",
    "kernels prune --days 9999",
    "report list",
    "report show",
    "report history selector",
    "report prune --days 9999",
    "doctor",
    "completions bash",
    "man",
    "man run",
    "--help",
    "run --help",
    "--version",
];

/// Verbs that fail before they print a report.
const FAILING: &[&str] = &[
    "run banana",
    "bisect",
    "kselftest ./nothing",
    "sandbox run ./nothing",
    "report merge ./nothing",
    "man nothing",
];

#[test]
fn a_full_or_closed_stderr_changes_no_exit_code() {
    for line in VERBS.iter().chain(FAILING) {
        let words: Vec<&str> = line.split(' ').collect();
        let expected = exit_code(sudbox_with(&words), Stdio::null(), Stdio::null());
        assert_eq!(expected, Some(if FAILING.contains(line) { 129 } else { 0 }), "{line}");
        assert_eq!(exit_code(sudbox_with(&words), Stdio::null(), full()), expected, "{line}");
        assert_eq!(exit_code(sudbox_with(&words), Stdio::null(), closed()), expected, "{line}");
    }
}

#[test]
fn a_closed_stdout_is_no_error_and_a_full_one_is() {
    for line in VERBS {
        let words: Vec<&str> = line.split(' ').collect();
        // If the output of a program is forwarded, a closed stdout ends the program with SIGPIPE.
        let expected = if line.starts_with("exec -- ") { 141 } else { 0 };
        assert_eq!(
            exit_code(sudbox_with(&words), closed(), Stdio::null()),
            Some(expected),
            "{line}"
        );
        assert_eq!(exit_code(sudbox_with(&words), full(), closed()), Some(128), "{line}");
    }
    for line in FAILING {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(exit_code(sudbox_with(&words), full(), closed()), Some(129), "{line}");
    }
}
