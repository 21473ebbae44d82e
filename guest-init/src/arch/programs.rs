// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A minimal ELF program, generated at run time.

use super::{ELF_FLAGS, ELF_MACHINE, tiny_program_code};

/// Returns a minimal ELF executable. Its one segment lies outside the range [`inside`](super::inside). It
/// calls dup(0), then exits with the low 7 bits of `code`, or one more if dup() failed.
#[must_use]
pub fn tiny_program(code: u8) -> Vec<u8> {
    const BASE: u64 = 0x1000_0000;
    let text = tiny_program_code(code & 0x7f);
    // The ELF header and one program header.
    let headers = 64 + 56;
    let size = headers + text.len() as u64;
    let half = u16::to_ne_bytes;
    let word = u32::to_ne_bytes;
    let long = u64::to_ne_bytes;
    let byte_order = if cfg!(target_endian = "little") { 1 } else { 2 };
    // e_ident: magic number, ELFCLASS64, byte order, version, ABI.
    let mut image = [b"\x7fELF", &[2, byte_order, 1, 0][..], &[0; 8]].concat();
    // e_type, e_machine; e_version; e_entry, e_phoff, e_shoff; e_flags; sizes and counts.
    image.extend([2, ELF_MACHINE].map(half).concat());
    image.extend(word(1));
    image.extend([BASE + headers, 64, 0].map(long).concat());
    image.extend(word(ELF_FLAGS));
    image.extend([64, 56, 1, 0, 0, 0].map(half).concat());
    // PT_LOAD of the whole file, readable and executable.
    image.extend([1, 5].map(word).concat());
    image.extend([0, BASE, BASE, size, size, 0x1000].map(long).concat());
    image.extend(text);
    image
}

/// The number that each of [`PROBED_FUNCTIONS`](super::PROBED_FUNCTIONS) adds to its argument.
pub const PROBED_INCREMENT: u32 = 7;
