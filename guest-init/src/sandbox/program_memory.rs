// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The memory of a foreign program: one range of addresses, the same in every run. An engine recognises
//! a call of the program by its address in this range.

use crate::sys;
use std::ops::Range;

/// The size of a page in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// The first address of the memory: the default image base of Windows programs, above the code of guest-init.
pub const BASE: u64 = 0x1_4000_0000;
/// The length of the memory in bytes.
pub const LENGTH: u64 = 16 << 20;
/// Length in bytes of the part that is reserved for the program's image, at the beginning of the memory.
pub const IMAGE_LENGTH: u64 = 4 << 20;
/// Offsets after the image: the heap, from which the program allocates memory, then the stacks and the blocks
/// of its threads.
const HEAP: Range<u64> = IMAGE_LENGTH..8 << 20;
const STACKS_OFFSET: u64 = 8 << 20;
const BLOCKS_OFFSET: u64 = 12 << 20;
/// Length in bytes of a thread's stack.
pub const STACK_LENGTH: u64 = 64 << 10;
/// Length in bytes of a thread's block, which holds data of the foreign system (the TEB of Windows).
pub const BLOCK_LENGTH: u64 = 2 * PAGE_SIZE;

/// [`LENGTH`] as a `usize`, and the number of pages.
const LENGTH_USIZE: usize = 16 << 20;
const PAGE_COUNT: usize = LENGTH_USIZE / 4096;
const _: () = assert!(LENGTH_USIZE as u64 == LENGTH && PAGE_COUNT as u64 == LENGTH / PAGE_SIZE);

/// The bit of an entry of [`ProgramMemory::pages`] that marks the page as mapped. The low bits are the page's
/// `PROT_*`.
const PAGE_IN_USE: u8 = 0x80;

/// All addresses of the memory.
#[must_use]
pub fn range() -> Range<u64> {
    BASE..BASE + LENGTH
}

/// The addresses of a thread's stack.
#[must_use]
pub fn stack(thread: usize) -> Range<u64> {
    let start = BASE + STACKS_OFFSET + thread as u64 * STACK_LENGTH;
    start..start + STACK_LENGTH
}

/// The addresses of a thread's block.
#[must_use]
pub fn block(thread: usize) -> Range<u64> {
    let start = BASE + BLOCKS_OFFSET + thread as u64 * BLOCK_LENGTH;
    start..start + BLOCK_LENGTH
}

/// The memory of one program. Only this structure maps pages there or changes their protection.
pub struct ProgramMemory {
    /// An entry for each page: 0 if the page is free, else [`PAGE_IN_USE`] and the page's `PROT_*`.
    pages: [u8; PAGE_COUNT],
}

impl ProgramMemory {
    /// Reserves the addresses of the memory, without access for the program.
    ///
    /// # Errors
    /// As `mmap(2)`: `EEXIST` if something is mapped there.
    pub(super) fn new() -> sys::Result<ProgramMemory> {
        let flags = libc::MAP_PRIVATE
            | libc::MAP_ANONYMOUS
            | libc::MAP_NORESERVE
            | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: MAP_FIXED_NOREPLACE replaces no mapping.
        let address = unsafe { sys::mmap(&[BASE, LENGTH, 0, flags as u64, u64::MAX, 0])? };
        // Kernels before 4.17 ignore the flag and take the address as a hint.
        if address as u64 == BASE {
            Ok(ProgramMemory { pages: [0; PAGE_COUNT] })
        } else {
            Err(sys::Errno(libc::EEXIST))
        }
    }

