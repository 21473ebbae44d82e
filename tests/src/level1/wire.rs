// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The protocol between the host and level 1 on a vsock stream. A message is JSON after its length
//! in bytes (4 bytes, little-endian). The host sends a request and level 1 sends its response, one at
//! a time. While programs run, level 1 sends [`Response::Busy`] every [`HEARTBEAT`].

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// vsock port on which the host listens.
pub const PORT: u32 = 1024;

/// Interval of [`Response::Busy`].
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// Maximum size of a message in bytes; a trace of a whole boot has about 10 MiB.
const MAX_MESSAGE_SIZE: u32 = 256 << 20;

/// A request of the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Runs these programs in parallel until all have ended. Response: [`Response::Ended`].
    Run(Vec<Program>),
    /// Reads a file. Response: [`Response::Text`].
    Read(String),
    /// Writes a text to a file (path, text). Response: an empty [`Response::Text`].
    Write(String, String),
    /// Lists every file below a directory, sorted, without other file systems. Response:
    /// [`Response::Names`].
    Files(String),
    /// Kills every process except init. Response: [`Response::Names`], the processes that were left
    /// after a grace period.
    KillAll,
    /// Restarts the machine. No response.
    Restart,
}

/// A program to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    /// Path and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Time after which the program, but not its children, is killed with SIGKILL.
    pub limit: Duration,
    /// Files to read while the program runs.
    pub inspection: Option<Inspection>,
}

/// Files to read while a program runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inspection {
    /// Time after the program's start.
    pub after: Duration,
    /// Paths; `/proc/child` stands for the program's directory in `/proc`.
    pub files: Vec<String>,
}

/// The exit status, output and resource usage of a program.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProgramEnd {
    /// Exit code, or 128 + the signal.
    pub code: i32,
    /// Output on stdout.
    pub stdout: String,
    /// Output on stderr.
    pub stderr: String,
    /// Wall-clock time from fork to wait.
    pub elapsed: Duration,
    /// CPU time, user and system, including waited-for children.
    pub cpu: Duration,
    /// Maximum resident set size in KiB.
    pub resident_kib: u64,
    /// Contents of the files of the [`Inspection`]; `None` if the program had ended before it.
    pub inspected: Option<Vec<String>>,
}

/// A response of level 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Response {
    /// Init is ready. This is the first message; it responds to no request.
    Ready,
    /// The programs are still running. The duration is the busy time of all CPUs since boot.
    Busy(Duration),
    /// The ends of the programs, in the order of the request.
    Ended(Vec<ProgramEnd>),
    /// Contents of a file.
    Text(String),
    /// Names of files or processes.
    Names(Vec<String>),
    /// The request failed, with the reason.
    Failed(String),
}

/// Encodes a message.
///
/// # Errors
/// If the message is larger than 256 MiB.
pub fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= MAX_MESSAGE_SIZE);
    let length = length.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "too large"))?;
    Ok([&length.to_le_bytes(), &*text].concat())
}

/// Decodes a message at the beginning of `received` and removes its bytes; `None` if the message is
/// not complete yet.
///
/// # Errors
/// If the length is above the limit or the JSON is invalid.
pub fn take_message<T: for<'a> Deserialize<'a>>(received: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some((length, rest)) = received.split_first_chunk() else { return Ok(None) };
    let length = u32::from_le_bytes(*length);
    if length > MAX_MESSAGE_SIZE {
        return Err(io::Error::new(ErrorKind::InvalidData, "too large"));
    }
    let Some(text) = rest.get(..length as usize) else { return Ok(None) };
    let message = serde_json::from_slice(text)?;
    received.drain(..4 + length as usize);
    Ok(Some(message))
}

/// Reads a message.
///
/// # Errors
/// If reading fails, or as [`take_message`].
pub fn receive<T: for<'a> Deserialize<'a>>(from: &mut impl Read) -> io::Result<T> {
    let mut received = vec![0; 4];
    from.read_exact(&mut received)?;
    let length = u32::from_le_bytes([received[0], received[1], received[2], received[3]]);
    from.take(length.into()).read_to_end(&mut received)?;
    take_message(&mut received)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

/// Writes a message.
///
/// # Errors
/// If writing fails or the message is too large.
pub fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_decoded_from_single_bytes() {
        let request = Request::Write("/a".to_owned(), "b\0".to_owned());
        let bytes = [encode(&request).unwrap(), encode(&Request::KillAll).unwrap()].concat();
        let mut received = Vec::new();
        let mut messages = Vec::new();
        for byte in &bytes {
            received.push(*byte);
            messages.extend(take_message::<Request>(&mut received).unwrap());
        }
        assert!(received.is_empty());
        let [Request::Write(path, text), Request::KillAll] = &messages[..] else {
            panic!("{messages:?}")
        };
        assert_eq!((&**path, &**text), ("/a", "b\0"));
        let first: Request = receive(&mut &bytes[..]).unwrap();
        assert!(matches!(first, Request::Write(..)));
    }

    #[test]
    fn invalid_messages_are_errors() {
        assert!(take_message::<Request>(&mut u32::MAX.to_le_bytes().to_vec()).is_err());
        assert!(take_message::<Request>(&mut vec![1, 0, 0, 0, b'x']).is_err());
        assert!(receive::<Request>(&mut &[5, 0, 0, 0, b'x'][..]).is_err());
    }
}
