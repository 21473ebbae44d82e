// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The parts of the seccomp filters that depend on the architecture.

use seccompiler::TargetArch;

use crate::kvm::seccomp::{AllowedSyscall, KVM_RUN};

/// Architecture of the system call numbers.
pub(in crate::kvm) const TARGET: TargetArch = TargetArch::aarch64;

/// Ioctls of a vCPU thread (`include/uapi/linux/kvm.h`): `KVM_RUN`, and the ioctls by which
/// [`super::state`] reads a vCPU's state.
pub(in crate::kvm) const VCPU_IOCTLS: &[u64] = &[
    KVM_RUN,
    0x4010_aeab, // KVM_GET_ONE_REG
    0xc008_aeb0, // KVM_GET_REG_LIST
    0x8004_ae98, // KVM_GET_MP_STATE
    0x8040_ae9f, // KVM_GET_VCPU_EVENTS
];

/// System calls that exist on this architecture only.
pub(in crate::kvm) const ARCH_SYSCALLS: &[AllowedSyscall] = &[];
