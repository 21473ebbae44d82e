// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Guests that run a program, and guests that break the protocol.

use super::*;
use crate::session::conversation::{Flood, InitError};
use crate::session::running_guest::script::{Script, hello, leaked, messages};
use sudbox_vmm::session::Event;

const ONE_SECOND: Duration = Duration::from_secs(1);

/// Plays a script. Returns the result and the stdout of the program.
fn play(
    events: impl IntoIterator<Item = (Event, &'static str)> + 'static,
    boot: Duration,
    limit: Duration,
) -> (ProgramRun, String) {
    let program = Program {
        path: b"/bin/true".to_vec(),
        arguments: Vec::new(),
        environment: Vec::new(),
        directory: b"/".to_vec(),
    };
    let mut stdout = String::new();
    let mut output = |to_stderr: bool, bytes: &[u8]| {
        if !to_stderr {
            stdout.push_str(&String::from_utf8_lossy(bytes));
        }
        Ok(())
    };
    let stdin = Stdin::new(None).unwrap();
    let mut handler = ProgramHandler::new(program, limit, stdin, &mut output);
    let mut guest = Script::new(events);
    let conversation = converse(&mut guest, Limits::with_silence_limit(boot), &mut handler);
    let result = handler.result;
    (ProgramRun { result, conversation }, stdout)
}

fn output(text: &str) -> GuestMessage {
    GuestMessage::Output { is_stderr: false, bytes: text.into() }
}

#[test]
fn output_and_exit_status_of_the_program_are_forwarded() {
    let ended = GuestMessage::ProgramEnded(ProgramEnd::Exited(7));
    let (run, stdout) =
        play([messages(&[hello()]), messages(&[output("hi"), ended])], ONE_SECOND, ONE_SECOND);
    assert!(matches!(run.result, Some(ProgramResult::Ended(ProgramEnd::Exited(7)))), "{run:?}");
    assert_eq!(stdout, "hi");
}

#[test]
fn a_kernel_that_prints_without_end_before_hello_floods_the_host() {
    let line = leaked("x".repeat(64 * 1024));
    let (run, _) =
        play(std::iter::repeat_with(move || (Event::ConsoleOutput, line)), ONE_SECOND, ONE_SECOND);
    assert_eq!(run.conversation.ending, Ending::Flooded(Flood::Console));

    // A line each millisecond is progress, but ten times the silence limit is the total limit.
    let (run, _) = play(
        std::iter::repeat((Event::ConsoleOutput, "a line\n")),
        Duration::from_millis(20),
        ONE_SECOND,
    );
    assert_eq!(run.conversation.ending, Ending::Flooded(Flood::Console));
}

#[test]
fn another_version_of_the_protocol_is_refused() {
    let other = Hello { version: sudbox_protocol::VERSION + 1, ..Hello::default() };
    let ended = GuestMessage::ProgramEnded(ProgramEnd::Exited(0));
    let (run, _) = play([messages(&[GuestMessage::Hello(other), ended])], ONE_SECOND, ONE_SECOND);
    let Ending::ProtocolError(error) = &run.conversation.ending else { panic!("{run:?}") };
    assert!(error.contains("version"), "{error}");
}

#[test]
fn console_output_is_read_after_the_guest_closed_its_stream() {
    let panic = leaked("[ 1.0] Kernel panic - not syncing: late\n".into());
    let stream_closed = (Event::Disconnected, "");
    let events =
        [messages(&[hello()]), stream_closed, (Event::ConsoleOutput, panic), (Event::Ended, "")];
    let (run, _) = play(events, ONE_SECOND, ONE_SECOND);
    assert_eq!(run.conversation.ending, Ending::Died);
    assert!(run.conversation.cause().contains("late"), "{}", run.conversation.cause());
}

#[test]
fn an_init_that_gives_up_prints_the_reason() {
    let line = leaked(format!("{}no memory\n", sudbox_protocol::PROBLEM_LINE_PREFIX));
    let (run, _) = play([(Event::ConsoleOutput, line), (Event::Ended, "")], ONE_SECOND, ONE_SECOND);
    let reason = InitError::Problem("no memory".into());
    assert_eq!(run.conversation.ending, Ending::InitFailed(reason));
}

#[test]
fn a_program_that_writes_without_end_still_ends_in_time() {
    let events = [messages(&[hello()])]
        .into_iter()
        .chain(std::iter::repeat_with(|| messages(&[output("yes")])));
    let (run, stdout) = play(events, ONE_SECOND, Duration::from_millis(20));
    assert_eq!(run.conversation.ending, Ending::Stalled);
    assert!(stdout.starts_with("yesyes"), "{stdout:.100}");
}

#[test]
fn a_guest_may_not_ask_for_input_while_it_waits_for_input() {
    let wants = || GuestMessage::StdinWanted;
    let (run, _) = play([messages(&[hello(), wants(), wants()])], ONE_SECOND, ONE_SECOND);
    assert!(matches!(run.conversation.ending, Ending::ProtocolError(_)), "{run:?}");
}
