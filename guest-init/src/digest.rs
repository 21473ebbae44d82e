// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A digest of bytes that takes few instructions per byte. The digest detects changes, but is not
//! cryptographic: different bytes with the same digest are easy to find.

/// A running digest of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(u64);

/// An odd number with about as many bits set as clear: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Digest {
    /// The digest of no items.
    pub(crate) const EMPTY: Digest = Digest(0x2545_f491_4f6c_dd1d);

    /// The digest with this value, which [`Digest::value`] returned.
    pub(crate) fn from_value(value: u64) -> Digest {
        Digest(value)
    }

    /// The digest as a number.
    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    /// The digest of one item.
    pub(crate) fn of(item: &[u8]) -> u64 {
        let mut digest = Digest::EMPTY;
        digest.add(item);
        digest.0
    }

    /// Adds a word: multiplies to 128 bits and folds the halves, so that each bit of the word reaches all
    /// bits of the digest.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn add_word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    /// Adds an item: its length and its bytes.
    pub(crate) fn add(&mut self, item: &[u8]) {
        self.add_mapped(item, |word| word);
    }

    /// Adds an item: its length and its bytes. Each whole word of the bytes is replaced by the result of `map`.
    pub(crate) fn add_mapped(&mut self, item: &[u8], map: impl Fn(u64) -> u64) {
        self.add_word(item.len() as u64);
        let (words, rest) = item.as_chunks::<8>();
        for word in words {
            self.add_word(map(u64::from_ne_bytes(*word)));
        }
        if !rest.is_empty() {
            let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.add_word(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(items: &[&[u8]]) -> u64 {
        let mut digest = Digest::EMPTY;
        items.iter().for_each(|item| digest.add(item));
        digest.value()
    }

    #[test]
    fn each_byte_and_each_length_and_the_order_matter() {
        let bytes: Vec<u8> = (0..21).collect();
        let mut digests = vec![digest(&[&bytes])];
        for offset in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[offset] ^= 1 << bit;
                digests.push(digest(&[&changed]));
            }
            let (start, end) = bytes.split_at(offset);
            digests.push(digest(&[start]));
            digests.push(digest(&[start, end]));
            digests.push(digest(&[end, start]));
        }
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn a_digest_from_a_value_continues_the_digest_with_that_value() {
        let mut first = Digest::EMPTY;
        first.add(b"one");
        let mut second = Digest::from_value(first.value());
        second.add(b"two");
        assert_eq!(second.value(), digest(&[b"one", b"two"]));
    }
}
