// SPDX-License-Identifier: Apache-2.0 OR MIT
//! There is one way into the kernel for programs of 64 bits.

use crate::arch::OtherEntry;

/// None.
#[must_use]
pub const fn other_entry() -> Option<OtherEntry> {
    None
}

/// Whether number 0 is `read(2)`.
pub const ZERO_IS_READ: bool = false;
