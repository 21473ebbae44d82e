// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The code that depends on the architecture. Each architecture has a folder; all folders have the same
//! interface, and the files beside them build on it.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "s390x")]
mod s390x;
#[cfg(target_arch = "x86_64")]
mod x86_64;

// Substitutes for the modules of x86-64 with the same names.
#[cfg(not(target_arch = "x86_64"))]
mod compat_call;
#[cfg(not(target_arch = "x86_64"))]
mod floating;
#[cfg(foreign_programs)]
mod foreign;
mod gates;
mod layout;
#[cfg(not(target_arch = "x86_64"))]
mod marks;
mod programs;
mod registers;
mod repeats;
mod second_entry;
#[cfg(not(target_arch = "x86_64"))]
mod watch;

#[cfg(not(target_arch = "x86_64"))]
pub use compat_call::*;
#[cfg(not(target_arch = "x86_64"))]
pub use floating::*;
#[cfg(foreign_programs)]
pub use foreign::*;
pub use gates::*;
pub use layout::*;
#[cfg(not(target_arch = "x86_64"))]
pub use marks::*;
pub use programs::*;
pub use registers::*;
pub use repeats::*;
pub use second_entry::*;
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
