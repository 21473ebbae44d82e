// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The thread pointers: the base addresses of the segments FS and GS.

/// The thread pointer of the C library.
#[must_use]
pub fn thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: by the ABI the word at the thread pointer is the thread pointer itself.
    unsafe { std::arch::asm!("mov {}, fs:[0]", out(reg) value, options(nostack, readonly)) };
    value
}

/// `ARCH_SET_GS` (arch/x86/include/uapi/asm/prctl.h).
pub const SET_SECOND_THREAD_POINTER: u64 = 0x1001;
/// `ARCH_GET_FS`.
pub const GET_THREAD_POINTER: u64 = 0x1003;
/// `ARCH_GET_GS`.
pub const GET_SECOND_THREAD_POINTER: u64 = 0x1004;

/// Reads 8 bytes at the second thread pointer (`gs`).
///
/// # Safety
/// 8 readable bytes must be there.
#[must_use]
pub unsafe fn read_second_thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: by the contract of this function.
    unsafe { std::arch::asm!("mov {}, gs:[0]", out(reg) value, options(nostack, readonly)) };
    value
}

/// Sets the thread register of a foreign thread (`gs`).
///
/// # Errors
/// As `arch_prctl(2)`.
///
/// # Safety
/// Our own code in the thread must not use `gs`.
pub unsafe fn set_thread_register(block: u64) -> crate::sys::Result<()> {
    // SAFETY: by the contract of this function.
    unsafe { crate::sys::call(libc::SYS_arch_prctl, &[SET_SECOND_THREAD_POINTER, block]) }.map(drop)
}
