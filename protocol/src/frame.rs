// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Frames: the length of the body (`u32`, little-endian), then the body.

/// Maximum length of a frame's body in bytes.
pub const MAX_BODY: usize = 256 * 1024;

/// Size in bytes of the length before the body.
const HEADER_SIZE: usize = 4;

/// The reason why the rest of a byte stream cannot be split into frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A frame announces a body of this many bytes, more than [`MAX_BODY`].
    TooLong(u32),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FrameError::TooLong(length) = self;
        write!(formatter, "a frame announces {length} bytes, more than {MAX_BODY}")
    }
}

impl std::error::Error for FrameError {}

/// Wraps a body in a frame.
///
/// # Panics
/// If the body is longer than [`MAX_BODY`]. Messages cut long strings but not long lists. A sender must
/// split a list whose length depends on the user, such as a plan with repeats.
#[must_use]
pub fn wrap(body: &[u8]) -> Vec<u8> {
    assert!(body.len() <= MAX_BODY, "a body of {} bytes", body.len());
    let length = u32::try_from(body.len()).expect("bounded above");
    let mut frame = Vec::with_capacity(HEADER_SIZE + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

/// Splits a byte stream, which may arrive in pieces of any size, into bodies.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Index in `buffer` of the first byte that no returned body contains.
    start: usize,
}

impl FrameReader {
    /// Appends the next piece of the stream.
    pub fn push(&mut self, piece: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(piece);
    }

    /// The next complete body, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError::TooLong`], at this and every later call, because the stream cannot be
    /// resynchronised.
    pub fn next_body(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let Some((header, following_bytes)) =
            self.buffer[self.start..].split_first_chunk::<HEADER_SIZE>()
        else {
            return Ok(None);
        };
        let announced_length = u32::from_le_bytes(*header);
        let length = announced_length as usize;
        if length > MAX_BODY {
            return Err(FrameError::TooLong(announced_length));
        }
        let Some(body) = following_bytes.get(..length) else {
            return Ok(None);
        };
        let body = body.to_vec();
        self.start += HEADER_SIZE + length;
        Ok(Some(body))
    }

    /// Whether the stream ends inside a frame.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        self.start < self.buffer.len()
    }
}
