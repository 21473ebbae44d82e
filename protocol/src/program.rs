// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A program that runs in the guest instead of cases, and how it ended.
//!
//! ```text
//! Hello  ----------------------->
//!        <----------------------- Execute
//! StdinWanted ------------------>        (whenever the program has read all input so far)
//!        <----------------------- Input
//! Output ----------------------->        (whenever the program writes)
//! Ended  ----------------------->
//!        <----------------------- Acknowledge
//! ```

use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::MAX_BODY;

/// A program to execute, as `execve(2)` takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The path in the guest.
    pub path: Vec<u8>,
    /// The arguments, `argv[0]` first.
    pub arguments: Vec<Vec<u8>>,
    /// The environment: names and values.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// The working directory.
    pub directory: Vec<u8>,
}

/// The end of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramEnd {
    /// The program exited with this code.
    Exited(u8),
    /// This signal killed the program.
    Killed(u8),
    /// The program could not be started, for this reason.
    NotStarted(String),
}

impl Program {
    /// Whether the program fits a message.
    #[must_use]
    pub fn fits(&self) -> bool {
        let mut out = Writer::default();
        self.encode(&mut out);
        out.into_bytes().len() < MAX_BODY
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.bytes(&self.path);
        out.list(&self.arguments, |out, argument| out.bytes(argument));
        out.list(&self.environment, |out, (name, value)| {
            out.bytes(name);
            out.bytes(value);
        });
        out.bytes(&self.directory);
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Program {
            path: input.bytes()?,
            arguments: input.list(Reader::bytes)?,
            environment: input.list(|input| Ok((input.bytes()?, input.bytes()?)))?,
            directory: input.bytes()?,
        })
    }
}

impl ProgramEnd {
    pub(crate) fn encode(&self, out: &mut Writer) {
        match self {
            ProgramEnd::Exited(code) => {
                out.u8(0);
                out.u8(*code);
            }
            ProgramEnd::Killed(signal) => {
                out.u8(1);
                out.u8(*signal);
            }
            ProgramEnd::NotStarted(why) => {
                out.u8(2);
                out.str(why);
            }
        }
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match input.u8()? {
            0 => ProgramEnd::Exited(input.u8()?),
            1 => ProgramEnd::Killed(input.u8()?),
            2 => ProgramEnd::NotStarted(input.str()?),
            tag => return Err(DecodeError::UnknownTag { what: "end of a program", tag }),
        })
    }
}
