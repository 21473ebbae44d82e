// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The stack and the alternate signal stack of watched calls. Both are filled with a pattern, so that
//! every write to the stacks is noticed. After them is memory that is read-only, and a page that cannot be
//! read.

use super::scenario::STACK_LENGTH;
use crate::support::{PAGE_SIZE, broken, protect};
use crate::sys;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Address of the memory of the stack, the alternate stack, and a copy of each, in this order.
static STACKS: AtomicUsize = AtomicUsize::new(0);
/// The pattern that fills the stacks.
const PATTERN: u64 = 0xa5a5_0000_5a5a_0000;
/// Address of a stack in read-only memory.
static READ_ONLY: AtomicUsize = AtomicUsize::new(0);

/// Address of a page that cannot be read.
static UNREADABLE_PAGE: AtomicUsize = AtomicUsize::new(0);

/// The address of the stacks of 32-bit code.
const LOW_ADDRESS: usize = 0x7100_0000;
/// The address of the stacks of 64-bit code. The address is the same on every kernel, so that records of two
/// kernels can be compared.
const HIGH_ADDRESS: u64 = 0x6000_0000_0000;

/// Maps the stacks. A case must call this once, before the first variant runs.
pub(super) fn map(below_4_gib: bool) -> crate::case::Check {
    let (address, fixed) = if below_4_gib {
        (LOW_ADDRESS as u64, libc::MAP_FIXED_NOREPLACE)
    } else {
        (HIGH_ADDRESS, 0)
    };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | fixed;
    let map = |address: u64, pages: usize| {
        sys::map_at(address, pages * PAGE_SIZE, flags, -1).map_err(broken("mmap"))
    };
    let pages = (4 * STACK_LENGTH).div_ceil(PAGE_SIZE);
    STACKS.store(map(address, pages)? as usize, Ordering::SeqCst);
    let end = address + (pages * PAGE_SIZE) as u64;
    let start = map(end, 2)?;
    protect(start, 2, libc::PROT_READ)?;
    READ_ONLY.store(start as usize, Ordering::SeqCst);
    let start = map(end + (2 * PAGE_SIZE) as u64, 1)?;
    protect(start, 1, libc::PROT_NONE)?;
    UNREADABLE_PAGE.store(start as usize, Ordering::SeqCst);
    Ok(())
}

/// The address after the alternate stack if `is_alternate`, else after the ordinary stack.
pub(super) fn top(is_alternate: bool) -> u64 {
    (STACKS.load(Ordering::SeqCst) + if is_alternate { 2 * STACK_LENGTH } else { STACK_LENGTH })
        as u64
}

/// The start of the alternate stack.
pub(super) fn alternate_start() -> u64 {
    (STACKS.load(Ordering::SeqCst) + STACK_LENGTH) as u64
}

/// The start of the stack in read-only memory.
pub(super) fn read_only_start() -> u64 {
    READ_ONLY.load(Ordering::SeqCst) as u64
}

/// The address of a page that cannot be read.
pub(super) fn unreadable_page() -> u64 {
    UNREADABLE_PAGE.load(Ordering::SeqCst) as u64
}

/// The contents of the stack and of the alternate stack.
pub(super) fn contents() -> [&'static [u8]; 2] {
    [area(0), area(1)]
}

/// The area with this index in the memory of [`STACKS`].
fn area(index: usize) -> &'static [u8] {
    let start = STACKS.load(Ordering::SeqCst) + index * STACK_LENGTH;
    // SAFETY: `map` mapped it. Only signal frames are written there, and only while no such slice exists.
    unsafe { std::slice::from_raw_parts(start as *const u8, STACK_LENGTH) }
}

/// Copies both stacks, for [`changes_since_copy`].
pub(super) fn copy_stacks() {
    let start = STACKS.load(Ordering::SeqCst) as *mut u8;
    // SAFETY: `map` mapped the two stacks and, after them, the two copies.
    unsafe { std::ptr::copy_nonoverlapping(start, start.add(2 * STACK_LENGTH), 2 * STACK_LENGTH) };
}

/// The changes of both stacks since [`copy_stacks`], as old bytes XOR new bytes. Overwrites the copies.
pub(super) fn changes_since_copy() -> [&'static [u8]; 2] {
    let start = STACKS.load(Ordering::SeqCst) as *mut u64;
    let words = 2 * STACK_LENGTH / 8;
    // SAFETY: `map` mapped the two stacks and, after them, the two copies.
    unsafe {
        for index in 0..words {
            let (current, copy) = (start.add(index).read(), start.add(words + index));
            copy.write(copy.read() ^ current);
        }
    }
    [area(2), area(3)]
}

/// The number of words of the stack, outside the addresses from `start` to `end`, that were written since
/// [`fill_with_pattern`]. `None` if the stack is not below 4 GiB: only there the pattern is the same
/// everywhere.
pub(super) fn written_outside(start: u64, end: u64) -> Option<u64> {
    let stack = area(0);
    if stack.as_ptr() as usize != LOW_ADDRESS {
        return None;
    }
    // The frame may begin in the middle of a word.
    let [start, end] = [start & !7, end].map(|address| address.saturating_sub(LOW_ADDRESS as u64));
    let (words, _) = stack.as_chunks::<8>();
    let written = words.iter().zip((0u64..).step_by(8)).filter(|(word, offset)| {
        !(start..end).contains(offset) && u64::from_ne_bytes(**word) != PATTERN
    });
    Some(written.count() as u64)
}

/// Fills both stacks with a pattern that depends on the offset. Below 4 GiB the pattern is the same
/// everywhere: there signal frames of both formats are compared, which begin at different offsets.
pub(super) fn fill_with_pattern() {
    let start = STACKS.load(Ordering::SeqCst);
    let offset_mask = if start == LOW_ADDRESS { 0 } else { u64::MAX };
    for index in 0..2 * STACK_LENGTH / 8 {
        let offset = index as u64 & offset_mask;
        // SAFETY: `map` mapped the stacks.
        unsafe {
            (start as *mut u64).add(index).write(PATTERN | offset << 32 | offset);
        }
    }
}
