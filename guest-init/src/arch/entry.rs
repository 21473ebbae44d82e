// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A second way into the kernel, where 64-bit programs have one.

use super::{Gate, Registers};

/// A way into the kernel beside the ordinary one, with a table of calls of its own.
#[derive(Clone, Copy, Debug)]
pub struct OtherEntry {
    /// The gate that enters the kernel this way; it lies outside the allowed range.
    pub gate: Gate,
    /// `si_arch` of calls through the gate.
    pub audit_arch: u32,
    /// The number of `getresuid` with 32-bit user ids.
    pub getresuid: u32,
    /// The number of `rt_sigreturn`.
    pub rt_sigreturn: u32,
    /// The number of `exit`.
    pub exit: u32,
    /// The number of `exit_group`.
    pub exit_group: u32,
    /// The number of `prctl`.
    pub prctl: u32,
    /// Returns the registers of a call with this number and these arguments.
    pub registers: fn(u64, [u64; 6]) -> Registers,
}
