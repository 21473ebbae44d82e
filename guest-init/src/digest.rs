// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A digest of bytes that takes few instructions per byte. It finds changes; it does not withstand
//! somebody who chooses the bytes.

/// A running digest of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(u64);

/// An odd number with about as many bits set as clear: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Digest {
    /// The digest of no items.
    pub(crate) const EMPTY: Digest = Digest(0x2545_f491_4f6c_dd1d);

    /// The digest that [`value`](Digest::value) returned.
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

    /// Adds an item: its length and its bytes, each whole word as `map` returns it.
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
        let whole: Vec<u8> = (0..21).collect();
        let mut seen = vec![digest(&[&whole])];
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                seen.push(digest(&[&changed]));
            }
            seen.push(digest(&[&whole[..at]]));
            seen.push(digest(&[&whole[..at], &whole[at..]]));
            seen.push(digest(&[&whole[at..], &whole[..at]]));
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        // The two halves at 0 are the empty item and the whole, in both orders.
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn a_digest_goes_on_where_it_was_left() {
        let mut first = Digest::EMPTY;
        first.add(b"one");
        let mut second = Digest::from_value(first.value());
        second.add(b"two");
        assert_eq!(second.value(), digest(&[b"one", b"two"]));
    }
}
