// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Seccomp filters of the vCPU threads and the device thread, because these threads handle input
//! from the guest. A filter allows the system calls in the lists of this module, each with its
//! reason, and no others.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

use super::arch::filter;

/// An allowed system call.
pub(super) struct AllowedSyscall {
    number: i64,
    arguments: Arguments,
    /// The reason why the call is allowed. A test checks that the text is not empty.
    #[cfg_attr(not(test), expect(dead_code, reason = "for people"))]
    reason: &'static str,
}

/// Arguments with which a system call is allowed.
enum Arguments {
    /// Any arguments.
    Any,
    /// The argument of this index has one of these values.
    Values(u8, &'static [u64]),
    /// Argument 2, the protection of mmap and mprotect, is without `PROT_EXEC`.
    NoExec,
}

/// Allows a system call with all arguments.
pub(super) const fn allow_any_arguments(number: i64, reason: &'static str) -> AllowedSyscall {
    AllowedSyscall { number, arguments: Arguments::Any, reason }
}

/// `KVM_RUN`, `_IO(KVMIO, 0x80)`: the only ioctl of a vCPU thread while the guest runs.
pub(super) const KVM_RUN: u64 = 0xae80;

/// System calls of every filtered thread.
const COMMON_SYSCALLS: &[AllowedSyscall] = &[
    allow_any_arguments(libc::SYS_read, "empties an eventfd"),
    allow_any_arguments(libc::SYS_write, "interrupts the guest, wakes the session, prints a panic"),
    allow_any_arguments(libc::SYS_futex, "locks and condition variables"),
    allow_any_arguments(libc::SYS_rt_sigreturn, "returns from the handler of the kick signal"),
    allow_any_arguments(libc::SYS_restart_syscall, "continues a wait after a stop by job control"),
    allow_any_arguments(
        libc::SYS_clock_gettime,
        "deadlines of waits, if the vDSO cannot read the clock",
    ),
    allow_any_arguments(libc::SYS_sched_yield, "waits for a lock of the allocator"),
    allow_any_arguments(libc::SYS_brk, "the allocator"),
    allow_any_arguments(libc::SYS_munmap, "the allocator; the thread's signal stack at its end"),
    allow_any_arguments(libc::SYS_mremap, "the allocator"),
    allow_any_arguments(libc::SYS_madvise, "frees the thread's stack at its end"),
    AllowedSyscall {
        number: libc::SYS_mmap,
        arguments: Arguments::NoExec,
        reason: "the allocator",
    },
    AllowedSyscall {
        number: libc::SYS_mprotect,
        arguments: Arguments::NoExec,
        reason: "the allocator",
    },
    allow_any_arguments(libc::SYS_close, "closes the thread's descriptors at its end"),
    AllowedSyscall {
        number: libc::SYS_fcntl,
        arguments: Arguments::Values(1, &[libc::F_GETFD as u64]),
        reason: "std's check in debug builds that a descriptor to close is open",
    },
    allow_any_arguments(libc::SYS_sigaltstack, "disables the thread's signal stack at its end"),
    allow_any_arguments(libc::SYS_rt_sigprocmask, "the end of the thread; abort"),
    allow_any_arguments(libc::SYS_rt_sigaction, "abort"),
    allow_any_arguments(libc::SYS_getpid, "abort"),
    allow_any_arguments(libc::SYS_gettid, "abort; the name of a thread that panics"),
    allow_any_arguments(libc::SYS_tgkill, "abort"),
    allow_any_arguments(libc::SYS_exit, "the end of the thread"),
    allow_any_arguments(libc::SYS_exit_group, "ends the process after a denied call is reported"),
];

/// Additional system calls of a vCPU thread.
const VCPU_SYSCALLS: &[AllowedSyscall] = &[
    AllowedSyscall {
        number: libc::SYS_ioctl,
        arguments: Arguments::Values(1, filter::VCPU_IOCTLS),
        reason: "runs the guest; reads the vCPU's state",
    },
    allow_any_arguments(libc::SYS_ppoll, "waits for room in the console's pipe"),
];

/// Additional system calls of the device thread.
const DEVICE_SYSCALLS: &[AllowedSyscall] =
    &[allow_any_arguments(libc::SYS_ppoll, "waits for the guest's queue notifications")];

/// The kind of a thread that has a filter.
#[derive(Clone, Copy, Debug)]
pub(super) enum ThreadKind {
    /// Runs a vCPU.
    Vcpu,
    /// Serves the vsock device.
    Device,
}

/// Installs the filter of the calling thread permanently. A denied call ends the process with a
/// message and exit code 128.
///
/// # Errors
/// If the kernel has no seccomp filters.
pub(super) fn confine(thread: ThreadKind) -> Result<(), seccompiler::Error> {
    static PROGRAMS: [OnceLock<BpfProgram>; 2] = [OnceLock::new(), OnceLock::new()];
    let (program, thread_syscalls) = match thread {
        ThreadKind::Vcpu => (&PROGRAMS[0], VCPU_SYSCALLS),
        ThreadKind::Device => (&PROGRAMS[1], DEVICE_SYSCALLS),
    };
    if program.get().is_none() {
        let _ = program.set(compile(thread_syscalls)?);
    }
    install_denial_handler();
    seccompiler::apply_filter(program.get().expect("set above"))
}

/// Compiles a filter that allows the common system calls, those of the architecture and those of
/// the thread.
fn compile(thread_syscalls: &[AllowedSyscall]) -> Result<BpfProgram, BackendError> {
    let mut rules = BTreeMap::new();
    for syscall in COMMON_SYSCALLS.iter().chain(filter::ARCH_SYSCALLS).chain(thread_syscalls) {
        rules.insert(syscall.number, argument_rules(&syscall.arguments)?);
    }
    SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, filter::TARGET)?.try_into()
}

