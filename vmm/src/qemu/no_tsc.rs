// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The replacement of module `tsc` on other architectures than x86-64.

/// Does nothing.
pub(super) fn take_first_sample() {}

/// Returns `None`.
pub(super) fn frequency_khz() -> Option<u64> {
    None
}
