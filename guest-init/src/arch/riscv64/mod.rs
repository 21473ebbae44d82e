// SPDX-License-Identifier: Apache-2.0 OR MIT

//! riscv64: gates, registers, signal frames, floating point state.

mod clock_counter;
mod floating;
mod foreign;
mod gates;
mod programs;
mod registers;
mod second_entry;

pub use clock_counter::*;
pub use floating::*;
pub use foreign::*;
pub use gates::*;
pub use programs::*;
pub use registers::*;
pub use second_entry::*;

use sudbox_protocol::Feature;

/// `si_arch` of a system call (`AUDIT_ARCH_RISCV64`, uapi/linux/audit.h).
pub const AUDIT_ARCH: u32 = 0xc000_00f3;
/// Length in bytes of the system call instruction, which has no compressed form.
pub const CALL_LENGTH: u64 = 4;
/// A system call number that no kernel implements, and that no error code equals.
pub const UNUSED_NUMBER: u64 = 0x0fff_0000;
/// The numbers of the calls that only the kernel's trampolines may issue: none here.
pub const PROBE_CALL_NUMBERS: &[i64] = &[];
/// An address of the kernel, which `access_ok()` refuses in every version since its top bit is set.
pub const KERNEL_ADDRESS: u64 = 0xffff_ffd8_0000_0000;
/// The bit that is set in all addresses of the upper half of the address space, which belongs to the kernel.
pub const UPPER_HALF_BIT: u64 = 1 << 63;
/// Whether the kernel refuses a selector at or above [`KERNEL_ADDRESS`].
pub const REFUSES_KERNEL_ADDRESSES: bool = true;
/// The number of bits of the number register that the kernel reads.
pub const NUMBER_BITS: u32 = 32;
/// The value that a known kernel bug leaves in the result register of a dispatched call.
pub const RESULT_AFTER_DISPATCH_BUG: Option<i64> = None;
/// An mmap(2) hint above 4 GiB that fits the smallest address space, of 39 bits (Sv39).
pub const HIGH_MMAP_HINT: u64 = 0x2e_5700_0000;
/// `SA_RESTORER` does not exist.
pub const SA_RESTORER: u64 = 0;
/// The signature before the abort handlers of rseq(2) in the C library (sys/rseq.h).
pub const RSEQ_SIGNATURE: u64 = 0xf140_1073;
/// The fields of `/proc/cpuinfo` that name the CPU.
pub const CPU_MODEL: [&str; 2] = ["isa", "mmu"];
/// The field of `/proc/cpuinfo` that lists the CPU's features.
pub const CPU_FEATURES: &str = "isa";

/// The call number that the tracepoint `sys_exit` reports for an `rt_sigreturn(2)` that returns to a call with
/// this number: the same number, since the return has restored the register.
#[must_use]
pub const fn number_after_sigreturn(number: i64) -> i64 {
    number
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
    unsafe { std::arch::asm!("mv {}, tp", out(reg) value, options(nomem, nostack)) };
    value
}

/// Whether a tracer sees all registers of a call at a stop of `PTRACE_SYSEMU`. It does not: a0 is already
/// -ENOSYS (`do_trap_ecall_u()`), and `struct user_regs_struct` does not have the first argument.
pub const SYSEMU_SHOWS_ALL: bool = false;
