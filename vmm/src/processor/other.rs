// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Architectures on which QEMU's emulation cannot be recognised.

/// Returns false.
pub(super) fn is_emulated() -> bool {
    false
}
