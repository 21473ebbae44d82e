// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Placeholders for addresses of this program, so that two builds of the program record the same
//! observations.
//!
//! The placeholder of a code address keeps the offset in the page: the code of watched calls is assembly on
//! pages of its own, so the offset is the same in all builds. All data addresses have one placeholder.

use std::ops::Range;
use std::sync::OnceLock;

/// The placeholder of the first byte of a page of code.
const CODE_PLACEHOLDER: u64 = 0x7e00_0000_0000_0000;
/// The placeholder of addresses of data.
const DATA_PLACEHOLDER: u64 = 0x7d00_0000_0000_0000;

/// The addresses of this program's segments.
#[derive(Debug, Default)]
pub(crate) struct ProgramAddresses {
    code: Range<u64>,
    /// Writable data. Read-only data is left out, since values of the flags register look like its addresses.
    data: Range<u64>,
}

impl ProgramAddresses {
    /// The addresses of the running program.
    pub(crate) fn of_this_program() -> &'static ProgramAddresses {
        static ADDRESSES: OnceLock<ProgramAddresses> = OnceLock::new();
        ADDRESSES.get_or_init(|| {
            // SAFETY: takes no pointers; the kernel's values describe the program headers in memory.
            let headers = unsafe {
                let start = libc::getauxval(libc::AT_PHDR) as *const libc::Elf64_Phdr;
                let count = usize::try_from(libc::getauxval(libc::AT_PHNUM)).unwrap_or_default();
                std::slice::from_raw_parts(start, count)
            };
            let segments_with = |flag: u32| {
                let has_flag = |header: &&libc::Elf64_Phdr| {
                    header.p_type == libc::PT_LOAD && header.p_flags & flag != 0
                };
                let headers = headers.iter().filter(has_flag);
                let start = headers.clone().map(|header| header.p_vaddr).min();
                let end = headers.map(|header| header.p_vaddr + header.p_memsz).max();
                start.unwrap_or_default()..end.unwrap_or_default()
            };
            ProgramAddresses { code: segments_with(libc::PF_X), data: segments_with(libc::PF_W) }
        })
    }

    /// The placeholder of `word` if it is an address of the program, else `word`.
    #[inline]
    pub(crate) fn replaced(&self, word: u64) -> u64 {
        if self.code.contains(&word) {
            CODE_PLACEHOLDER | word & 0xfff
        } else if self.data.contains(&word) {
            DATA_PLACEHOLDER
        } else {
            word
        }
    }

    /// A copy of `bytes` with placeholders in place of addresses. Each 8 bytes are one word; an incomplete
    /// last word is copied.
    pub(crate) fn replaced_in(&self, bytes: &[u8]) -> Vec<u8> {
        let mut replaced = bytes.to_vec();
        for word in replaced.as_chunks_mut::<8>().0 {
            *word = self.replaced(u64::from_ne_bytes(*word)).to_ne_bytes();
        }
        replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_code_keep_their_offset_in_the_page_and_those_of_data_do_not() {
        let addresses = ProgramAddresses { code: 0x1000..0x3000, data: 0x5000..0x6000 };
        let replaced = |word| addresses.replaced(word);
        assert_eq!(replaced(0x1019), replaced(0x2019));
        assert_ne!(replaced(0x1019), replaced(0x1020));
        assert_eq!(replaced(0x5008), replaced(0x5ff0));
        for other in [0, 0xfff, 0x3000, 0x4fff, 0x6000, u64::MAX] {
            assert_eq!(replaced(other), other);
        }
        let mut bytes = 0x5008u64.to_ne_bytes().to_vec();
        bytes.extend([7, 0, 0, 0]);
        let expected: Vec<u8> = [&DATA_PLACEHOLDER.to_ne_bytes()[..], &[7, 0, 0, 0]].concat();
        assert_eq!(addresses.replaced_in(&bytes), expected);
    }
}
