// SPDX-License-Identifier: Apache-2.0 OR MIT

//! aarch64: gates, registers, signal frames, vector registers.

mod counter;
mod foreign;
mod gates;
mod narrow;
mod programs;
mod registers;
mod vectors;

pub use counter::*;
pub use foreign::*;
pub use gates::*;
pub use narrow::*;
pub use programs::*;
pub use registers::*;
pub use vectors::*;

use std::ops::Range;
use sudbox_protocol::Feature;

/// `si_arch` of a system call (`AUDIT_ARCH_AARCH64`, uapi/linux/audit.h).
pub const AUDIT_ARCH: u32 = 0xc000_00b7;
/// Length in bytes of the instruction that enters the kernel.
pub const CALL_LENGTH: u64 = 4;
/// A system call number that no kernel implements and that is no error code.
pub const UNUSED_NUMBER: u64 = 0x0fff_0000;
/// An address that the kernel keeps for itself, with the top bit set, which no tag makes another.
pub const KERNEL_ADDRESS: u64 = 0xffff_ffd8_0000_0000;
/// The bit that is set in addresses of the kernel alone; those above it are a tag.
pub const KERNEL_BIT: u64 = 1 << 55;
/// Whether a selector at [`KERNEL_ADDRESS`] or beyond is refused.
pub const REFUSES_KERNEL_ADDRESSES: bool = true;
/// How many bits of the number's register are the number.
pub const NUMBER_BITS: u32 = 32;
/// Whether a tracer is told twice of a step over a call that a handler follows.
pub const STEP_IS_TOLD_TWICE: bool = false;
/// What a recorded bug leaves in the result's register of a dispatched call.
pub const LEFT_BY_DISPATCH: Option<i64> = None;
/// A hint for memory above 4 GiB that fits the smaller address spaces, of 39 bits.
pub const HIGH_HINT: u64 = 0x2e_5700_0000;
/// `SA_RESTORER` (arch/arm64/include/uapi/asm/signal.h).
pub const SA_RESTORER: u64 = 0x0400_0000;
/// The signature in front of abort handlers that the C library uses (sys/rseq.h).
pub const RSEQ_SIGNATURE: u64 = 0xd428_bc00;
/// Fields of `/proc/cpuinfo` that say what the CPU is.
pub const CPU_MODEL: [&str; 2] = ["CPU implementer", "CPU part"];
/// The field of `/proc/cpuinfo` that lists the CPU's features.
pub const CPU_FEATURES: &str = "Features";
/// Bits of an address that the processor ignores for user space (TBI0,
/// Documentation/arch/arm64/tagged-pointers.rst).
pub const TAG_BITS: Range<u32> = 56..63;

/// What `sys_exit` says of the number of an `rt_sigreturn(2)`: that there is no call any more
/// (`restore_sigframe()`).
#[must_use]
pub const fn number_after_sigreturn(_: i64) -> i64 {
    -1
}

/// What exists on other architectures only.
#[must_use]
pub fn offers(_: Feature) -> bool {
    false
}

/// Calls that architectures with an older table have beside the usual ones: none.
pub const MORE_CALLS: &[(i64, [u64; 6])] = &[];

/// The arguments of `clone(2)` in their order here.
#[must_use]
pub const fn clone_arguments(flags: u64, stack: u64) -> [u64; 2] {
    [flags, stack]
}

/// The arguments of `mmap(2)` as the kernel takes them.
#[must_use]
pub const fn mmap_arguments(six: &[u64; 6]) -> [u64; 6] {
    *six
}

/// What the number's register holds when a call of this number goes on as `restart_syscall(2)`.
#[must_use]
pub const fn number_of_restart(_: i64) -> i64 {
    libc::SYS_restart_syscall
}

/// The thread pointer, as the C library means it.
#[must_use]
pub fn thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mrs {}, tpidr_el0", out(reg) value, options(nomem, nostack)) };
    value
}

/// Gives the 16 bytes of memory there the tag that the address has (`STG`).
///
/// # Safety
/// The CPU must have the feature `mte`, and the address, 16-byte aligned, must be in memory that is
/// mapped with tags. Who reads it by another tag faults from now on.
pub unsafe fn tag_memory(address: u64) {
    // SAFETY: the caller vouches.
    unsafe {
        std::arch::asm!(
            ".arch_extension memtag",
            "stg {0}, [{0}]",
            ".arch_extension nomemtag",
            in(reg) address,
            options(nostack),
        );
    }
}

/// Whether a tracer sees all registers that a call may use where `PTRACE_SYSEMU` stops: but for x7, which
/// tells it entry from exit (`report_syscall_enter()`), and which it cannot change.
pub const SYSEMU_SHOWS_ALL: bool = true;
