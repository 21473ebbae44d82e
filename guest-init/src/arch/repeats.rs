// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Loops in `gates.s` that repeat one operation for benchmarks. A benchmark subtracts the time of
//! the empty loop from the time of its own loop.

use super::gates::symbol_address;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// A loop in machine code. Its arguments are the number of repetitions, the system call's number,
/// and the address that the operation stores to or calls. A loop ignores the arguments that its
/// operation does not need. It returns the value of the result register after the last repetition.
type LoopFunction = unsafe extern "C" fn(u64, u64, u64) -> i64;

unsafe extern "C" {
    fn sudbox_repeat_nothing(count: u64, call_number: u64, address: u64) -> i64;
    fn sudbox_repeat_inside(count: u64, call_number: u64, address: u64) -> i64;
    fn sudbox_repeat_outside(count: u64, call_number: u64, address: u64) -> i64;
    fn sudbox_repeat_outside_end();
    fn sudbox_repeat_flip(count: u64, call_number: u64, address: u64) -> i64;
    fn sudbox_repeat_rewritten(count: u64, call_number: u64, address: u64) -> i64;
    fn sudbox_trampoline();
}

/// A loop that repeats one operation, with the arguments of the operation.
#[derive(Clone, Copy, Debug)]
pub struct OperationLoop {
    function: LoopFunction,
    call_number: u64,
    address: u64,
}

impl OperationLoop {
    /// A loop without an operation.
    #[must_use]
    pub fn empty() -> OperationLoop {
        OperationLoop { function: sudbox_repeat_nothing, call_number: 0, address: 0 }
    }

    /// A loop of a system call without arguments, issued at an address in the range
    /// [`inside`](super::inside).
    #[must_use]
    pub fn call_inside(call_number: i64) -> OperationLoop {
        OperationLoop {
            function: sudbox_repeat_inside,
            call_number: call_number.cast_unsigned(),
            address: 0,
        }
    }

    /// A loop of a system call without arguments, issued at an address in the range
    /// [`outside_loop_range`].
    #[must_use]
    pub fn call_outside(call_number: i64) -> OperationLoop {
        OperationLoop {
            function: sudbox_repeat_outside,
            call_number: call_number.cast_unsigned(),
            address: 0,
        }
    }

    /// A loop of a store of 0 to the byte at `address`.
    ///
    /// # Safety
    /// The byte must be writable, and no reference to it may forbid the write.
    #[must_use]
    pub unsafe fn zero_store(address: u64) -> OperationLoop {
        OperationLoop { function: sudbox_repeat_flip, call_number: 0, address }
    }

    /// A loop of a function call to a trampoline, which calls `sudbox_emulate_call()`. A binary
    /// rewriter replaces a system call by such a function call.
    #[must_use]
    pub fn rewritten_call(call_number: i64) -> OperationLoop {
        OperationLoop {
            function: sudbox_repeat_rewritten,
            call_number: call_number.cast_unsigned(),
            address: symbol_address(sudbox_trampoline),
        }
    }

    /// Repeats the operation `count` times and returns the last result. `count` must not be 0:
    /// with 0 the loop would run 2^64 times.
    #[inline]
    pub fn repeat(&self, count: u64) -> i64 {
        // SAFETY: the loops follow the C ABI, calls without arguments touch no memory, and the
        // caller of `OperationLoop::zero_store` vouched for its address.
        unsafe { (self.function)(count, self.call_number, self.address) }
    }
}

/// The address range of the loop of [`OperationLoop::call_outside`].
#[must_use]
pub fn outside_loop_range() -> Range<u64> {
    sudbox_repeat_outside as *const () as u64..symbol_address(sudbox_repeat_outside_end)
}

/// The number of calls of [`count_emulated_call`] in this process.
static EMULATED_CALLS: AtomicU64 = AtomicU64::new(0);

/// The number of calls that [`count_emulated_call`] has counted in this process.
#[must_use]
pub fn emulated_call_count() -> u64 {
    EMULATED_CALLS.load(Ordering::Relaxed)
}

/// Emulates a call in the cheapest way: only counts the call. Two threads must not call this
/// function at the same time, because the increment is not atomic.
#[inline]
pub fn count_emulated_call() {
    // An atomic increment would cost as much as the trampoline.
    EMULATED_CALLS.store(emulated_call_count() + 1, Ordering::Relaxed);
}

/// The function that the trampoline calls instead of the system call: counts the call and returns
/// its number.
#[unsafe(no_mangle)]
extern "C" fn sudbox_emulate_call(call_number: u64) -> u64 {
    count_emulated_call();
    call_number
}
