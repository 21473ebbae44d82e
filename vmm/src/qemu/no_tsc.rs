// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The replacement of module `tsc` on other architectures than x86-64.

/// Does nothing.
pub(super) fn start() {}

/// Returns `None`.
pub(super) fn khz() -> Option<u64> {
    None
}
