// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Distinguishes a real processor from QEMU's emulation.

#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(not(any(target_arch = "aarch64", target_arch = "x86_64")), path = "other.rs")]
mod arch;

// The tests of aarch64's parser run on every host.
#[cfg(all(test, not(target_arch = "aarch64")))]
#[expect(dead_code, reason = "only the parser is called")]
mod aarch64;

/// Returns true if this program is known to run on QEMU's emulation. Times measured on the
/// emulation are meaningless, also the times of VMs on the emulated KVM. An emulated model of a
/// real processor is not always recognised.
#[must_use]
pub fn is_emulated() -> bool {
    arch::is_emulated()
}
