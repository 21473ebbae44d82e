// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What differs between architectures, each in a folder of the same interface, and what is made of
//! that.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "s390x")]
mod s390x;
#[cfg(target_arch = "x86_64")]
mod x86_64;

// x86-64 has instructions of its own that load and store them.
#[cfg(not(target_arch = "x86_64"))]
mod floating;
#[cfg(not(target_arch = "s390x"))]
mod foreign;
// x86-64 has assembly of its own that shows more.
mod gates;
mod programs;
mod registers;
mod repeats;
#[cfg(not(target_arch = "x86_64"))]
mod watch;
mod watching;

#[cfg(not(target_arch = "x86_64"))]
pub use floating::*;
#[cfg(not(target_arch = "s390x"))]
pub use foreign::*;
pub use gates::*;
pub use programs::*;
pub use registers::*;
pub use repeats::*;
#[cfg(not(target_arch = "x86_64"))]
pub use watch::*;
pub use watching::*;

#[cfg(target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(target_arch = "riscv64")]
pub use riscv64::*;
#[cfg(target_arch = "s390x")]
pub use s390x::*;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
