// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state of a foreign thread that personalities read and change.

use crate::arch::Registers;

/// Maximum number of threads that a program can start, including those that have ended.
pub(super) const MAX_THREADS: usize = 8;
/// Maximum nesting depth of callbacks in a thread.
pub(super) const MAX_CALLBACK_DEPTH: usize = 4;
/// Maximum size in bytes of a thread's transcript and of the console output.
pub(super) const MAX_TRANSCRIPT_LENGTH: usize = 8 << 10;

/// A foreign thread.
#[derive(Clone, Copy, Default)]
pub(super) struct ThreadState {
    /// Whether the thread was started. The thread may have ended since.
    pub(super) was_started: bool,
    /// Whether the thread was started and has not ended.
    pub(super) is_running: bool,
    /// The registers that the thread begins with.
    pub(super) first_registers: Registers,
    /// The value of the thread register (on Windows the address of the TEB); 0 if the register is not set.
    pub(super) thread_register: u64,
    /// The address of the dispatch selector in the program's memory; 0 if the selector is in the memory of
    /// guest-init.
    pub(super) selector_address: u64,
    /// The registers to restore when a callback returns: one entry for each callback in progress, the outermost
    /// first.
    pub(super) callback_registers: [Registers; MAX_CALLBACK_DEPTH],
    /// The number of entries of `callback_registers` in use.
    pub(super) callback_depth: usize,
}
