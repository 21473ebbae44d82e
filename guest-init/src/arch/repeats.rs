// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Loops in `gates.s` that repeat one operation for benchmarks. The time of the empty loop can be
//! subtracted from that of the others.

use super::gates::address;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// The machine code of a loop: the number of repetitions, the value for the number register, and an
/// address for the operations that need one. Gives the result register after the last repetition.
type Loop = unsafe extern "C" fn(u64, u64, u64) -> i64;

unsafe extern "C" {
    fn sudbox_repeat_nothing(count: u64, number: u64, address: u64) -> i64;
    fn sudbox_repeat_inside(count: u64, number: u64, address: u64) -> i64;
    fn sudbox_repeat_outside(count: u64, number: u64, address: u64) -> i64;
    fn sudbox_repeat_outside_end();
    fn sudbox_repeat_flip(count: u64, number: u64, address: u64) -> i64;
    fn sudbox_repeat_rewritten(count: u64, number: u64, address: u64) -> i64;
    fn sudbox_trampoline();
}

/// An operation to repeat.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    function: Loop,
    number: u64,
    address: u64,
}

impl Repeat {
    /// No operation: the empty loop.
    #[must_use]
    pub fn nothing() -> Repeat {
        Repeat { function: sudbox_repeat_nothing, number: 0, address: 0 }
    }

    /// A call without arguments from [`inside`](super::inside).
    #[must_use]
    pub fn inside(number: i64) -> Repeat {
        Repeat { function: sudbox_repeat_inside, number: number.cast_unsigned(), address: 0 }
    }

    /// A call without arguments from [`outside`].
    #[must_use]
    pub fn outside(number: i64) -> Repeat {
        Repeat { function: sudbox_repeat_outside, number: number.cast_unsigned(), address: 0 }
    }

    /// A store of 0 to a byte.
    ///
    /// # Safety
    /// The byte must be writable, and no reference to it may forbid the write.
    #[must_use]
    pub unsafe fn flip(address: u64) -> Repeat {
        Repeat { function: sudbox_repeat_flip, number: 0, address }
    }

    /// The replacement of a call by a binary rewriter: a call of a trampoline, which calls
    /// `sudbox_answer()`.
    #[must_use]
    pub fn rewritten(number: i64) -> Repeat {
        Repeat {
            function: sudbox_repeat_rewritten,
            number: number.cast_unsigned(),
            address: address(sudbox_trampoline),
        }
    }

    /// Repeats the operation `count` times, at least once. Gives the last result.
    #[inline]
    pub fn run(&self, count: u64) -> i64 {
        // SAFETY: the loops follow the C ABI, calls without arguments touch no memory, and the maker of
        // a `flip` vouched for its address.
        unsafe { (self.function)(count, self.number, self.address) }
    }
}

/// The address range of the calls of [`Repeat::outside`].
#[must_use]
pub fn outside() -> Range<u64> {
    sudbox_repeat_outside as *const () as u64..address(sudbox_repeat_outside_end)
}

static EMULATED: AtomicU64 = AtomicU64::new(0);

/// The number of calls that [`count_emulated`] has counted in this process.
#[must_use]
pub fn emulated() -> u64 {
    EMULATED.load(Ordering::Relaxed)
}

/// Emulates a call in the cheapest way: counts it. Only one thread may do so at a time.
#[inline]
pub fn count_emulated() {
    // No atomic increment, which would cost as much as the trampoline.
    EMULATED.store(emulated() + 1, Ordering::Relaxed);
}

/// The function that the trampoline calls.
#[unsafe(no_mangle)]
extern "C" fn sudbox_answer(number: u64) -> u64 {
    count_emulated();
    number
}
