// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Guests that run a program, and guests that break the protocol.

use super::*;
use crate::session::conversation::{Flood, InitError};
use crate::session::guest::script::{Script, hello, leaked, messages};
use sudbox_vmm::session::Event;

const SECOND: Duration = Duration::from_secs(1);

/// Plays a script; returns how it ended and what the program wrote to stdout.
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
fn output_and_status_are_the_programs() {
    let ended = GuestMessage::ProgramEnded(ProgramEnd::Exited(7));
    let (run, stdout) =
        play([messages(&[hello()]), messages(&[output("hi"), ended])], SECOND, SECOND);
    assert!(matches!(run.result, Some(ProgramResult::Ended(ProgramEnd::Exited(7)))), "{run:?}");
    assert_eq!(stdout, "hi");
}

#[test]
fn a_kernel_that_prints_for_ever_before_its_init_is_ended() {
    let line = leaked("x".repeat(64 * 1024));
    let (run, _) =
        play(std::iter::repeat_with(move || (Event::ConsoleOutput, line)), SECOND, SECOND);
    assert_eq!(run.conversation.ending, Ending::Flooded(Flood::Console));

    // Little, but for so long that the limit of the boot came before a silence.
    let (run, _) = play([(Event::ConsoleOutput, "on and on\n")], Duration::ZERO, SECOND);
    assert_eq!(run.conversation.ending, Ending::Flooded(Flood::Console));
}

#[test]
fn another_version_of_the_protocol_is_refused() {
    let other = Hello { version: sudbox_protocol::VERSION + 1, ..Hello::default() };
    let ended = GuestMessage::ProgramEnded(ProgramEnd::Exited(0));
    let (run, _) = play([messages(&[GuestMessage::Hello(other), ended])], SECOND, SECOND);
    let Ending::ProtocolError(how) = &run.conversation.ending else { panic!("{run:?}") };
    assert!(how.contains("version"), "{how}");
}

#[test]
fn the_last_words_of_the_kernel_are_heard_after_it_hung_up() {
    let panic = leaked("[ 1.0] Kernel panic - not syncing: late\n".into());
    let stream_closed = (Event::Disconnected, "");
    let events =
        [messages(&[hello()]), stream_closed, (Event::ConsoleOutput, panic), (Event::Ended, "")];
    let (run, _) = play(events, SECOND, SECOND);
    assert_eq!(run.conversation.ending, Ending::Died);
    assert!(run.conversation.cause().contains("late"), "{}", run.conversation.cause());
}

#[test]
fn an_init_that_gives_up_says_why() {
    let line = leaked(format!("{}no memory\n", sudbox_protocol::PROBLEM_LINE_PREFIX));
    let (run, _) = play([(Event::ConsoleOutput, line), (Event::Ended, "")], SECOND, SECOND);
    let reason = InitError::Problem("no memory".into());
    assert_eq!(run.conversation.ending, Ending::InitFailed(reason));
}

#[test]
fn a_program_that_writes_without_end_still_ends_in_time() {
    let events = [messages(&[hello()])]
        .into_iter()
        .chain(std::iter::repeat_with(|| messages(&[output("yes")])));
    let (run, stdout) = play(events, SECOND, Duration::from_millis(20));
    assert_eq!(run.conversation.ending, Ending::Stalled);
    assert!(stdout.starts_with("yesyes"), "{stdout:.100}");
}

#[test]
fn a_guest_may_not_ask_for_input_while_it_waits_for_input() {
    let wants = || GuestMessage::StdinWanted;
    let (run, _) = play([messages(&[hello(), wants(), wants()])], SECOND, SECOND);
    assert!(matches!(run.conversation.ending, Ending::ProtocolError(_)), "{run:?}");
}
