// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The memory of a foreign program: one range of addresses, the same in every run. Engines recognise
//! foreign calls by that range.

use crate::sys;
use std::ops::Range;

/// The size of a page in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// The first address: the default image base of Windows programs, above the code of guest-init.
pub const BASE: u64 = 0x1_4000_0000;
/// The length in bytes.
pub const LENGTH: u64 = 16 << 20;
/// Bytes at the beginning that are reserved for the program's image.
pub const IMAGE: u64 = 4 << 20;
/// Offsets in the rest: the memory that the program allocates, then the stacks and the blocks of its
/// threads.
const HEAP: Range<u64> = IMAGE..8 << 20;
const STACKS: u64 = 8 << 20;
const BLOCKS: u64 = 12 << 20;
/// Bytes of a thread's stack.
pub const STACK: u64 = 64 << 10;
/// Bytes of a thread's block, which holds data of the foreign system (the TEB of Windows).
pub const BLOCK: u64 = 2 * PAGE_SIZE;

/// [`LENGTH`] as a `usize`, and the number of pages.
const ADDRESSES: usize = 16 << 20;
const PAGES: usize = ADDRESSES / 4096;
const _: () = assert!(ADDRESSES as u64 == LENGTH && PAGES as u64 == LENGTH / PAGE_SIZE);

/// Marks a page in use; the low bits are its `PROT_*`.
const USED: u8 = 0x80;

/// All addresses of the memory.
#[must_use]
pub fn range() -> Range<u64> {
    BASE..BASE + LENGTH
}

/// The addresses of a thread's stack.
#[must_use]
pub fn stack(thread: usize) -> Range<u64> {
    let start = BASE + STACKS + thread as u64 * STACK;
    start..start + STACK
}

/// The addresses of a thread's block.
#[must_use]
pub fn block(thread: usize) -> Range<u64> {
    let start = BASE + BLOCKS + thread as u64 * BLOCK;
    start..start + BLOCK
}

/// The memory of one program. Nothing else maps or protects pages there, so `pages` is always right.
pub struct ProgramMemory {
    pages: [u8; PAGES],
}

impl ProgramMemory {
    /// Reserves the addresses, without access to them.
    ///
    /// # Errors
    /// As `mmap(2)`: `EEXIST` if something is mapped there.
    pub(super) fn new() -> sys::Result<ProgramMemory> {
        let flags = libc::MAP_PRIVATE
            | libc::MAP_ANONYMOUS
            | libc::MAP_NORESERVE
            | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: MAP_FIXED_NOREPLACE replaces no mapping.
        let got = unsafe { sys::mmap(&[BASE, LENGTH, 0, flags as u64, u64::MAX, 0])? };
        // Kernels before 4.17 ignore the flag and take the address as a hint.
        if got as u64 == BASE {
            Ok(ProgramMemory { pages: [0; PAGES] })
        } else {
            Err(sys::Errno(libc::EEXIST))
        }
    }

    /// The indices of the pages of a range, if it consists of whole pages of this memory.
    fn pages(start: u64, length: u64) -> Option<Range<usize>> {
        let offset = start.checked_sub(BASE)?;
        let end = offset.checked_add(length)?;
        if !offset.is_multiple_of(PAGE_SIZE)
            || !length.is_multiple_of(PAGE_SIZE)
            || length == 0
            || end > LENGTH
        {
            return None;
        }
        let page = |offset: u64| usize::try_from(offset / PAGE_SIZE).ok();
        Some(page(offset)?..page(end)?)
    }

    /// Maps zeroed pages at an address where none are mapped. Returns false if that is not possible.
    pub fn map(&mut self, start: u64, length: u64, protection: i32) -> bool {
        let Some(pages) = ProgramMemory::pages(start, length) else { return false };
        self.pages[pages.clone()].iter().all(|page| *page == 0)
            && self.change(start, length, pages, protection)
    }

    /// Maps zeroed pages at a free address of the heap and returns the address; `None` if there is no room.
    pub fn allocate(&mut self, length: u64, protection: i32) -> Option<u64> {
        let places = (BASE + HEAP.start..BASE + HEAP.end).step_by(4096);
        let end = BASE + HEAP.end;
        let fits = |start: &u64| start.checked_add(length).is_some_and(|after| after <= end);
        let free = |start: &u64| {
            ProgramMemory::pages(*start, length)
                .is_some_and(|pages| self.pages[pages].iter().all(|page| *page == 0))
        };
        let start = places.take_while(fits).find(free)?;
        self.map(start, length, protection).then_some(start)
    }

    /// Changes the protection of mapped pages. Returns the previous protection of the first page. The blocks
    /// of threads cannot be changed, as engines write selectors there.
    pub fn protect(&mut self, start: u64, length: u64, protection: i32) -> Option<i32> {
        let pages = ProgramMemory::pages(start, length)?;
        let blocks = start + length > BASE + BLOCKS;
        if blocks || !self.pages[pages.clone()].iter().all(|page| page & USED != 0) {
            return None;
        }
        let before = i32::from(self.pages[pages.start] & !USED);
        self.change(start, length, pages, protection).then_some(before)
    }

