// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A foreign program, ready to be loaded.

use super::program_memory::{self, ProgramMemory};

/// A part of a program with one protection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The address of the segment, page-aligned.
    pub address: u64,
    /// The initial content.
    pub bytes: Vec<u8>,
    /// The length in bytes, a multiple of the page size. The memory after `bytes` is zero.
    pub length: u64,
    /// The protection, `PROT_*`.
    pub protection: i32,
}

/// A program to be loaded into [`ProgramMemory`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The segments, which do not overlap.
    pub segments: Vec<Segment>,
    /// The address at which the first thread begins.
    pub entry: u64,
}

impl Image {
    /// A program of position-independent code that begins at its first byte.
    #[must_use]
    pub fn of_code(code: &[u8]) -> Image {
        let segment = Segment {
            address: program_memory::BASE,
            bytes: code.to_vec(),
            length: (code.len() as u64).next_multiple_of(program_memory::PAGE_SIZE),
            protection: libc::PROT_READ | libc::PROT_EXEC,
        };
        Image { segments: vec![segment], entry: program_memory::BASE }
    }

    /// Copies the program into memory. Returns false if a segment is not within the memory.
    pub(super) fn load(&self, memory: &mut ProgramMemory) -> bool {
        self.segments.iter().all(|segment| {
            let Segment { address, length, protection, .. } = *segment;
            let loaded = memory.map(address, length, libc::PROT_READ | libc::PROT_WRITE)
                && memory.write(address, &segment.bytes)
                && memory.protect(address, length, protection).is_some();
            // SAFETY: the addresses were reserved, and mapped above.
            unsafe { crate::arch::make_executable(address..address + length) };
            loaded
        })
    }
}
