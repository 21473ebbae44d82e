// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Foreign programs in the sandbox. A program must behave in the same way with every engine.

use super::check_on;
use crate::case::{Case, Need, OnlyArchs, case_not_in_core};
use sudbox_protocol::Arch;
use sudbox_protocol::Feature;

const HAS_FOREIGN_PROGRAM: OnlyArchs = OnlyArchs {
    archs: &[Arch::X86_64, Arch::Aarch64, Arch::Riscv64],
    reason: "no foreign program is written for s390x",
};
const HAS_SYSEMU_REGISTERS: OnlyArchs = OnlyArchs {
    archs: &[Arch::X86_64, Arch::Aarch64],
    reason: "PTRACE_SYSEMU does not report all registers on riscv64, and no foreign program is written for \
             s390x",
};
const HAS_WINDOWS_PROGRAM: OnlyArchs = OnlyArchs {
    archs: &[Arch::X86_64, Arch::Aarch64],
    reason: "the Windows program is written for x86-64 and aarch64 only",
};
const HAS_NOTIFIED_ARGUMENTS: OnlyArchs = OnlyArchs {
    archs: &[Arch::X86_64],
    reason: "on aarch64 a notification does not carry all arguments of a Windows call",
};

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "sandbox/alien-exclusive",
        "a program with a system call interface unlike Linux's runs if all its calls are dispatched",
        "syscall_user_dispatch()",
        check_on!(cfg foreign_programs, foreign::alien_exclusive),
    )
    .only(HAS_FOREIGN_PROGRAM),
    case_not_in_core(
        "sandbox/alien-inclusive",
        "the same program has the same transcript on inclusive dispatch",
        "task_set_syscall_user_dispatch()",
        check_on!(cfg foreign_programs, foreign::alien_inclusive),
    )
    .features(&[Feature::Dispatch, Feature::Inclusive])
    .only(HAS_FOREIGN_PROGRAM),
    case_not_in_core(
        "sandbox/alien-filter",
        "the same program has the same transcript on dispatch and on a filter that traps by address",
        "syscall_user_dispatch()",
        check_on!(cfg foreign_programs, foreign::alien_filter),
    )
    .features(&[Feature::Dispatch, Feature::SeccompFilter])
    .only(HAS_FOREIGN_PROGRAM),
    case_not_in_core(
        "sandbox/alien-trace",
        "the same program has the same transcript on dispatch and under a tracer with PTRACE_SYSEMU",
        "syscall_user_dispatch()",
        check_on!(cfg foreign_programs, foreign::alien_trace),
    )
    .only(HAS_SYSEMU_REGISTERS),
    case_not_in_core(
        "sandbox/nt-exclusive",
        "a Windows program that issues its own system calls runs if they are dispatched, with the selector \
         at Wine's offset, and its fault becomes an exception",
        "syscall_user_dispatch()",
        check_on!(cfg windows_programs, windows::nt_exclusive),
    )
    .only(HAS_WINDOWS_PROGRAM),
    case_not_in_core(
        "sandbox/nt-inclusive",
        "the same Windows program has the same transcript on inclusive dispatch",
        "task_set_syscall_user_dispatch()",
        check_on!(cfg windows_programs, windows::nt_inclusive),
    )
    .features(&[Feature::Dispatch, Feature::Inclusive])
    .only(HAS_WINDOWS_PROGRAM),
    case_not_in_core(
        "sandbox/nt-filter",
        "the same Windows program has the same transcript on dispatch and on a filter that traps by address",
        "syscall_user_dispatch()",
        check_on!(cfg windows_programs, windows::nt_filter),
    )
    .features(&[Feature::Dispatch, Feature::SeccompFilter])
    .only(HAS_WINDOWS_PROGRAM),
    case_not_in_core(
        "sandbox/nt-notification",
        "the same Windows program has the same transcript on dispatch and on a filter that notifies by \
         address",
        "syscall_user_dispatch()",
        check_on!(cfg windows_programs, windows::nt_notification),
    )
    .features(&[Feature::Dispatch, Feature::SeccompFilter])
    .only(HAS_NOTIFIED_ARGUMENTS),
    case_not_in_core(
        "sandbox/nt-trace",
        "the same Windows program has the same transcript on dispatch and under a tracer that skips all its \
         calls",
        "syscall_user_dispatch()",
        check_on!(cfg windows_programs, windows::nt_trace),
    )
    .only(HAS_WINDOWS_PROGRAM),
    case_not_in_core(
        "sandbox/nt-int80",
        "with every engine int 0x80 of a Windows program is an exception and no call to Linux",
        "syscall_user_dispatch()",
        check_on!("x86_64", this_arch::nt::int80),
    )
    .only(OnlyArchs::INT80),
    case_not_in_core(
        "sandbox/unseen",
        "with every engine no tracepoint reports a system call of a foreign program",
        "syscall_trace_enter()",
        check_on!(cfg foreign_programs, foreign::calls_unseen_by_linux),
    )
    .features(&[Feature::Dispatch, Feature::SyscallTracepoints])
    .needs(&[Need::Root, Need::Vm])
    .only(HAS_FOREIGN_PROGRAM),
    case_not_in_core(
        "sandbox/native-untouched",
        "with every engine an emulator's own system calls are executed, from any address",
        "syscall_user_dispatch()",
        check_on!(cfg foreign_programs, foreign::native_untouched),
    )
    .only(HAS_FOREIGN_PROGRAM),
    case_not_in_core(
        "sandbox/signals-from-outside",
        "signals that other processes send to a foreign thread do not change its behaviour",
        "setup_rt_frame()",
        check_on!(cfg foreign_programs, foreign::signals_from_outside),
    )
    .only(HAS_FOREIGN_PROGRAM),
    case_not_in_core(
        "sandbox/escapes",
        "dispatch does not confine: a program that jumps to the allowed range, or sets the selector, calls Linux",
        "syscall_user_dispatch()",
        check_on!(cfg foreign_programs, escapes::escapes),
    )
    .only(HAS_FOREIGN_PROGRAM),
];
