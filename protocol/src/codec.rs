// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The encoding of integers, strings and lists: little-endian, with each length before its content.
//! Before a decoder allocates memory, it compares the length with the number of bytes that are left.

/// The reason why bytes are not a valid message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The body ends before the message does.
    Truncated,
    /// This number of bytes follows the message in the body.
    Trailing(usize),
    /// A tag without a meaning.
    UnknownTag {
        /// The kind of value that the tag selects, such as `feature`.
        kind: &'static str,
        /// The tag.
        tag: u8,
    },
    /// A string that is not UTF-8.
    NotUtf8,
    /// A list announces this number of entries, more than the rest of the body can hold.
    ListTooLong(u32),
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DecodeError::Truncated => write!(formatter, "the message ends early"),
            DecodeError::Trailing(count) => write!(formatter, "{count} bytes follow the message"),
            DecodeError::UnknownTag { kind, tag } => write!(formatter, "unknown {kind} {tag}"),
            DecodeError::NotUtf8 => write!(formatter, "a string is not UTF-8"),
            DecodeError::ListTooLong(count) => write!(formatter, "a list claims {count} entries"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Encodes the body of a message.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn write_u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn write_u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn write_u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn write_u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn write_str(&mut self, text: &str) {
        self.write_bytes(text.as_bytes());
    }

    pub(crate) fn write_bytes(&mut self, bytes: &[u8]) {
        self.write_length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn write_list<T>(
        &mut self,
        items: &[T],
        mut write_item: impl FnMut(&mut Writer, &T),
    ) {
        self.write_length(items.len());
        for item in items {
            write_item(self, item);
        }
    }

    fn write_length(&mut self, length: usize) {
        self.write_u32(u32::try_from(length).expect("a message is shorter than 4 GiB"));
    }
}

/// Decodes the body of a message. Every method returns [`DecodeError::Truncated`] if the body ends before
/// the value does.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Reader(body)
    }

    /// Checks that no bytes are left.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing(count)),
        }
    }

    fn read_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, unread) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.0 = unread;
        Ok(*array)
    }

    pub(crate) fn read_u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.read_array::<1>()?[0])
    }

    pub(crate) fn read_u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.read_array()?))
    }

    pub(crate) fn read_u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.read_array()?))
    }

    pub(crate) fn read_u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.read_array()?))
    }

    pub(crate) fn read_str(&mut self) -> Result<String, DecodeError> {
        String::from_utf8(self.read_bytes()?).map_err(|_| DecodeError::NotUtf8)
    }

    pub(crate) fn read_bytes(&mut self) -> Result<Vec<u8>, DecodeError> {
        let length = self.read_u32()? as usize;
        if length > self.0.len() {
            return Err(DecodeError::Truncated);
        }
        let (bytes, unread) = self.0.split_at(length);
        self.0 = unread;
        Ok(bytes.to_vec())
    }

    pub(crate) fn read_list<T>(
        &mut self,
        mut read_item: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.read_u32()?;
        // Each entry takes at least one byte, so the number of unread bytes limits the allocation.
        if count as usize > self.0.len() {
            return Err(DecodeError::ListTooLong(count));
        }
        (0..count).map(|_| read_item(self)).collect()
    }
}
