//! What the filters of threads have of this architecture.

use seccompiler::TargetArch;

use crate::kvm::seccomp::{Allowed, KVM_RUN, any};

/// Whose numbers system calls have.
pub(in crate::kvm) const TARGET: TargetArch = TargetArch::x86_64;

/// What a vCPU thread asks of KVM when its guest is at its end or its state is kept
/// (`include/uapi/linux/kvm.h`): registers and all that [`super::state`] reads.
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

/// Calls that other architectures do not have.
pub(in crate::kvm) const MORE: &[Allowed] =
    &[any(libc::SYS_poll, "waits for the guest's kicks and for room in the console's pipe")];
