// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The second entry into the kernel, on architectures where 64-bit programs have one.

use super::{Gate, Registers};

/// An entry into the kernel besides the ordinary system call instruction, with its own system call table.
#[derive(Clone, Copy, Debug)]
pub struct SecondEntry {
    /// The gate that uses this entry, outside the allowed range.
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
