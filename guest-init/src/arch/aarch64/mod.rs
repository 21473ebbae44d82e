// SPDX-License-Identifier: Apache-2.0 OR MIT

//! aarch64: gates, registers, signal frames, vector registers.

mod aarch32;
mod clock_counter;
mod foreign;
mod gates;
mod programs;
mod registers;
mod second_entry;
mod vectors;

pub use aarch32::*;
pub use clock_counter::*;
pub use foreign::*;
pub use gates::*;
pub use programs::*;
pub use registers::*;
pub use second_entry::*;
pub use vectors::*;

use std::ops::Range;
use sudbox_protocol::Feature;

/// `si_arch` of a system call (`AUDIT_ARCH_AARCH64`, uapi/linux/audit.h).
pub const AUDIT_ARCH: u32 = 0xc000_00b7;
/// Length in bytes of the system call instruction.
pub const CALL_LENGTH: u64 = 4;
/// A system call number that no kernel implements, and that no error code equals.
pub const UNUSED_NUMBER: u64 = 0x0fff_0000;
/// The numbers of the calls that only the kernel's trampolines may issue: none here.
pub const PROBE_CALL_NUMBERS: &[i64] = &[];
/// An address of the kernel, with all tag bits set.
pub const KERNEL_ADDRESS: u64 = 0xffff_ffd8_0000_0000;
/// The bit that is set in all addresses of the upper half of the address space, which belongs to the kernel.
/// The higher bits are a tag.
pub const UPPER_HALF_BIT: u64 = 1 << 55;
/// Whether the kernel refuses a selector at or above [`KERNEL_ADDRESS`].
pub const REFUSES_KERNEL_ADDRESSES: bool = true;
/// The number of bits of the number register that the kernel reads.
pub const NUMBER_BITS: u32 = 32;
/// Whether a single step over a call that leads to a handler stops the tracee twice.
pub const STEP_STOPS_TWICE: bool = false;
/// The value that a known kernel bug leaves in the result register of a dispatched call.
pub const RESULT_AFTER_DISPATCH_BUG: Option<i64> = None;
/// An mmap(2) hint above 4 GiB that fits the smaller address spaces, of 39 bits.
pub const HIGH_MMAP_HINT: u64 = 0x2e_5700_0000;
/// `SA_RESTORER` (arch/arm64/include/uapi/asm/signal.h).
pub const SA_RESTORER: u64 = 0x0400_0000;
/// The signature before the abort handlers of rseq(2) in the C library (sys/rseq.h).
pub const RSEQ_SIGNATURE: u64 = 0xd428_bc00;
/// The fields of `/proc/cpuinfo` that name the CPU.
pub const CPU_MODEL: [&str; 2] = ["CPU implementer", "CPU part"];
/// The field of `/proc/cpuinfo` that lists the CPU's features.
pub const CPU_FEATURES: &str = "Features";
/// Bits of an address that the processor ignores for user space (TBI0,
/// Documentation/arch/arm64/tagged-pointers.rst).
pub const TAG_BITS: Range<u32> = 56..63;

/// The call number that the tracepoint `sys_exit` reports for an `rt_sigreturn(2)`: -1, since the kernel is no
/// longer in a call (`restore_sigframe()`).
#[must_use]
pub const fn number_after_sigreturn(_: i64) -> i64 {
    -1
}

/// Returns false: there is no kernel feature that exists on this architecture only.
#[must_use]
pub fn has_arch_feature(_: Feature) -> bool {
    false
}

/// Calls that newer architectures lack, with their arguments: none on this architecture.
pub const LEGACY_CALLS: &[(i64, [u64; 6])] = &[];

/// The arguments of `clone(2)` in this architecture's order.
#[must_use]
pub const fn clone_arguments(flags: u64, stack: u64) -> [u64; 2] {
    [flags, stack]
}

/// The arguments of `mmap(2)` as the kernel expects them.
#[must_use]
pub const fn mmap_arguments(six: &[u64; 6]) -> [u64; 6] {
    *six
}

/// The value of the number register when a call with this number continues as `restart_syscall(2)`.
#[must_use]
pub const fn number_of_restart(_: i64) -> i64 {
    libc::SYS_restart_syscall
}

/// The thread pointer of the C library.
#[must_use]
pub fn thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mrs {}, tpidr_el0", out(reg) value, options(nomem, nostack)) };
    value
}

/// Sets the tag of the 16 bytes of memory at `address` to the tag in `address` (`STG`).
///
/// # Safety
/// The CPU must have the feature `mte`, and the address, 16-byte aligned, must be in memory that is
/// mapped with tags. Accesses through an address with another tag fault from then on.
pub unsafe fn tag_memory(address: u64) {
    // SAFETY: by the contract of this function.
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

/// Whether a tracer sees all registers of a call at a stop of `PTRACE_SYSEMU`. It sees all but x7, in which the
/// kernel reports entry or exit (`report_syscall_enter()`); it cannot change x7 either.
pub const SYSEMU_SHOWS_ALL: bool = true;
