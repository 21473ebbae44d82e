// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What host and level 1 say to each other over the vsock stream: JSON, each message behind its
//! length in four bytes, little-endian. The host asks, level 1 answers, one at a time; while programs
//! run there it says every [`BEAT`] how much it has done.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// vsock port at which the host listens.
pub const PORT: u32 = 1024;

/// Time between two of its words on what it does.
pub const BEAT: Duration = Duration::from_secs(5);

/// Largest message in bytes: a trace of a whole boot is some 10 MiB.
const LIMIT: u32 = 256 << 20;

/// What the host asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Start these programs together and wait for all of them: [`Answer::Ran`].
    Run(Vec<Program>),
    /// The text of a file: [`Answer::Text`].
    Read(String),
    /// Write a text to a file, which is made if it is not there: [`Answer::Text`], empty.
    Write(String, String),
    /// Every file below a directory, in order, without those of other file systems:
    /// [`Answer::Names`].
    Files(String),
    /// End every process but init, and say which there were: [`Answer::Names`].
    Sweep,
    /// Restart the machine; there is no answer.
    Restart,
}

/// A program to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    /// Its path and its arguments.
    pub argv: Vec<String>,
    /// Its environment, all of it.
    pub env: BTreeMap<String, String>,
    /// It is killed with SIGKILL after this time; what it started is not.
    pub limit: Duration,
    /// Look at it while it runs.
    pub look: Option<Look>,
}

/// A look at a running program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Look {
    /// How long after its start.
    pub after: Duration,
    /// At which files; `/proc/child` stands for its directory.
    pub files: Vec<String>,
}

/// How a program ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ended {
    /// Exit code, or 128 + the signal.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// From before its start until it was waited for.
    pub took: Duration,
    /// Its CPU time, user and system, with that of its children.
    pub cpu: Duration,
    /// Its largest resident set in KiB.
    pub resident_kib: u64,
    /// The texts that were looked at; `None` if it had ended before.
    pub seen: Option<Vec<String>>,
}

/// What level 1 answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It is up; the first message, which nobody asked for.
    Ready,
    /// It still runs what it was asked to run, and its CPUs have been busy for so long since it booted.
    Busy(Duration),
    /// The programs' ends, in their order.
    Ran(Vec<Ended>),
    /// A file's text.
    Text(String),
    /// Names of files or of processes.
    Names(Vec<String>),
    /// It could not be done, and why.
    Failed(String),
}

/// A message with its length in front.
///
/// # Errors
/// If it is too large.
pub fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= LIMIT);
    let length = length.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "too large"))?;
    Ok([&length.to_le_bytes(), &*text].concat())
}

/// Takes a message from the beginning of what has arrived; `None` if it is not whole yet.
///
/// # Errors
/// If it is no message.
pub fn take<T: for<'a> Deserialize<'a>>(arrived: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some((length, rest)) = arrived.split_first_chunk() else { return Ok(None) };
    let length = u32::from_le_bytes(*length);
    if length > LIMIT {
        return Err(io::Error::new(ErrorKind::InvalidData, "too large"));
    }
    let Some(text) = rest.get(..length as usize) else { return Ok(None) };
    let message = serde_json::from_slice(text)?;
    arrived.drain(..4 + length as usize);
    Ok(Some(message))
}

/// Reads a message.
///
/// # Errors
/// If reading fails, or what is read is no message.
pub fn receive<T: for<'a> Deserialize<'a>>(from: &mut impl Read) -> io::Result<T> {
    let mut arrived = vec![0; 4];
    from.read_exact(&mut arrived)?;
    let length = u32::from_le_bytes([arrived[0], arrived[1], arrived[2], arrived[3]]);
    from.take(length.into()).read_to_end(&mut arrived)?;
    take(&mut arrived)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

/// Writes a message.
///
/// # Errors
/// If writing fails, or it is too large.
pub fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&frame(message)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_from_any_pieces() {
        let request = Request::Write("/a".to_owned(), "b\0".to_owned());
        let bytes = [frame(&request).unwrap(), frame(&Request::Sweep).unwrap()].concat();
        let mut arrived = Vec::new();
        let mut messages = Vec::new();
        for byte in &bytes {
            arrived.push(*byte);
            messages.extend(take::<Request>(&mut arrived).unwrap());
        }
        assert!(arrived.is_empty());
        let [Request::Write(path, text), Request::Sweep] = &messages[..] else {
            panic!("{messages:?}")
        };
        assert_eq!((&**path, &**text), ("/a", "b\0"));
        let first: Request = receive(&mut &bytes[..]).unwrap();
        assert!(matches!(first, Request::Write(..)));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        assert!(take::<Request>(&mut u32::MAX.to_le_bytes().to_vec()).is_err());
        assert!(take::<Request>(&mut vec![1, 0, 0, 0, b'x']).is_err());
        assert!(receive::<Request>(&mut &[5, 0, 0, 0, b'x'][..]).is_err());
    }
}
