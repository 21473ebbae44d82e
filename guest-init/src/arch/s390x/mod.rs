// SPDX-License-Identifier: Apache-2.0 OR MIT

//! s390x: gates, registers, signal frames, floating point state.

mod clock_counter;
mod floating;
mod gates;
mod programs;
mod registers;
mod second_entry;

pub use clock_counter::*;
pub use floating::*;
pub use gates::*;
pub use programs::*;
pub use registers::*;
pub use second_entry::*;

use sudbox_protocol::Feature;

/// `si_arch` of a system call (`AUDIT_ARCH_S390X`, uapi/linux/audit.h).
pub const AUDIT_ARCH: u32 = 0x8000_0016;
/// Length in bytes of the system call instruction.
pub const CALL_LENGTH: u64 = 2;
/// A system call number that no kernel implements, and that no error code equals.
pub const UNUSED_NUMBER: u64 = 0x7fe0;
/// The numbers of the calls that only the kernel's trampolines may issue: none here.
pub const PROBE_CALL_NUMBERS: &[i64] = &[];
/// The address of the last page, the only page that no program can map (`TASK_SIZE_MAX`). All other addresses
/// belong to programs, since the kernel has an address space of its own.
pub const KERNEL_ADDRESS: u64 = 0xffff_ffff_ffff_f000;
/// The bit that is set in all addresses of the upper half of the address space. Programs can map memory there,
/// unlike on the other architectures.
pub const UPPER_HALF_BIT: u64 = 1 << 63;
/// Whether the kernel refuses a selector at or above [`KERNEL_ADDRESS`]: `__access_ok()` refuses nothing.
pub const REFUSES_KERNEL_ADDRESSES: bool = false;
/// The number of bits of the number register that the kernel reads (`do_syscall()`).
pub const NUMBER_BITS: u32 = 16;
/// An mmap(2) hint above 4 GiB that fits the smallest address space, of 42 bits.
pub const HIGH_MMAP_HINT: u64 = 0x2e_5700_0000;
/// `SA_RESTORER` (arch/s390/include/uapi/asm/signal.h).
pub const SA_RESTORER: u64 = 0x0400_0000;
/// The signature before the abort handlers of rseq(2) in the C library (sys/rseq.h).
pub const RSEQ_SIGNATURE: u64 = 0xb2ff_0fff;
/// The fields of `/proc/cpuinfo` that name the CPU.
pub const CPU_MODEL: [&str; 2] = ["vendor_id", "processor 0"];
/// The field of `/proc/cpuinfo` that lists the CPU's features.
pub const CPU_FEATURES: &str = "features";
/// Whether a single step over a dispatched call stops the tracee twice. It does: the delivery of SIGSYS
/// causes one stop (`signal_setup_done()`), and the PER event of the processor another
/// (`do_per_trap()`).
pub const STEP_STOPS_TWICE: bool = true;
/// The value that a known kernel bug leaves in the result register of a dispatched call: -ENOSYS, which
/// `__do_syscall()` writes after `syscall_rollback()` has restored the register.
pub const RESULT_AFTER_DISPATCH_BUG: Option<i64> = Some(-38);

/// The call number that the tracepoint `sys_exit` reports for an `rt_sigreturn(2)`: -1 as an unsigned number of
/// 32 bits, since the kernel is no longer in a call (`syscall_get_nr()`).
#[must_use]
pub const fn number_after_sigreturn(_: i64) -> i64 {
    0xffff_ffff
}

/// Returns false: there is no kernel feature that exists on this architecture only.
#[must_use]
pub fn has_arch_feature(_: Feature) -> bool {
    false
}

/// Calls that newer architectures lack, with their arguments.
pub const LEGACY_CALLS: &[(i64, [u64; 6])] =
    &[(libc::SYS_vfork, [0; 6]), (libc::SYS_pause, [0; 6])];

/// The arguments of `clone(2)` in this architecture's order (`CLONE_BACKWARDS2`).
#[must_use]
pub const fn clone_arguments(flags: u64, stack: u64) -> [u64; 2] {
    [stack, flags]
}

/// The arguments of `mmap(2)` as the kernel expects them: the address of all six (`sys_old_mmap()`).
#[must_use]
pub fn mmap_arguments(six: &[u64; 6]) -> [u64; 6] {
    [six.as_ptr() as u64, 0, 0, 0, 0, 0]
}

/// The value of the number register when a call with this number continues as `restart_syscall(2)`: unchanged,
/// since the kernel uses an instruction in the vDSO that contains the number of `restart_syscall(2)`.
#[must_use]
pub const fn number_of_restart(number: i64) -> i64 {
    number
}

/// The thread pointer of the C library: the first two access registers.
#[must_use]
pub fn thread_pointer() -> u64 {
    let value: u64;
    // SAFETY: reads registers.
    unsafe {
        std::arch::asm!(
            "ear {v}, %a0",
            "sllg {v}, {v}, 32",
            "ear {v}, %a1",
            v = out(reg_addr) value,
            options(nomem, nostack)
        );
    }
    value
}
