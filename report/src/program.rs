// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program that ran on a kernel, with its output: the JSON of `exec` and `sandbox run`.

use base64ct::{Base64, Encoding as _};
use serde::Serialize;
use std::borrow::Cow;

use crate::Kernel;
use crate::forms::json::to_json;
use crate::text::Printable;

/// Maximum number of bytes of one stream in a report. Further bytes are only counted, because a program may
/// print without end.
pub const STREAM_LIMIT: usize = 8 << 20;

/// The bytes that a program wrote to stdout or stderr, up to [`STREAM_LIMIT`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedStream {
    bytes: Vec<u8>,
    omitted_bytes: u64,
}

impl CapturedStream {
    /// Appends bytes. Bytes beyond the limit are only counted.
    pub fn push(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(STREAM_LIMIT - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..kept]);
        self.omitted_bytes += (bytes.len() - kept) as u64;
    }

    /// The text. U+FFFD replaces bytes that are not UTF-8.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// Number of bytes beyond the limit.
    #[must_use]
    pub fn omitted_bytes(&self) -> u64 {
        self.omitted_bytes
    }

    /// Removes a last character that the limit cut in two, so that text in UTF-8 stays valid.
    fn without_partial_character(mut self) -> CapturedStream {
        if self.omitted_bytes > 0
            && let Err(error) = std::str::from_utf8(&self.bytes)
            && error.error_len().is_none()
        {
            self.omitted_bytes += (self.bytes.len() - error.valid_up_to()) as u64;
            self.bytes.truncate(error.valid_up_to());
        }
        self
    }

    /// The bytes in base64, if they are not UTF-8.
    fn base64(&self) -> Option<String> {
        std::str::from_utf8(&self.bytes).err().map(|_| Base64::encode_string(&self.bytes))
    }
}

/// The output of a program, and its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Execution {
    /// The text that the program wrote to stdout. U+FFFD replaces bytes that are not UTF-8.
    pub stdout: String,
    /// The bytes of `stdout` in base64 (RFC 4648), if they are not UTF-8.
    pub stdout_base64: Option<String>,
    /// Number of bytes that the program wrote to stdout after those of `stdout`, which has 8 MiB at most.
    pub stdout_omitted_bytes: u64,
    /// The text that the program wrote to stderr, as in `stdout`.
    pub stderr: String,
    /// The bytes of `stderr` in base64 (RFC 4648), if they are not UTF-8.
    pub stderr_base64: Option<String>,
    /// Number of bytes that the program wrote to stderr after those of `stderr`, which has 8 MiB at most.
    pub stderr_omitted_bytes: u64,
    /// The exit status of the program, if it exited.
    pub exit_status: Option<u8>,
    /// The number of the signal that killed the program, if one did.
    pub signal: Option<u8>,
    /// The fault that the kernel reported while the program ran, if it reported one.
    pub kernel_fault: Option<String>,
    /// The reason why the program did not start or end, if it did not.
    pub error: Option<String>,
}

impl Execution {
    /// Sets the fields about stdout and stderr.
    pub fn set_output(&mut self, stdout: CapturedStream, stderr: CapturedStream) {
        let (stdout, stderr) =
            (stdout.without_partial_character(), stderr.without_partial_character());
        self.stdout_base64 = stdout.base64();
        self.stdout_omitted_bytes = stdout.omitted_bytes;
        self.stdout = stdout.text().into_owned();
        self.stderr_base64 = stderr.base64();
        self.stderr_omitted_bytes = stderr.omitted_bytes;
        self.stderr = stderr.text().into_owned();
    }
}

/// A program that ran on a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProgramReport {
    /// Version of the schema.
    pub schema: u32,
    /// The program as the user named it.
    pub program: String,
    /// The kernel.
    pub kernel: Kernel,
    /// The machine that the kernel ran on.
    pub machine: String,
    /// The output of the program, and its end.
    #[serde(flatten)]
    pub execution: Execution,
    /// The exit code of sudbox.
    pub exit_code: u8,
}

impl ProgramReport {
    /// The JSON document.
    #[must_use]
    pub fn to_json(&self) -> Printable {
        to_json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(pieces: &[&[u8]]) -> Execution {
        let mut stream = CapturedStream::default();
        for piece in pieces {
            stream.push(piece);
        }
        let mut execution = Execution::default();
        execution.set_output(stream.clone(), stream);
        execution
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept_in_base64() {
        let text = execution(&[b"a\n", "\u{e9}".as_bytes()]);
        assert_eq!(
            (&*text.stdout, text.stdout_base64, text.stderr_base64),
            ("a\n\u{e9}", None, None)
        );
        // `Yf8=` is the output of: printf 'a\377' | base64
        let binary = execution(&[b"a", b"\xff"]);
        assert_eq!((&*binary.stdout, binary.stdout_base64.as_deref()), ("a\u{fffd}", Some("Yf8=")));
        assert_eq!((&*binary.stderr, binary.stderr_base64.as_deref()), ("a\u{fffd}", Some("Yf8=")));
    }

    #[test]
    fn bytes_beyond_the_limit_are_counted() {
        let all = vec![b'x'; STREAM_LIMIT];
        assert_eq!(execution(&[&all]).stdout_omitted_bytes, 0);
        let all_but_one = &all[1..];
        // The limit is between the two bytes of U+00E9.
        let truncated = execution(&[all_but_one, "\u{e9}y".as_bytes(), b"z"]);
        assert_eq!((truncated.stdout.len(), truncated.stdout_omitted_bytes), (STREAM_LIMIT - 1, 4));
        assert_eq!(truncated.stdout_base64, None);
    }
}
