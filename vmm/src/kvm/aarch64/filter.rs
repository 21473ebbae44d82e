//! What the filters of threads have of this architecture.

use seccompiler::TargetArch;

use crate::kvm::seccomp::{Allowed, KVM_RUN};

/// Whose numbers system calls have.
pub(in crate::kvm) const TARGET: TargetArch = TargetArch::aarch64;

/// What a vCPU thread asks of KVM when its guest is at its end or its state is kept
/// (`include/uapi/linux/kvm.h`): all that [`super::state`] reads.
pub(in crate::kvm) const VCPU_IOCTLS: &[u64] = &[
    KVM_RUN,
    0x4010_aeab, // KVM_GET_ONE_REG
    0xc008_aeb0, // KVM_GET_REG_LIST
    0x8004_ae98, // KVM_GET_MP_STATE
    0x8040_ae9f, // KVM_GET_VCPU_EVENTS
];

/// Calls that other architectures do not have.
pub(in crate::kvm) const MORE: &[Allowed] = &[];
