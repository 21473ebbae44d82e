// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The thread pointers.

/// The thread pointer of the C library.
#[must_use]
pub fn thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: the ABI keeps the thread pointer's own value at its start.
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
/// It must point at 8 readable bytes.
#[must_use]
pub unsafe fn read_second_thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: by the contract of this function.
    unsafe { std::arch::asm!("mov {}, gs:[0]", out(reg) value, options(nostack, readonly)) };
    value
}

/// Sets what a foreign thread finds its block by (`gs`).
///
/// # Errors
/// As `arch_prctl(2)`.
///
/// # Safety
/// Nothing of ours may use it.
pub unsafe fn set_block(block: u64) -> crate::sys::Result<()> {
    // SAFETY: by the contract of this function.
    unsafe { crate::sys::call(libc::SYS_arch_prctl, &[SET_SECOND_THREAD_POINTER, block]) }.map(drop)
}
