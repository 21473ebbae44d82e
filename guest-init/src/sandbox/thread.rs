// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state of a foreign thread that personalities read and change.

use crate::arch::Registers;

/// Maximum number of threads that a program can start, including those that have ended.
pub(super) const MAX_THREADS: usize = 8;
/// Maximum nesting depth of callbacks in a thread.
pub(super) const MAX_DEPTH: usize = 4;
/// Maximum size in bytes of a thread's transcript and of the console output.
pub(super) const TRANSCRIPT: usize = 8 << 10;

/// A foreign thread.
#[derive(Clone, Copy, Default)]
pub(super) struct ThreadState {
    /// Whether the thread was started. It may have ended since.
    pub(super) used: bool,
    /// Whether the thread was started and has not ended.
    pub(super) live: bool,
    /// The registers that the thread begins with.
    pub(super) start: Registers,
    /// The value of the thread register: on Windows the address of the TEB; 0 for none.
    pub(super) block: u64,
    /// The address of the dispatch selector in the program's memory; 0 if it is in guest-init's.
    pub(super) selector: u64,
    /// The registers to restore when a callback returns, those of the outermost first.
    pub(super) outer: [Registers; MAX_DEPTH],
    /// The number of entries of `outer` in use.
    pub(super) depth: usize,
}
