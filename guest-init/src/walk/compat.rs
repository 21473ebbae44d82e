// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `int 0x80`, the other way into the kernel that x86-64 has.

#[cfg(target_arch = "x86_64")]
mod own {
    use crate::arch::{self, Reg, Registers};

    pub(in crate::walk) use arch::{AUDIT_ARCH_COMPAT as AUDIT_ARCH, compat_gate as gate};

    pub(in crate::walk) const UMASK: u64 = arch::compat::number::UMASK as u64;

    /// Registers of a call, with the first argument where `int 0x80` takes it.
    pub(in crate::walk) fn registers(number: u64, arguments: [u64; 6]) -> Registers {
        let mut regs = Registers::call(number, arguments);
        regs[Reg::Bx] = arguments[0];
        regs
    }
}

/// Elsewhere no sequence has it ([`Offers::ia32`](super::Offers)): this is the ordinary way.
#[cfg(not(target_arch = "x86_64"))]
mod own {
    use crate::arch::{self, Registers};

    pub(in crate::walk) use arch::{AUDIT_ARCH, gate};

    pub(in crate::walk) const UMASK: u64 = libc::SYS_umask.cast_unsigned();

    pub(in crate::walk) fn registers(number: u64, arguments: [u64; 6]) -> Registers {
        Registers::call(number, arguments)
    }
}

pub(super) use own::*;
