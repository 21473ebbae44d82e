// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `int 0x80` as the second entry of random walks.

use super::{compat, second_entry};
use crate::arch::Registers;

/// The number of `umask(2)` in the table of `int 0x80`.
pub const COMPAT_UMASK: u64 = compat::number::UMASK as u64;
/// The number of `prctl(2)` in the table of `int 0x80`.
pub const COMPAT_PRCTL: u64 = compat::number::PRCTL as u64;

/// The registers of a call through `int 0x80`.
#[must_use]
pub fn compat_call(number: u64, arguments: [u64; 6]) -> Registers {
    second_entry::registers(number, arguments)
}