/// Returns the rules of which a call must match one; no rules if all arguments are allowed. The
/// rules compare the low 32 bits, because ioctl requests and protections have no more.
fn argument_rules(arguments: &Arguments) -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |index, operator, value| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    match arguments {
        Arguments::Any => Ok(Vec::new()),
        Arguments::Values(index, values) => {
            values.iter().map(|&value| rule(*index, SeccompCmpOp::Eq, value)).collect()
        }
        Arguments::NoExec => {
            let exec = u64::from(libc::PROT_EXEC.cast_unsigned());
            Ok(vec![rule(2, SeccompCmpOp::MaskedEq(exec), 0)?])
        }
    }
}

/// Installs the SIGSYS handler that names a denied call before the process ends.
fn install_denial_handler() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        // SAFETY: the handler makes only async-signal-safe calls, which every filter allows; all
        // zero is a valid sigaction.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle_denied_syscall as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut());
        }
    });
}

/// Offset of `si_syscall` in `siginfo_t` on 64-bit machines
/// (`include/uapi/asm-generic/siginfo.h`): after three ints, padding and the address of the call.
const SI_SYSCALL_OFFSET: usize = 24;

extern "C" fn handle_denied_syscall(
    _: libc::c_int,
    info: *const libc::siginfo_t,
    _: *const libc::c_void,
) {
    // The handler cannot format, so it overwrites the digits 0000.
    let mut line =
        *b"sudbox: a thread of the microVM made system call 0000, which its filter denies\n";
    // SAFETY: the kernel passes a whole siginfo_t, and for SIGSYS the number is at this offset.
    let mut number = unsafe { info.byte_add(SI_SYSCALL_OFFSET).cast::<u32>().read_unaligned() };
    let first_digit = line.iter().position(|&byte| byte == b'0').unwrap_or(0);
    for position in (first_digit..first_digit + 4).rev() {
        line[position] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    // SAFETY: both calls are async-signal-safe, and the buffer is valid. Exit code 128 means a
    // fault of sudbox.
    unsafe {
        libc::write(2, line.as_ptr().cast(), line.len());
        libc::_exit(128);
    }
}

#[cfg(test)]
mod tests;
