// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The stack and the alternate signal stack of watched calls. Both are filled with a pattern, so that
//! every write to them is visible.

use super::scenario::STACK;
use crate::support::{PAGE, map_pages, protect};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Address of the memory of both stacks: the stack, the alternate stack, and a copy of each.
static STACKS: AtomicUsize = AtomicUsize::new(0);
/// Address of a stack in read-only memory.
static READ_ONLY: AtomicUsize = AtomicUsize::new(0);

/// Maps the stacks. Must be called once in a case, before the first variant runs.
pub(super) fn map() -> crate::case::Check {
    let start = map_pages((4 * STACK).div_ceil(PAGE))?;
    STACKS.store(start as usize, Ordering::SeqCst);
    let start = map_pages(2)?;
    protect(start, 2, libc::PROT_READ)?;
    READ_ONLY.store(start as usize, Ordering::SeqCst);
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

/// Fills both stacks with a pattern that depends on the offset.
pub(super) fn fill() {
    let start = STACKS.load(Ordering::SeqCst) as *mut u64;
    for at in 0..2 * STACK / 8 {
        // SAFETY: as above.
        unsafe { start.add(at).write(0xa5a5_0000_5a5a_0000 | (at as u64) << 32 | at as u64) };
    }
}
