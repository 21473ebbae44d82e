// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state of a foreign thread that personalities read and change.

use crate::arch::Registers;

/// Largest number of threads that a program can start in its whole life.
pub(super) const THREADS: usize = 8;
/// Largest number of nested calls of a thread that call the program back.
pub(super) const DEPTH: usize = 4;
/// Largest size of a thread's transcript, and of the console, in bytes.
pub(super) const TRANSCRIPT: usize = 8 << 10;

/// A foreign thread.
#[derive(Clone, Copy, Default)]
pub(super) struct ThreadState {
    /// Whether the thread was started. It may have ended.
    pub(super) used: bool,
    /// Whether the thread was started and has not ended.
    pub(super) live: bool,
    /// The registers that the thread begins with.
    pub(super) start: Registers,
    /// The address for the thread register, 0 for none (`NtCurrentTeb()` on Windows).
    pub(super) block: u64,
    /// The address of the dispatch selector in the program's memory; 0 if it is in guest-init's.
    pub(super) selector: u64,
    /// Registers of the calls that have called the program back, the outermost first.
    pub(super) outer: [Registers; DEPTH],
    /// The number of entries of `outer` in use.
    pub(super) depth: usize,
}
