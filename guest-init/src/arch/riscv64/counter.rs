// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The processor's counter.

/// The timer, which the kernel lets programs read, for the vDSO (RISC-V unprivileged specification,
/// RDTIME).
#[inline]
#[must_use]
pub fn counter() -> u64 {
    let count;
    // SAFETY: reads a counter.
    unsafe { std::arch::asm!("fence", "rdtime {}", "fence", out(reg) count, options(nostack)) };
    count
}
