// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The architectures. Each folder has the same interface; the files beside the folders build on it.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "s390x")]
mod s390x;
#[cfg(target_arch = "x86_64")]
mod x86_64;

// x86-64 has these in its folder.
#[cfg(not(target_arch = "x86_64"))]
mod compat_call;
mod entry;
#[cfg(not(target_arch = "x86_64"))]
mod floating;
#[cfg(foreign_programs)]
mod foreign;
mod gates;
mod layout;
mod programs;
mod registers;
mod repeats;
#[cfg(not(target_arch = "x86_64"))]
mod watch;

#[cfg(not(target_arch = "x86_64"))]
pub use compat_call::*;
pub use entry::*;
#[cfg(not(target_arch = "x86_64"))]
pub use floating::*;
#[cfg(foreign_programs)]
pub use foreign::*;
pub use gates::*;
pub use layout::*;
pub use programs::*;
pub use registers::*;
pub use repeats::*;
#[cfg(not(target_arch = "x86_64"))]
pub use watch::*;

#[cfg(target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(target_arch = "riscv64")]
pub use riscv64::*;
#[cfg(target_arch = "s390x")]
pub use s390x::*;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
