// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The processor's counter of time.

/// Reads the time of day clock, of which bit 51 is a microsecond (z/Architecture Principles of Operation,
/// STORE CLOCK FAST).
#[inline]
#[must_use]
pub fn clock_counter() -> u64 {
    let mut count = 0u64;
    // SAFETY: writes the 8 bytes.
    unsafe { std::arch::asm!("stckf 0({})", in(reg_addr) &raw mut count, options(nostack)) };
    count
}
