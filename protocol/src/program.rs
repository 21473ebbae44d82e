// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A program that runs in the guest instead of cases, and its end.
//!
//! ```text
//! Hello  ----------------------->
//!        <----------------------- Execute
//! StdinWanted ------------------>        (whenever the program has read all input so far)
//!        <----------------------- Stdin
//! Output ----------------------->        (whenever the program writes)
//! ProgramEnded ---------------------->
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
    /// Whether the program fits in one message.
    #[must_use]
    pub fn fits_in_frame(&self) -> bool {
        let mut out = Writer::default();
        self.encode(&mut out);
        out.into_bytes().len() < MAX_BODY
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        out.write_bytes(&self.path);
        out.write_list(&self.arguments, |out, argument| out.write_bytes(argument));
        out.write_list(&self.environment, |out, (name, value)| {
            out.write_bytes(name);
            out.write_bytes(value);
        });
        out.write_bytes(&self.directory);
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Program {
            path: input.read_bytes()?,
            arguments: input.read_list(Reader::read_bytes)?,
            environment: input.read_list(|input| Ok((input.read_bytes()?, input.read_bytes()?)))?,
            directory: input.read_bytes()?,
        })
    }
}

impl ProgramEnd {
    pub(crate) fn encode(&self, out: &mut Writer) {
        match self {
            ProgramEnd::Exited(code) => {
                out.write_u8(0);
                out.write_u8(*code);
            }
            ProgramEnd::Killed(signal) => {
                out.write_u8(1);
                out.write_u8(*signal);
            }
            ProgramEnd::NotStarted(why) => {
                out.write_u8(2);
                out.write_str(why);
            }
        }
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match input.read_u8()? {
            0 => ProgramEnd::Exited(input.read_u8()?),
            1 => ProgramEnd::Killed(input.read_u8()?),
            2 => ProgramEnd::NotStarted(input.read_str()?),
            tag => return Err(DecodeError::UnknownTag { what: "end of a program", tag }),
        })
    }
}
