// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The personalities: each emulates the system calls of one foreign system.

mod alien;
#[cfg(windows_programs)]
mod nt;

pub use alien::Alien;
#[cfg(windows_programs)]
pub use nt::Nt;
