// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Text of a bounded length that is written without allocating. The tasks of a sandbox share the
//! thread-local storage of one thread, so they must not call the allocator.

use std::fmt;

/// Up to `N` bytes of text. Further bytes are dropped, and [`BoundedText::get`] reports that.
pub struct BoundedText<const N: usize> {
    bytes: [u8; N],
    length: usize,
    is_truncated: bool,
}

impl<const N: usize> BoundedText<N> {
    /// Appends these bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let fitting = bytes.len().min(N - self.length);
        self.bytes[self.length..self.length + fitting].copy_from_slice(&bytes[..fitting]);
        self.length += fitting;
        self.is_truncated |= fitting < bytes.len();
    }

    /// The bytes, and whether any were dropped.
    pub(super) fn get(&self) -> (&[u8], bool) {
        (&self.bytes[..self.length], self.is_truncated)
    }
}

impl<const N: usize> Default for BoundedText<N> {
    fn default() -> BoundedText<N> {
        BoundedText { bytes: [0; N], length: 0, is_truncated: false }
    }
}

impl<const N: usize> fmt::Write for BoundedText<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

/// Displays the first 64 bytes of a foreign program's buffer, escaped and in quotes.
pub(super) struct Quoted<'a>(pub(super) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_BYTES: usize = 64;
        write!(f, "\"{}\"", self.0[..self.0.len().min(MAX_BYTES)].escape_ascii())?;
        if self.0.len() > MAX_BYTES { f.write_str("...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn dropped_bytes_are_reported() {
        let mut text = BoundedText::<4>::default();
        let _ = write!(text, "{}", 123);
        assert_eq!(text.get(), (&b"123"[..], false));
        text.add(b"45");
        assert_eq!(text.get(), (&b"1234"[..], true));
    }

    #[test]
    fn bytes_are_shown_on_one_line() {
        assert_eq!(Quoted(b"a\n\"\xff").to_string(), r#""a\n\"\xff""#);
        assert_eq!(Quoted(&[b'x'; 65]).to_string(), format!("\"{}\"...", "x".repeat(64)));
    }
}
