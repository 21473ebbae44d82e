// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What benchmarks repeat: loops in `gates.s` that do one thing and nothing else, so that what the
//! loop takes can be taken away from what is measured.

use super::gates::address;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// A loop: how often, what is in the number's register, and an address for what needs one. Gives what
/// the result's register holds behind the last.
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

/// One thing that is done again and again.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    enter: Loop,
    number: u64,
    address: u64,
}

impl Repeat {
    /// Nothing: what the loop itself takes.
    #[must_use]
    pub fn nothing() -> Repeat {
        Repeat { enter: sudbox_repeat_nothing, number: 0, address: 0 }
    }

    /// A call without arguments from [`inside`](super::inside).
    #[must_use]
    pub fn inside(number: i64) -> Repeat {
        Repeat { enter: sudbox_repeat_inside, number: number.cast_unsigned(), address: 0 }
    }

    /// A call without arguments from [`outside`].
    #[must_use]
    pub fn outside(number: i64) -> Repeat {
        Repeat { enter: sudbox_repeat_outside, number: number.cast_unsigned(), address: 0 }
    }

    /// The store of a 0 to a byte.
    ///
    /// # Safety
    /// There must be a byte at the address that nobody minds the change of.
    #[must_use]
    pub unsafe fn flip(address: u64) -> Repeat {
        Repeat { enter: sudbox_repeat_flip, number: 0, address }
    }

    /// What a rewritten call site does in place of a call without arguments: it calls a trampoline,
    /// which calls `sudbox_answer()`.
    #[must_use]
    pub fn rewritten(number: i64) -> Repeat {
        Repeat {
            enter: sudbox_repeat_rewritten,
            number: number.cast_unsigned(),
            address: address(sudbox_trampoline),
        }
    }

    /// Does it so many times, at least once. Gives what the last left in the result's register.
    #[inline]
    pub fn run(&self, count: u64) -> i64 {
        // SAFETY: the loops follow the C ABI; calls without arguments touch no memory, and for the
        // address who made this has vouched.
        unsafe { (self.enter)(count, self.number, self.address) }
    }
}

/// Where the calls of [`Repeat::outside`] come from.
#[must_use]
pub fn outside() -> Range<u64> {
    sudbox_repeat_outside as *const () as u64..address(sudbox_repeat_outside_end)
}

static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// How many calls were answered here since the program began.
#[must_use]
pub fn answered() -> u64 {
    ANSWERED.load(Ordering::Relaxed)
}

/// The least that an emulator can do with a call: it takes note of it. Of one thread at a time.
#[inline]
pub fn answer() {
    // Not in one step, which would cost as much as the trampoline.
    ANSWERED.store(answered() + 1, Ordering::Relaxed);
}

/// What the trampoline calls.
#[unsafe(no_mangle)]
extern "C" fn sudbox_answer(number: u64) -> u64 {
    answer();
    number
}
