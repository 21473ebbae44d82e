// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The system call entries of an architecture. Dispatch applies to each of them, by the address of the call
//! that the kernel compares with the range.

use super::check_on;
use crate::case::{Case, Need, OnlyArchs, case_not_in_core};
use sudbox_protocol::Arch;
use sudbox_protocol::Feature;

const FAST_FUNCTION: &str = "do_fast_syscall_32()";
const EXEMPT_FUNCTION: &str = "arch_syscall_is_vdso_sigreturn()";
const IA32: &[Feature] = &[Feature::Dispatch, Feature::Ia32];

const X86: OnlyArchs =
    OnlyArchs { archs: &[Arch::X86_64], reason: "other architectures have one system call entry" };

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "entries/int80",
        "int 0x80 from 64-bit code obeys range and selector, like the syscall instruction",
        "do_int80_emulation()",
        check_on!("x86_64", this_arch::entries::int80),
    )
    .features(IA32)
    .only(X86),
    case_not_in_core(
        "entries/int80-32",
        "int 0x80 from a 32-bit program obeys range and selector, and a dispatch keeps its registers",
        "do_int80_emulation()",
        check_on!("x86_64", this_arch::entries::int80_from_compat),
    )
    .features(IA32)
    .only(X86),
    case_not_in_core(
        "entries/int80-refused",
        "if 32-bit calls are disabled, int 0x80 faults and is not dispatched",
        "exc_general_protection()",
        check_on!("x86_64", this_arch::entries::int80_refused),
    )
    .needs(&[Need::BootArgument("ia32_emulation=off")])
    .only(X86),
    case_not_in_core(
        "entries/sysenter",
        "the compared address of SYSENTER is the landing pad in the vDSO, and a dispatch keeps its registers",
        FAST_FUNCTION,
        check_on!("x86_64", this_arch::entries::sysenter),
    )
    .features(IA32)
    .needs(&[Need::CpuVendor("GenuineIntel")])
    .only(X86),
    case_not_in_core(
        "entries/syscall32",
        "the compared address of a 32-bit SYSCALL is the landing pad in the vDSO, and a dispatch keeps its \
         registers",
        FAST_FUNCTION,
        check_on!("x86_64", this_arch::entries::syscall32),
    )
    .features(IA32)
    .only(X86),
    case_not_in_core(
        "entries/fast-call-from-64-bit-program",
        "the compared address of a fast 32-bit call of a 64-bit program is the 64-bit vDSO's address plus the \
         offset of the landing pad in the 32-bit vDSO",
        FAST_FUNCTION,
        check_on!("x86_64", this_arch::fast::from_64_bit_program),
    )
    .features(IA32)
    .only(X86),
    case_not_in_core(
        "entries/sysenter-bad-stack",
        "SYSENTER without a readable stack fails with EFAULT, before dispatch",
        "do_SYSENTER_32()",
        check_on!("x86_64", this_arch::entries::sysenter_bad_stack),
    )
    .features(IA32)
    .needs(&[Need::CpuVendor("GenuineIntel")])
    .only(X86),
    case_not_in_core(
        "entries/syscall32-bad-stack",
        "a 32-bit SYSCALL without a readable stack fails with EFAULT, before dispatch",
        FAST_FUNCTION,
        check_on!("x86_64", this_arch::entries::syscall32_bad_stack),
    )
    .features(IA32)
    .only(X86),
    case_not_in_core(
        "entries/sigreturn-exempt",
        "both sigreturns of the 32-bit vDSO are always executed, without reading the selector",
        EXEMPT_FUNCTION,
        check_on!("x86_64", this_arch::entries::sigreturn_exempt),
    )
    .features(IA32)
    .only(X86),
    case_not_in_core(
        "entries/sigreturn-exempt-by-address",
        "calls at the exempt addresses of the 32-bit vDSO are executed, whatever their number",
        EXEMPT_FUNCTION,
        check_on!("x86_64", this_arch::entries::exempt_by_address),
    )
    .features(IA32)
    .only(X86),
    case_not_in_core(
        "entries/sigreturn-exempt-only-32",
        "a 64-bit call from the exempt addresses of the 32-bit vDSO is dispatched",
        EXEMPT_FUNCTION,
        check_on!("x86_64", this_arch::entries::exempt_only_compat),
    )
    .features(IA32)
    .only(X86),
    case_not_in_core(
        "entries/sigreturn-exempt-only-vdso32",
        "no address of the 64-bit vDSO is exempt, not even for int 0x80 right before its start",
        EXEMPT_FUNCTION,
        check_on!("x86_64", this_arch::entries::exempt_only_in_compat_vdso),
    )
    .features(IA32)
    .only(X86),
    case_not_in_core(
        "entries/arm32",
        "calls of a 32-bit program, in ARM and in Thumb state, obey range and selector, a dispatch keeps its \
         registers, and its handler's sigreturn in the kernel's sigpage is not dispatched",
        "do_el0_svc_compat()",
        check_on!("aarch64", this_arch::entries::aarch32),
    )
    .only(OnlyArchs { archs: &[Arch::Aarch64], reason: "its program is machine code of 32-bit ARM" }),
    case_not_in_core(
        "entries/x32",
        "a call with an x32 number obeys range and selector",
        "do_syscall_64()",
        check_on!("x86_64", this_arch::entries::x32),
    )
    .features(&[Feature::Dispatch, Feature::X32])
    .only(X86),
    case_not_in_core(
        "entries/vsyscall",
        "the vsyscall page issues no system call, so it works with every selector value",
        "emulate_vsyscall()",
        check_on!("x86_64", this_arch::entries::vsyscall),
    )
    .features(&[Feature::Dispatch, Feature::Vsyscall])
    .only(X86),
];
