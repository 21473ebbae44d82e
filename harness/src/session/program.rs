// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs a program in one guest and forwards its stdin and output.

use super::conversation::{
    Conversation, Ending, GuestSession, Handler, Limits, converse, message_name,
};
use super::guest::Guest;
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
    /// It ended by itself, or could not be started.
    Ended(ProgramEnd),
    /// sudbox's stdout or stderr has no reader any more.
    StdoutClosed,
    /// Its output could not be written to sudbox's stdout or stderr.
    OutputFailed(io::Error),
}

/// The result of a program, and the end of the conversation.
#[derive(Debug)]
pub(crate) struct ProgramRun {
    /// The end of the program; `None` if the program did not end.
    pub(crate) result: Option<ProgramResult>,
    pub(crate) conversation: Conversation,
}

/// Runs the program in a guest that was just started. It may run for `limit`. `output` takes what it
/// writes.
///
/// # Errors
/// If stdin cannot be read.
pub(crate) fn run_program(
    guest: &mut dyn Guest,
    program: Program,
    boot: Limits,
    limit: Duration,
    output: Output<'_>,
) -> io::Result<ProgramRun> {
    let stdin = Stdin::new(interrupt::descriptor())?;
    let mut handler = ProgramHandler::new(program, limit, stdin, output);
    let conversation = converse(guest, boot, &mut handler);
    Ok(ProgramRun { result: handler.result, conversation })
}

/// Takes bytes that the program wrote: to stderr if the first argument is true, else to stdout.
pub(crate) type Output<'a> = &'a mut dyn FnMut(bool, &[u8]) -> io::Result<()>;

/// Handles the messages about a program.
struct ProgramHandler<'a> {
    /// The program to run; `None` after it was sent.
    program: Option<Program>,
    limit: Duration,
    stdin: Stdin,
    output: Output<'a>,
    result: Option<ProgramResult>,
}

impl<'a> ProgramHandler<'a> {
    fn new(program: Program, limit: Duration, stdin: Stdin, output: Output<'a>) -> Self {
        ProgramHandler { program: Some(program), limit, stdin, output, result: None }
    }

    fn finish(&mut self, result: ProgramResult) -> ControlFlow<Ending> {
        self.result = Some(result);
        ControlFlow::Break(Ending::Finished)
    }
}

impl Handler for ProgramHandler<'_> {
    fn on_hello(&mut self, session: &mut GuestSession<'_>, _: Hello) {
        session.take_console();
        session.begin_phase(Limits::with_total_limit(self.limit));
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
                let how = "it asks for input while it waits for input";
                ControlFlow::Break(Ending::ProtocolError(how.to_owned()))
            }
            GuestMessage::StdinWanted => {
                self.stdin.request();
                ControlFlow::Continue(())
            }
            GuestMessage::Output { is_stderr, bytes } => match (self.output)(is_stderr, &bytes) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    self.finish(ProgramResult::StdoutClosed)
                }
                Err(error) => self.finish(ProgramResult::OutputFailed(error)),
            },
            GuestMessage::ProgramEnded(end) => {
                session.send(&HostMessage::Acknowledge);
                self.finish(ProgramResult::Ended(end))
            }
            other => {
                let how = format!("{} while a program runs", message_name(&other));
                ControlFlow::Break(Ending::ProtocolError(how))
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
        if let Some(bytes) = self.stdin.take() {
            session.send(&HostMessage::Stdin(bytes));
        }
        ControlFlow::Continue(())
    }
}

/// Writes the bytes to stdout or stderr of sudbox.
pub(crate) fn forward(to_stderr: bool, bytes: &[u8]) -> io::Result<()> {
    fn whole(mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
        to.write_all(bytes)?;
        to.flush()
    }
    if to_stderr { whole(io::stderr(), bytes) } else { whole(io::stdout(), bytes) }
}

#[cfg(test)]
mod tests;
