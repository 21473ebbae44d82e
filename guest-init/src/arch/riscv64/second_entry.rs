// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The second entry into the kernel: 64-bit programs have none on this architecture.

use crate::arch::SecondEntry;

/// Returns `None`: there is no second entry into the kernel.
#[must_use]
pub const fn second_entry() -> Option<SecondEntry> {
    None
}

/// Whether number 0 is `read(2)`.
pub const ZERO_IS_READ: bool = false;
