// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The stack and the alternate signal stack of watched calls. Both are filled with a pattern, so that
//! every write to them is visible. Beside them is a page that cannot be read.

use super::scenario::STACK;
use crate::support::{PAGE_SIZE, broken, protect};
use crate::sys;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Address of the memory of both stacks: the stack, the alternate stack, and a copy of each.
static STACKS: AtomicUsize = AtomicUsize::new(0);
/// The pattern that fills the stacks.
const PATTERN: u64 = 0xa5a5_0000_5a5a_0000;
/// Address of a stack in read-only memory.
static READ_ONLY: AtomicUsize = AtomicUsize::new(0);

/// Address of a page that cannot be read.
static UNREADABLE: AtomicUsize = AtomicUsize::new(0);

/// An address for the stacks of 32-bit code.
const LOW: usize = 0x7100_0000;
/// An address for the stacks of 64-bit code. It is the same on every kernel, so that records of two
/// kernels can be compared.
const HIGH: u64 = 0x6000_0000_0000;

/// Maps the stacks, below 4 GiB if `low`. Must be called once in a case, before the first variant runs.
pub(super) fn map(low: bool) -> crate::case::Check {
    let (address, fixed) = if low { (LOW as u64, libc::MAP_FIXED_NOREPLACE) } else { (HIGH, 0) };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | fixed;
    let map = |address: u64, pages: usize| {
        sys::map_at(address, pages * PAGE_SIZE, flags, -1).map_err(broken("mmap"))
    };
    let pages = (4 * STACK).div_ceil(PAGE_SIZE);
    STACKS.store(map(address, pages)? as usize, Ordering::SeqCst);
    let end = address + (pages * PAGE_SIZE) as u64;
    let start = map(end, 2)?;
    protect(start, 2, libc::PROT_READ)?;
    READ_ONLY.store(start as usize, Ordering::SeqCst);
    let start = map(end + (2 * PAGE_SIZE) as u64, 1)?;
    protect(start, 1, libc::PROT_NONE)?;
    UNREADABLE.store(start as usize, Ordering::SeqCst);
    Ok(())
}

/// The address after the stack, or after the alternate stack.
pub(super) fn top(alternate: bool) -> u64 {
    (STACKS.load(Ordering::SeqCst) + if alternate { 2 * STACK } else { STACK }) as u64
}

/// The start of the alternate stack.
pub(super) fn alternate() -> u64 {
    (STACKS.load(Ordering::SeqCst) + STACK) as u64
}

/// The start of the stack in read-only memory.
pub(super) fn read_only() -> u64 {
    READ_ONLY.load(Ordering::SeqCst) as u64
}

/// The page that cannot be read.
pub(super) fn unreadable() -> u64 {
    UNREADABLE.load(Ordering::SeqCst) as u64
}

/// The stack, and the alternate stack.
pub(super) fn contents() -> [&'static [u8]; 2] {
    [area(0), area(1)]
}

fn area(index: usize) -> &'static [u8] {
    let start = STACKS.load(Ordering::SeqCst) + index * STACK;
    // SAFETY: `map` mapped it. Only signal frames are written there, and only while no such slice exists.
    unsafe { std::slice::from_raw_parts(start as *const u8, STACK) }
}

/// Copies both stacks, for [`changes`].
pub(super) fn copy() {
    let start = STACKS.load(Ordering::SeqCst) as *mut u8;
    // SAFETY: as above; the copies follow the stacks.
    unsafe { std::ptr::copy_nonoverlapping(start, start.add(2 * STACK), 2 * STACK) };
}

/// The changes of both stacks since the last [`copy`], as old bytes XOR new bytes. Overwrites the
/// copies.
pub(super) fn changes() -> [&'static [u8]; 2] {
    let start = STACKS.load(Ordering::SeqCst) as *mut u64;
    let words = 2 * STACK / 8;
    // SAFETY: as above.
    unsafe {
        for at in 0..words {
            let (now, copy) = (start.add(at).read(), start.add(words + at));
            copy.write(copy.read() ^ now);
        }
    }
    [area(2), area(3)]
}

/// Counts the words of the stack below 4 GiB that were written since [`fill`]: those outside the addresses
/// from `start` to `end`. `None` if the stack is not below 4 GiB.
pub(super) fn written_outside(start: u64, end: u64) -> Option<u64> {
    let stack = area(0);
    if stack.as_ptr() as usize != LOW {
        return None;
    }
    // The first word may belong to the frame in its upper half only.
    let [start, end] = [start & !7, end].map(|address| address.saturating_sub(LOW as u64));
    let (words, _) = stack.as_chunks::<8>();
    let written = words
        .iter()
        .zip((0u64..).step_by(8))
        .filter(|(word, at)| !(start..end).contains(at) && u64::from_ne_bytes(**word) != PATTERN);
    Some(written.count() as u64)
}

/// Fills both stacks with a pattern that depends on the offset. Below 4 GiB the pattern is the same
/// everywhere, since the signal frames to compare there have different offsets.
pub(super) fn fill() {
    let start = STACKS.load(Ordering::SeqCst);
    let offsets = if start == LOW { 0 } else { u64::MAX };
    for at in 0..2 * STACK / 8 {
        let offset = at as u64 & offsets;
        // SAFETY: as above.
        unsafe {
            let place = (start as *mut u64).add(at);
            place.write(PATTERN | offset << 32 | offset);
        }
    }
}
