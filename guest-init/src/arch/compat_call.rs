// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The second entry of random walks on architectures without one: the ordinary entry. No walk uses
//! it there, as [`Offers::ia32`](crate::walk::Offers) is false.

use super::{AUDIT_ARCH, Registers};

pub use super::gate as compat_gate;

/// `si_arch` of a call through it.
pub const AUDIT_ARCH_COMPAT: u32 = AUDIT_ARCH;

/// The number of `umask(2)` there.
pub const COMPAT_UMASK: u64 = libc::SYS_umask.cast_unsigned();

/// The registers of a call through it.
#[must_use]
pub fn compat_call(number: u64, arguments: [u64; 6]) -> Registers {
    Registers::call(number, arguments)
}
