// SPDX-License-Identifier: Apache-2.0 OR MIT

//! x86-64: gates, registers, signal frames, floating point state, CPU features.

use std::ops::Range;

mod clock_counter;
pub mod compat;
mod compat_call;
mod fast;
mod features;
mod floating;
mod foreign;
mod frame_deviations;
mod gates;
mod marks;
mod programs;
mod registers;
mod second_entry;
mod signal_frame;
mod threads;
mod users;
mod watch;
mod watch_compat;

pub use clock_counter::*;
pub use compat_call::*;
pub use fast::*;
pub use features::*;
pub use floating::*;
pub use foreign::*;
pub use frame_deviations::FRAME_DEVIATIONS;
pub use gates::*;
pub use marks::*;
pub use programs::*;
pub use registers::*;
pub use second_entry::*;
pub use signal_frame::*;
pub use threads::*;
pub use users::*;
pub use watch::*;
pub use watch_compat::*;

/// `si_arch` of a system call through `syscall` (`AUDIT_ARCH_X86_64`, uapi/linux/audit.h).
pub const AUDIT_ARCH: u32 = 0xc000_003e;
/// `si_arch` of a system call through `int 0x80` (`AUDIT_ARCH_I386`).
pub const AUDIT_ARCH_COMPAT: u32 = 0x4000_0003;
/// The selectors of 32-bit code, of data and stacks, and of 64-bit code (arch/x86/include/asm/segment.h).
pub const USER32_CS: u16 = 0x23;
#[allow(missing_docs)]
pub const USER_DS: u16 = 0x2b;
#[allow(missing_docs)]
pub const USER_CS: u16 = 0x33;
/// Length in bytes of the system call instruction, and of `int 0x80`.
pub const CALL_LENGTH: u64 = 2;
/// A system call number that no x86-64 kernel implements, and that no error code equals.
pub const UNUSED_NUMBER: u64 = 0x0fff_0000;
/// The numbers of `uretprobe` and `uprobe` (arch/x86/entry/syscalls/syscall_64.tbl). Only the kernel's trampolines
/// may issue these calls.
pub const PROBE_CALL_NUMBERS: &[i64] = &[335, 336];
/// Bit in a number that selects the x32 table (`__X32_SYSCALL_BIT`).
pub const X32_BIT: u64 = 0x4000_0000;
/// An address of the kernel, which `access_ok()` refuses in every version since its top bit is set.
pub const KERNEL_ADDRESS: u64 = 0xffff_8880_0000_0000;
/// Whether the kernel refuses a selector at or above [`KERNEL_ADDRESS`].
pub const REFUSES_KERNEL_ADDRESSES: bool = true;
/// The number of bits of the number register that the kernel reads.
pub const NUMBER_BITS: u32 = 32;
/// Whether a single step over a call that leads to a handler stops the tracee twice.
pub const STEP_STOPS_TWICE: bool = false;
/// The value that a known kernel bug leaves in the result register of a dispatched call.
pub const RESULT_AFTER_DISPATCH_BUG: Option<i64> = None;

/// Whether a tracer sees all registers of a call at a stop of `PTRACE_SYSEMU`.
pub const SYSEMU_SHOWS_ALL: bool = true;

/// `getpid` in the table of `int 0x80` (`arch/x86/entry/syscalls/syscall_32.tbl`).
pub const COMPAT_GETPID: u64 = 20;

/// The bit that is set in all addresses of the upper half of the address space, which belongs to the kernel.
pub const UPPER_HALF_BIT: u64 = 1 << 63;
/// An mmap(2) hint above 4 GiB.
pub const HIGH_MMAP_HINT: u64 = 0x7e57_0000_0000;
/// `SA_RESTORER` (arch/x86/include/uapi/asm/signal.h).
pub const SA_RESTORER: u64 = 0x0400_0000;
/// The signature before the abort handlers of rseq(2) in the C library (sys/rseq.h).
pub const RSEQ_SIGNATURE: u64 = 0x5305_3053;
/// The fields of `/proc/cpuinfo` that name the CPU.
pub const CPU_MODEL: [&str; 2] = ["vendor_id", "model name"];
/// The field of `/proc/cpuinfo` that lists the CPU's features.
pub const CPU_FEATURES: &str = "flags";

/// The call number that the tracepoint `sys_exit` reports for an `rt_sigreturn(2)` that returns to a call with
/// this number.
#[must_use]
pub const fn number_after_sigreturn(_: i64) -> i64 {
    -1
}

/// Calls that newer architectures lack, with their arguments.
pub const LEGACY_CALLS: &[(i64, [u64; 6])] =
    &[(libc::SYS_vfork, [0; 6]), (libc::SYS_pause, [0; 6])];

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

/// Bits of an address that processors with linear address masking may ignore (LAM_U57, Intel SDM
/// volume 1, 4.4). An address without a tag has 0 in these bits.
pub const TAG_BITS: Range<u32> = 57..63;
