// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A stdout or stderr that nobody reads, or that is full, changes no exit code but to 128.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};
use sudbox_tests::sudbox;

/// The exit code with these streams.
fn code(mut command: Command, stdout: Stdio, stderr: Stdio) -> Option<i32> {
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    command.status().expect("sudbox").code()
}

fn quick(arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command.args(arguments);
    command
}

/// A device on which there is never room.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("/dev/full").into()
}

/// A pipe without a reader.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

#[test]
fn a_stderr_that_is_full_or_closed_is_nothing_to_a_run() {
    let judged = || quick(&["run", "running", "--cases", "selector/flips"]);
    let expected = code(judged(), Stdio::null(), Stdio::null());
    assert!(matches!(expected, Some(0 | 1 | 125)), "{expected:?}");
    assert_eq!(code(judged(), Stdio::null(), full()), expected);
    assert_eq!(code(judged(), Stdio::null(), closed()), expected);
    assert_eq!(code(quick(&["run", "banana"]), Stdio::null(), full()), Some(129));
}

#[test]
fn a_stdout_that_nobody_reads_is_nothing_to_any_verb() {
    for arguments in
        [&["run", "--list"][..], &["completions", "bash"], &["man"], &["run", "--help"]]
    {
        assert_eq!(code(quick(arguments), closed(), Stdio::null()), Some(0), "{arguments:?}");
    }
    for arguments in [&["run", "--list"][..], &["completions", "bash"], &["man"]] {
        assert_eq!(code(quick(arguments), full(), closed()), Some(128), "{arguments:?}");
    }
}
