// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The processor's counter of time.

/// Reads the virtual count of the generic timer in program order (Arm ARM, CNTVCT_EL0). The kernel lets
/// programs read it, for the vDSO.
#[inline]
#[must_use]
pub fn clock_counter() -> u64 {
    let count;
    // SAFETY: reads a counter.
    unsafe {
        std::arch::asm!("isb", "mrs {}, cntvct_el0", "isb", out(reg) count, options(nostack));
    }
    count
}
