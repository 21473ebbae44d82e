// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state of a foreign thread that personalities read and change.

use crate::arch::Registers;

/// Most threads that a program can start in its whole life.
pub(super) const THREADS: usize = 8;
/// Most calls of a thread that can call the program back at the same time.
pub(super) const DEPTH: usize = 4;
/// Most bytes of a thread's transcript, and of the console.
pub(super) const TRANSCRIPT: usize = 8 << 10;

/// A foreign thread.
#[derive(Clone, Copy, Default)]
pub(super) struct ThreadState {
    /// Was started, and may have ended.
    pub(super) used: bool,
    /// Was started and has not ended.
    pub(super) live: bool,
    /// The registers to begin with.
    pub(super) start: Registers,
    /// The address for the thread register, 0 for none (`NtCurrentTeb()` on Windows).
    pub(super) block: u64,
    /// The address of the dispatch selector in the program's memory, 0 if it is in ours.
    pub(super) selector: u64,
    /// Registers of the calls that have called the program back, the outermost first.
    pub(super) outer: [Registers; DEPTH],
    /// The number of entries of `outer` in use.
    pub(super) depth: usize,
}
