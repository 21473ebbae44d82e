// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The processor's counter of time.

/// Reads the time stamp counter in program order (Intel SDM volume 2, RDTSC). A program may read it unless
/// it has asked the kernel to forbid that (`PR_SET_TSC`).
#[inline]
#[must_use]
pub fn clock_counter() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: reads a counter.
    unsafe {
        std::arch::asm!(
            "lfence", "rdtsc", "lfence",
            out("rax") low, out("rdx") high, options(nostack),
        );
    }
    high << 32 | low
}
