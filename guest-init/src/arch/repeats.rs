// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Loops in `gates.s` that repeat one operation for benchmarks. The time of the empty loop can be
//! subtracted from that of the others.

use super::gates::symbol_address;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// A loop in machine code. Its arguments are the number of repetitions, the system call's number, and
/// an address for the operations that need one. Returns the value of the result register after the last
/// repetition.
type LoopFunction = unsafe extern "C" fn(u64, u64, u64) -> i64;

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
    function: LoopFunction,
    number: u64,
    address: u64,
}

impl Repeat {
    /// The empty loop.
    #[must_use]
    pub fn nothing() -> Repeat {
        Repeat { function: sudbox_repeat_nothing, number: 0, address: 0 }
    }

    /// A system call without arguments, issued at an address in the range [`inside`](super::inside).
    #[must_use]
    pub fn inside(number: i64) -> Repeat {
        Repeat { function: sudbox_repeat_inside, number: number.cast_unsigned(), address: 0 }
    }

    /// A system call without arguments, issued at an address in the range [`outside_loop`].
    #[must_use]
    pub fn outside(number: i64) -> Repeat {
        Repeat { function: sudbox_repeat_outside, number: number.cast_unsigned(), address: 0 }
    }

    /// A store of 0 to a byte.
    ///
    /// # Safety
    /// The byte must be writable, and no reference to it may forbid the write.
    #[must_use]
    pub unsafe fn store_zero(address: u64) -> Repeat {
        Repeat { function: sudbox_repeat_flip, number: 0, address }
    }

    /// A function call to a trampoline, which calls `sudbox_answer()`. A binary rewriter puts such a
    /// call in place of a system call.
    #[must_use]
    pub fn rewritten(number: i64) -> Repeat {
        Repeat {
            function: sudbox_repeat_rewritten,
            number: number.cast_unsigned(),
            address: symbol_address(sudbox_trampoline),
        }
    }

    /// Repeats the operation `count` times and returns the last result. `count` must not be 0, with which
    /// the loop would run 2^64 times.
    #[inline]
    pub fn run(&self, count: u64) -> i64 {
        // SAFETY: the loops follow the C ABI, calls without arguments touch no memory, and the caller of
        // `store_zero` vouched for its address.
        unsafe { (self.function)(count, self.number, self.address) }
    }
}

/// The address range of the loop of [`Repeat::outside`].
#[must_use]
pub fn outside_loop() -> Range<u64> {
    sudbox_repeat_outside as *const () as u64..symbol_address(sudbox_repeat_outside_end)
}

static EMULATED_CALLS: AtomicU64 = AtomicU64::new(0);

/// The number of calls that [`count_emulated_call`] has counted in this process.
#[must_use]
pub fn emulated_calls() -> u64 {
    EMULATED_CALLS.load(Ordering::Relaxed)
}

/// Emulates a call in the cheapest way: only counts it. Must not run in two threads at once, since the
/// increment is not atomic.
#[inline]
pub fn count_emulated_call() {
    // An atomic increment would cost as much as the trampoline.
    EMULATED_CALLS.store(emulated_calls() + 1, Ordering::Relaxed);
}

/// Called by the trampoline in place of the system call: counts the call and returns its number.
#[unsafe(no_mangle)]
extern "C" fn sudbox_answer(number: u64) -> u64 {
    count_emulated_call();
    number
}