    /// Sets and records the protection of pages. Returns false if the kernel refuses.
    fn change(&mut self, start: u64, length: u64, pages: Range<usize>, protection: i32) -> bool {
        let Ok(bytes) = usize::try_from(length) else { return false };
        // SAFETY: only the foreign program uses this memory.
        if unsafe { sys::protect(start as *mut u8, bytes, protection) }.is_err() {
            return false;
        }
        self.pages[pages].fill(USED | u8::try_from(protection & 7).unwrap_or(0));
        true
    }

    /// Whether all bytes of a range have at least this protection.
    fn allows(&self, start: u64, length: u64, protection: i32) -> bool {
        if length == 0 {
            return true;
        }
        let wanted = USED | u8::try_from(protection).unwrap_or(0);
        let first = start & !(PAGE_SIZE - 1);
        let Some(end) =
            start.checked_add(length).and_then(|end| end.checked_next_multiple_of(PAGE_SIZE))
        else {
            return false;
        };
        ProgramMemory::pages(first, end - first)
            .is_some_and(|pages| self.pages[pages].iter().all(|page| page & wanted == wanted))
    }

    /// Bytes of the memory, if the program may read them.
    #[must_use]
    pub fn bytes(&self, start: u64, length: u64) -> Option<&[u8]> {
        if !self.allows(start, length, libc::PROT_READ) {
            return None;
        }
        if length == 0 {
            return Some(&[]);
        }
        // SAFETY: the pages are readable and stay so, as only `self` changes them. Threads of the
        // program may write the bytes meanwhile; any value is valid.
        Some(unsafe {
            std::slice::from_raw_parts(start as *const u8, usize::try_from(length).ok()?)
        })
    }

    /// A 64-bit word of the memory, if the program may read it.
    #[must_use]
    pub fn word(&self, address: u64) -> Option<u64> {
        self.bytes(address, 8)?.try_into().ok().map(u64::from_ne_bytes)
    }

    /// Writes bytes, if the program may write them. Returns false if it may not.
    pub fn write(&mut self, start: u64, bytes: &[u8]) -> bool {
        let allowed = self.allows(start, bytes.len() as u64, libc::PROT_WRITE);
        if allowed {
            // SAFETY: the pages are writable and belong to the foreign program.
            unsafe {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), start as *mut u8, bytes.len());
            }
        }
        allowed
    }
}

impl Drop for ProgramMemory {
    fn drop(&mut self) {
        // SAFETY: only the foreign program uses this memory, and its tasks are dead.
        let _ = unsafe { sys::unmap(BASE as *mut u8, ADDRESSES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test: the addresses are the process's.
    #[test]
    fn memory_is_as_it_is_said_to_be() {
        const READ: i32 = libc::PROT_READ;
        const BOTH: i32 = libc::PROT_READ | libc::PROT_WRITE;
        let mut memory = ProgramMemory::new().unwrap();
        assert!(ProgramMemory::new().is_err(), "there is one");
        for (start, length) in [
            (BASE - PAGE_SIZE, PAGE_SIZE),
            (BASE + 1, PAGE_SIZE),
            (BASE, 1),
            (BASE, 0),
            (BASE, LENGTH + PAGE_SIZE),
            (BASE + LENGTH, PAGE_SIZE),
            (BASE, !(PAGE_SIZE - 1)),
        ] {
            assert!(!memory.map(start, length, BOTH), "{start:#x} {length:#x}");
            assert_eq!(memory.protect(start, length, BOTH), None);
        }
        assert!(memory.map(BASE, 2 * PAGE_SIZE, BOTH));
        assert!(!memory.map(BASE + PAGE_SIZE, PAGE_SIZE, BOTH), "something is there");
        assert!(memory.write(BASE + PAGE_SIZE - 4, &[1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(
            memory.word(BASE + PAGE_SIZE - 4),
            Some(u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8]))
        );
        assert!(!memory.write(BASE + 2 * PAGE_SIZE - 4, &[0; 8]));
        assert_eq!(memory.bytes(BASE + 2 * PAGE_SIZE - 4, 8), None);
        assert_eq!(memory.bytes(u64::MAX, 8), None);
        assert_eq!(memory.bytes(0, 0), Some(&[][..]));
        assert_eq!(memory.protect(BASE + PAGE_SIZE, PAGE_SIZE, READ), Some(BOTH));
        assert!(
            !memory.write(BASE + PAGE_SIZE, &[0]) && memory.bytes(BASE + PAGE_SIZE, 4).is_some()
        );
        assert_eq!(memory.protect(BASE + PAGE_SIZE, PAGE_SIZE, 0), Some(READ));
        assert_eq!(memory.bytes(BASE + PAGE_SIZE, 1), None);
        let first = memory.allocate(3 * PAGE_SIZE, BOTH).unwrap();
        assert_eq!(memory.allocate(PAGE_SIZE, BOTH), Some(first + 3 * PAGE_SIZE));
        assert_eq!(memory.allocate(LENGTH, BOTH), None);
        assert_eq!(memory.allocate(1, BOTH), None);
        drop(memory);
        drop(ProgramMemory::new().unwrap());
    }
}
