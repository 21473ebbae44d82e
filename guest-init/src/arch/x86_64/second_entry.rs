// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `int 0x80`, the second entry into the kernel.

use super::{AUDIT_ARCH_COMPAT, Reg, compat_gate};
use crate::arch::{Registers, SecondEntry};

/// Returns `int 0x80`, with the numbers of arch/x86/entry/syscalls/syscall_32.tbl.
#[must_use]
pub fn second_entry() -> Option<SecondEntry> {
    Some(SecondEntry {
        gate: compat_gate(),
        audit_arch: AUDIT_ARCH_COMPAT,
        getresuid: 209,
        rt_sigreturn: 173,
        exit: 1,
        exit_group: 252,
        prctl: 172,
        registers,
    })
}

/// The registers of a call through `int 0x80`. The kernel reads the low 32 bits of each argument.
pub(super) fn registers(number: u64, arguments: [u64; 6]) -> Registers {
    let mut registers = Registers::for_call(number, [0; 6]);
    let order = [Reg::Bx, Reg::Cx, Reg::Dx, Reg::Si, Reg::Di, Reg::Bp];
    for (reg, value) in order.into_iter().zip(arguments) {
        registers[reg] = value;
    }
    registers
}

/// Whether number 0 is `read(2)`.
pub const ZERO_IS_READ: bool = true;
