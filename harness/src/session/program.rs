// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs a program in one guest and forwards its stdin and output.

use super::conversation::{
    Conversation, Ending, GuestSession, Handler, Limits, converse, message_name,
};
use super::running_guest::Guest;
use super::stdin::Stdin;
use crate::interrupt;
use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use sudbox_protocol::{GuestMessage, Hello, HostMessage, Program, ProgramEnd};

/// The end of a program.
#[derive(Debug)]
pub(crate) enum ProgramResult {
    /// The program ended by itself, or could not be started.
    Ended(ProgramEnd),
    /// The stdout or stderr of sudbox has no reader any more.
    OutputClosed,
    /// The output of the program could not be written to the stdout or stderr of sudbox.
    OutputFailed(io::Error),
}

/// The result of a program, and the end of the conversation.
#[derive(Debug)]
pub(crate) struct ProgramRun {
    /// The end of the program; `None` if the program did not end.
    pub(crate) result: Option<ProgramResult>,
    pub(crate) conversation: Conversation,
}

/// Runs the program in a guest that was just started, for at most `time_limit`. `output` gets the
/// bytes that the program writes.
///
/// # Errors
/// If stdin cannot be read.
pub(crate) fn run_program(
    guest: &mut dyn Guest,
    program: Program,
    boot_limits: Limits,
    time_limit: Duration,
    output: Output<'_>,
) -> io::Result<ProgramRun> {
    let stdin = Stdin::new(interrupt::descriptor())?;
    let mut handler = ProgramHandler::new(program, time_limit, stdin, output);
    let conversation = converse(guest, boot_limits, &mut handler);
    Ok(ProgramRun { result: handler.result, conversation })
}

/// A function that gets the bytes that the program wrote: to stderr if the first argument is true,
/// else to stdout.
pub(crate) type Output<'a> = &'a mut dyn FnMut(bool, &[u8]) -> io::Result<()>;

/// Handles the messages about a program.
struct ProgramHandler<'a> {
    /// The program to run; `None` after it was sent.
    program: Option<Program>,
    time_limit: Duration,
    stdin: Stdin,
    output: Output<'a>,
    result: Option<ProgramResult>,
}

impl<'a> ProgramHandler<'a> {
    fn new(program: Program, time_limit: Duration, stdin: Stdin, output: Output<'a>) -> Self {
        ProgramHandler { program: Some(program), time_limit, stdin, output, result: None }
    }

    fn finish(&mut self, result: ProgramResult) -> ControlFlow<Ending> {
        self.result = Some(result);
        ControlFlow::Break(Ending::Finished)
    }
}

impl Handler for ProgramHandler<'_> {
    fn on_hello(&mut self, session: &mut GuestSession<'_>, _: Hello) {
        session.take_console();
        session.begin_phase(Limits::with_total_limit(self.time_limit));
        if let Some(program) = self.program.take() {
            session.send(&HostMessage::Execute(program));
        }
    }

    fn on_message(
        &mut self,
        session: &mut GuestSession<'_>,
        message: GuestMessage,
    ) -> ControlFlow<Ending> {
        match message {
            GuestMessage::StdinWanted if self.stdin.is_requested() => {
                let error = "it asks for input while it waits for input";
                ControlFlow::Break(Ending::ProtocolError(error.to_owned()))
            }
            GuestMessage::StdinWanted => {
                self.stdin.request_chunk();
                ControlFlow::Continue(())
            }
            GuestMessage::Output { is_stderr, bytes } => match (self.output)(is_stderr, &bytes) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    self.finish(ProgramResult::OutputClosed)
                }
                Err(error) => self.finish(ProgramResult::OutputFailed(error)),
            },
            GuestMessage::ProgramEnded(end) => {
                session.send(&HostMessage::Acknowledge);
                self.finish(ProgramResult::Ended(end))
            }
            other => {
                let error = format!("{} while a program runs", message_name(&other));
                ControlFlow::Break(Ending::ProtocolError(error))
            }
        }
    }

    fn wake_descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.stdin.descriptor())
    }

    fn on_wake(&mut self, session: &mut GuestSession<'_>) -> ControlFlow<Ending> {
        if interrupt::is_pending() {
            return ControlFlow::Break(Ending::Interrupted);
        }
        if let Some(bytes) = self.stdin.take_chunk() {
            session.send(&HostMessage::Stdin(bytes));
        }
        ControlFlow::Continue(())
    }
}

/// Writes the bytes to the stderr of sudbox if `is_stderr`, else to the stdout of sudbox.
#[expect(clippy::disallowed_methods, reason = "the program's output passes through unchanged")]
pub(crate) fn forward_output(is_stderr: bool, bytes: &[u8]) -> io::Result<()> {
    fn write_and_flush(mut stream: impl Write, bytes: &[u8]) -> io::Result<()> {
        stream.write_all(bytes)?;
        stream.flush()
    }
    if is_stderr {
        write_and_flush(io::stderr(), bytes)
    } else {
        write_and_flush(io::stdout(), bytes)
    }
}

#[cfg(test)]
mod tests;
