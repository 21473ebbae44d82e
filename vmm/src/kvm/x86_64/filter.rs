// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The parts of the seccomp filters that depend on the architecture.

use seccompiler::TargetArch;

use crate::kvm::seccomp::{AllowedSyscall, KVM_RUN, allow_any_arguments};

/// Architecture of the system call numbers.
pub(in crate::kvm) const TARGET: TargetArch = TargetArch::x86_64;

/// Ioctls of a vCPU thread (`include/uapi/linux/kvm.h`): `KVM_RUN`, and the ioctls by which
/// [`super::state`] reads a vCPU's state.
pub(in crate::kvm) const VCPU_IOCTLS: &[u64] = &[
    KVM_RUN,
    0x8090_ae81, // KVM_GET_REGS
    0x8138_ae83, // KVM_GET_SREGS
    0xc008_ae88, // KVM_GET_MSRS
    0x8400_ae8e, // KVM_GET_LAPIC
    0x8004_ae98, // KVM_GET_MP_STATE
    0x8040_ae9f, // KVM_GET_VCPU_EVENTS
    0x8080_aea1, // KVM_GET_DEBUGREGS
    0x9000_aea4, // KVM_GET_XSAVE
    0x8188_aea6, // KVM_GET_XCRS
];

/// System calls that exist on this architecture only.
pub(in crate::kvm) const ARCH_SYSCALLS: &[AllowedSyscall] = &[allow_any_arguments(
    libc::SYS_poll,
    "waits for queue notifications and for room in the console's pipe",
)];
