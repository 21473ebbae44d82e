// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The processor's counter of time.

/// Reads the timer (RISC-V unprivileged specification, RDTIME). The kernel lets programs read it, for the
/// vDSO.
#[inline]
#[must_use]
pub fn clock_counter() -> u64 {
    let count;
    // SAFETY: reads a counter.
    unsafe { std::arch::asm!("fence", "rdtime {}", "fence", out(reg) count, options(nostack)) };
    count
}
