// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Receives the host's messages.

use crate::sys;
use std::io::{self, Read};
use sudbox_protocol::{FrameReader, HostMessage};

/// The reason why the conversation with the host ended early.
#[derive(Debug)]
pub enum ConversationError {
    /// The stream failed or ended.
    Stream(io::Error),
    /// The host broke the protocol.
    Protocol(String),
    /// The runner could not make its preparations.
    Setup(sys::Errno),
}

impl std::fmt::Display for ConversationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConversationError::Stream(error) => {
                write!(f, "the connection to the host failed: {error}")
            }
            ConversationError::Protocol(reason) => {
                write!(f, "the host broke the protocol: {reason}")
            }
            ConversationError::Setup(errno) => {
                write!(f, "the runner cannot set itself up: {errno}")
            }
        }
    }
}

impl std::error::Error for ConversationError {}

impl From<io::Error> for ConversationError {
    fn from(error: io::Error) -> Self {
        ConversationError::Stream(error)
    }
}

/// Waits for the host's next message.
///
/// # Errors
/// [`ConversationError::Stream`] or [`ConversationError::Protocol`]
pub(crate) fn receive<S: Read>(
    stream: &mut S,
    frames: &mut FrameReader,
) -> Result<HostMessage, ConversationError> {
    let mut buffer = [0; 4096];
    loop {
        match frames.next_body() {
            Ok(Some(body)) => {
                return HostMessage::decode(&body)
                    .map_err(|error| ConversationError::Protocol(error.to_string()));
            }
            Ok(None) => {}
            Err(error) => return Err(ConversationError::Protocol(error.to_string())),
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(length) => frames.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
