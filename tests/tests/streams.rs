// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exit codes with a stdout or stderr that is closed or full.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};
use sudbox_tests::sudbox;

/// The exit code of a command with these streams.
fn code(mut command: Command, stdout: Stdio, stderr: Stdio) -> Option<i32> {
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    command.status().expect("sudbox").code()
}

fn quick(arguments: &[&str]) -> Command {
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

#[test]
fn a_full_or_closed_stderr_does_not_change_the_exit_code() {
    let judged = || quick(&["run", "running", "--cases", "selector/flips"]);
    let expected = code(judged(), Stdio::null(), Stdio::null());
    assert!(matches!(expected, Some(0 | 1 | 125)), "{expected:?}");
    assert_eq!(code(judged(), Stdio::null(), full()), expected);
    assert_eq!(code(judged(), Stdio::null(), closed()), expected);
    assert_eq!(code(quick(&["run", "banana"]), Stdio::null(), full()), Some(129));
}

#[test]
fn a_closed_stdout_is_no_error_and_a_full_one_is() {
    for arguments in
        [&["run", "--list"][..], &["completions", "bash"], &["man"], &["run", "--help"]]
    {
        assert_eq!(code(quick(arguments), closed(), Stdio::null()), Some(0), "{arguments:?}");
    }
    for arguments in [&["run", "--list"][..], &["completions", "bash"], &["man"]] {
        assert_eq!(code(quick(arguments), full(), closed()), Some(128), "{arguments:?}");
    }
}
