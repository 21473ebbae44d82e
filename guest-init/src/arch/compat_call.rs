// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Substitutes for the gate of `int 0x80` on architectures with one entry into the kernel: the ordinary gate
//! and its registers. No random walk uses the substitutes, since
//! [`Platform::has_ia32`](crate::walk::Platform::has_ia32) is false on these architectures.

use super::{AUDIT_ARCH, Registers};

pub use super::gate as compat_gate;

/// `si_arch` of a call through [`compat_gate`].
pub const AUDIT_ARCH_COMPAT: u32 = AUDIT_ARCH;

/// The number of `umask(2)` for [`compat_gate`].
pub const COMPAT_UMASK: u64 = libc::SYS_umask.cast_unsigned();
/// The number of `prctl(2)` for [`compat_gate`].
pub const COMPAT_PRCTL: u64 = libc::SYS_prctl.cast_unsigned();

/// Returns the registers of a call through [`compat_gate`].
#[must_use]
pub fn compat_call(number: u64, arguments: [u64; 6]) -> Registers {
    Registers::for_call(number, arguments)
}
