// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is said of a program that runs in the guest in place of cases.
//!
//! ```text
//! Hello  ----------------------->
//!        <----------------------- Execute
//! Hungry ----------------------->        (whenever the program has taken what there was)
//!        <----------------------- Input
//! Output ----------------------->        (whenever the program writes)
//! Over   ----------------------->
//!        <----------------------- Acknowledge
//! ```

use crate::codec::{DecodeError, Reader, Writer};
use crate::frame::MAX_BODY;

/// A program to execute, as `execve(2)` takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Where it is in the guest.
    pub path: Vec<u8>,
    /// Its arguments, with its name for itself as the first.
    pub arguments: Vec<Vec<u8>>,
    /// Its environment: names and values.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// The directory it starts in.
    pub directory: Vec<u8>,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramEnd {
    /// It exited with this code.
    Exited(u8),
    /// This signal killed it.
    Killed(u8),
    /// It could not be started: why.
    NotStarted(String),
}

impl Program {
    /// Whether it fits a message.
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
