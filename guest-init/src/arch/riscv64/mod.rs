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
/// A kernel address, with the top bit set: `access_ok()` refuses it in every version.
pub const KERNEL_ADDRESS: u64 = 0xffff_ffd8_0000_0000;
/// The address bit that is set in the upper half of the address space, which is the kernel's.
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
/// The signature before rseq(2) abort handlers, as the C library uses it (sys/rseq.h).
pub const RSEQ_SIGNATURE: u64 = 0xf140_1073;
/// The fields of `/proc/cpuinfo` that name the CPU.
pub const CPU_MODEL: [&str; 2] = ["isa", "mmu"];
/// The field of `/proc/cpuinfo` that lists the CPU's features.
pub const CPU_FEATURES: &str = "isa";
/// The number in the `sys_exit` event of an `rt_sigreturn(2)` that returned from a call of this
/// number: the handler's return has restored the register by then.
#[must_use]
pub const fn number_after_sigreturn(number: i64) -> i64 {
    number
}

/// Whether the kernel has this feature, for features that exist on this architecture only. Always
/// false: there are none.
#[must_use]
pub fn has_arch_feature(_: Feature) -> bool {
    false
}

/// Calls that only older system call tables have, and their arguments: none on this architecture.
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

/// The value of the number register when a call of this number continues as `restart_syscall(2)`.
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

/// Whether a tracer sees all registers of a call at a stop of `PTRACE_SYSEMU`. It does not: a0 is -ENOSYS by
/// then, and no set of registers holds its former value (`do_trap_ecall_u()`, `struct user_regs_struct`).
pub const SYSEMU_SHOWS_ALL: bool = false;
