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
        let mut writer = Writer::default();
        self.encode(&mut writer);
        writer.into_bytes().len() < MAX_BODY
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.write_bytes(&self.path);
        writer.write_list(&self.arguments, |writer, argument| writer.write_bytes(argument));
        writer.write_list(&self.environment, |writer, (name, value)| {
            writer.write_bytes(name);
            writer.write_bytes(value);
        });
        writer.write_bytes(&self.directory);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Program {
            path: reader.read_bytes()?,
            arguments: reader.read_list(Reader::read_bytes)?,
            environment: reader
                .read_list(|reader| Ok((reader.read_bytes()?, reader.read_bytes()?)))?,
            directory: reader.read_bytes()?,
        })
    }
}

impl ProgramEnd {
    pub(crate) fn encode(&self, writer: &mut Writer) {
        match self {
            ProgramEnd::Exited(code) => {
                writer.write_u8(0);
                writer.write_u8(*code);
            }
            ProgramEnd::Killed(signal) => {
                writer.write_u8(1);
                writer.write_u8(*signal);
            }
            ProgramEnd::NotStarted(reason) => {
                writer.write_u8(2);
                writer.write_str(reason);
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.read_u8()? {
            0 => ProgramEnd::Exited(reader.read_u8()?),
            1 => ProgramEnd::Killed(reader.read_u8()?),
            2 => ProgramEnd::NotStarted(reader.read_str()?),
            tag => return Err(DecodeError::UnknownTag { kind: "end of a program", tag }),
        })
    }
}