    /// The indices of the pages of a range; `None` if the range does not consist of whole pages of this memory.
    fn page_indices(start: u64, length: u64) -> Option<Range<usize>> {
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

    /// Maps zeroed pages at this address. Returns false if a page is mapped there already, or if the kernel
    /// refuses.
    pub fn map(&mut self, start: u64, length: u64, protection: i32) -> bool {
        let Some(pages) = ProgramMemory::page_indices(start, length) else { return false };
        self.pages[pages.clone()].iter().all(|page| *page == 0)
            && self.set_protection(start, length, pages, protection)
    }

    /// Maps zeroed pages at a free address of the heap and returns the address; `None` if the heap has no free
    /// range of this length.
    pub fn allocate(&mut self, length: u64, protection: i32) -> Option<u64> {
        let starts = (BASE + HEAP.start..BASE + HEAP.end).step_by(4096);
        let end = BASE + HEAP.end;
        let fits =
            |start: &u64| start.checked_add(length).is_some_and(|range_end| range_end <= end);
        let is_free = |start: &u64| {
            ProgramMemory::page_indices(*start, length)
                .is_some_and(|pages| self.pages[pages].iter().all(|page| *page == 0))
        };
        let start = starts.take_while(fits).find(is_free)?;
        self.map(start, length, protection).then_some(start)
    }

    /// Changes the protection of mapped pages. Returns the previous protection of the first page. The
    /// protection of threads' blocks cannot be changed, since engines write selectors there.
    pub fn protect(&mut self, start: u64, length: u64, protection: i32) -> Option<i32> {
        let pages = ProgramMemory::page_indices(start, length)?;
        let has_blocks = start + length > BASE + BLOCKS_OFFSET;
        if has_blocks || !self.pages[pages.clone()].iter().all(|page| page & PAGE_IN_USE != 0) {
            return None;
        }
        let previous = i32::from(self.pages[pages.start] & !PAGE_IN_USE);
        self.set_protection(start, length, pages, protection).then_some(previous)
    }

    /// Sets and records the protection of pages. Returns false if the kernel refuses.
    fn set_protection(
        &mut self,
        start: u64,
        length: u64,
        pages: Range<usize>,
        protection: i32,
    ) -> bool {
        let Ok(bytes) = usize::try_from(length) else { return false };
        // SAFETY: only the foreign program uses this memory.
        if unsafe { sys::protect(start as *mut u8, bytes, protection) }.is_err() {
            return false;
        }
        self.pages[pages].fill(PAGE_IN_USE | u8::try_from(protection & 7).unwrap_or(0));
        true
    }

    /// Whether all bytes of a range have at least this protection.
    fn allows(&self, start: u64, length: u64, protection: i32) -> bool {
        if length == 0 {
            return true;
        }
        let required = PAGE_IN_USE | u8::try_from(protection).unwrap_or(0);
        let first_page = start & !(PAGE_SIZE - 1);
        let Some(end) =
            start.checked_add(length).and_then(|end| end.checked_next_multiple_of(PAGE_SIZE))
        else {
            return false;
        };
        ProgramMemory::page_indices(first_page, end - first_page)
            .is_some_and(|pages| self.pages[pages].iter().all(|page| page & required == required))
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
        // SAFETY: the pages are readable, and only `self` could change that. Threads of the program may
        // write the bytes meanwhile; any value is valid.
        Some(unsafe {
            std::slice::from_raw_parts(start as *const u8, usize::try_from(length).ok()?)
        })
    }

    /// A 64-bit word of the memory, if the program may read it.
    #[must_use]
    pub fn word(&self, address: u64) -> Option<u64> {
        self.bytes(address, 8)?.try_into().ok().map(u64::from_ne_bytes)
    }

    /// Writes bytes, if the program may write to these addresses. Returns false otherwise.
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
        let _ = unsafe { sys::unmap(BASE as *mut u8, LENGTH_USIZE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A single test, since a process can have only one such memory.
    #[test]
    fn pages_are_mapped_protected_and_accessed_only_as_permitted() {
        const READ: i32 = libc::PROT_READ;
        const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
        let mut memory = ProgramMemory::new().unwrap();
        assert!(ProgramMemory::new().is_err(), "the addresses are in use");
        for (start, length) in [
            (BASE - PAGE_SIZE, PAGE_SIZE),
            (BASE + 1, PAGE_SIZE),
            (BASE, 1),
            (BASE, 0),
            (BASE, LENGTH + PAGE_SIZE),
            (BASE + LENGTH, PAGE_SIZE),
            (BASE, !(PAGE_SIZE - 1)),
        ] {
            assert!(!memory.map(start, length, READ_WRITE), "{start:#x} {length:#x}");
            assert_eq!(memory.protect(start, length, READ_WRITE), None);
        }
        assert!(memory.map(BASE, 2 * PAGE_SIZE, READ_WRITE));
        assert!(!memory.map(BASE + PAGE_SIZE, PAGE_SIZE, READ_WRITE), "a page is mapped there");
        assert!(memory.write(BASE + PAGE_SIZE - 4, &[1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(
            memory.word(BASE + PAGE_SIZE - 4),
            Some(u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8]))
        );
        assert!(!memory.write(BASE + 2 * PAGE_SIZE - 4, &[0; 8]));
        assert_eq!(memory.bytes(BASE + 2 * PAGE_SIZE - 4, 8), None);
        assert_eq!(memory.bytes(u64::MAX, 8), None);
        assert_eq!(memory.bytes(0, 0), Some(&[][..]));
        assert_eq!(memory.protect(BASE + PAGE_SIZE, PAGE_SIZE, READ), Some(READ_WRITE));
        assert!(
            !memory.write(BASE + PAGE_SIZE, &[0]) && memory.bytes(BASE + PAGE_SIZE, 4).is_some()
        );
        assert_eq!(memory.protect(BASE + PAGE_SIZE, PAGE_SIZE, 0), Some(READ));
        assert_eq!(memory.bytes(BASE + PAGE_SIZE, 1), None);
        let first = memory.allocate(3 * PAGE_SIZE, READ_WRITE).unwrap();
        assert_eq!(memory.allocate(PAGE_SIZE, READ_WRITE), Some(first + 3 * PAGE_SIZE));
        assert_eq!(memory.allocate(LENGTH, READ_WRITE), None);
        assert_eq!(memory.allocate(1, READ_WRITE), None);
        drop(memory);
        drop(ProgramMemory::new().unwrap());
    }
}
