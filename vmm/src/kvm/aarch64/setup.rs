// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The VM's parts inside KVM: the GIC and vCPUs.

use std::sync::Arc;

use kvm_bindings::{
    KVM_ARM_VCPU_POWER_OFF, KVM_ARM_VCPU_PSCI_0_2, KVM_ARM_VCPU_PTRAUTH_ADDRESS,
    KVM_ARM_VCPU_PTRAUTH_GENERIC, KVM_ARM_VCPU_SVE, kvm_vcpu_init,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};

use super::KernelEntry;
use super::gic::Gic;
use super::registers::{PC, PSTATE, PSTATE_BOOT, set, x_register};
use super::state::{VcpuState, VmState};
use crate::kvm::SetupError;

/// One vCPU.
pub(in crate::kvm) struct Cpu {
    pub(in crate::kvm) fd: VcpuFd,
}

/// The GIC, and the number of vCPUs, each of which has its own registers in the GIC.
pub(in crate::kvm) struct IrqChips {
    gic: Gic,
    cpus: u8,
}

/// Creates the GIC and the vCPUs in their state after power-on. The first vCPU enters the kernel.
/// The other vCPUs are off until the kernel starts them (PSCI). Calls `register_events` when the
/// GIC exists.
///
/// # Errors
/// If KVM refuses.
pub(in crate::kvm) fn create_parts(
    kvm: &Kvm,
    vm: &VmFd,
    cpus: u8,
    register_events: impl FnOnce(&VmFd) -> Result<(), SetupError>,
) -> Result<(IrqChips, Vec<Cpu>), SetupError> {
    let vcpus = (0..cpus).map(|index| create_vcpu(kvm, vm, index)).collect::<Result<_, _>>()?;
    let chips = IrqChips { gic: Gic::new(vm)?, cpus };
    register_events(vm)?;
    Ok((chips, vcpus))
}

/// Creates the GIC and the vCPUs in a saved state; see [`create_parts`].
///
/// # Errors
/// If KVM refuses.
pub(in crate::kvm) fn restore_parts(
    kvm: &Kvm,
    vm: &VmFd,
    (vm_state, vcpu_states): (&VmState, &[Arc<VcpuState>]),
    register_events: impl FnOnce(&VmFd) -> Result<(), SetupError>,
) -> Result<(IrqChips, Vec<Cpu>), SetupError> {
    let cpus = u8::try_from(vcpu_states.len()).map_err(|_| SetupError::State("too many vCPUs"))?;
    let (chips, vcpus) = create_parts(kvm, vm, cpus, register_events)?;
    for (state, cpu) in vcpu_states.iter().zip(&vcpus) {
        state.restore(&cpu.fd)?;
    }
    vm_state.restore(&chips.gic)?;
    Ok((chips, vcpus))
}

/// Creates a vCPU with the features of the host's processors.
fn create_vcpu(kvm: &Kvm, vm: &VmFd, index: u8) -> Result<Cpu, SetupError> {
    let fd = vm.create_vcpu(index.into()).map_err(SetupError::kvm("KVM_CREATE_VCPU"))?;
    let mut init = kvm_vcpu_init::default();
    vm.get_preferred_target(&mut init).map_err(SetupError::kvm("KVM_ARM_PREFERRED_TARGET"))?;
    let mut enable_feature = |number: u32| init.features[0] |= 1 << number;
    enable_feature(KVM_ARM_VCPU_PSCI_0_2);
    if index > 0 {
        enable_feature(KVM_ARM_VCPU_POWER_OFF);
    }
    // KVM accepts only both features of pointer authentication, or neither.
    if kvm.check_extension(Cap::ArmPtrAuthAddress) && kvm.check_extension(Cap::ArmPtrAuthGeneric) {
        enable_feature(KVM_ARM_VCPU_PTRAUTH_ADDRESS);
        enable_feature(KVM_ARM_VCPU_PTRAUTH_GENERIC);
    }
    let has_sve = kvm.check_extension(Cap::ArmSve);
    if has_sve {
        enable_feature(KVM_ARM_VCPU_SVE);
    }
    fd.vcpu_init(&init).map_err(SetupError::kvm("KVM_ARM_VCPU_INIT"))?;
    if has_sve {
        // Finalize SVE with every vector length of the host, so that all vCPUs are equal.
        let feature = KVM_ARM_VCPU_SVE.cast_signed();
        fd.vcpu_finalize(&feature).map_err(SetupError::kvm("KVM_ARM_VCPU_FINALIZE"))?;
    }
    Ok(Cpu { fd })
}

impl IrqChips {
    /// Returns the state of the GIC. Every vCPU must be parked.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn save(&self, _: &VmFd) -> Result<VmState, SetupError> {
        VmState::save(&self.gic, self.cpus)
    }
}

impl Cpu {
    /// Sets the registers to the kernel's entry point.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn set_entry(&self, entry: &KernelEntry) -> Result<(), SetupError> {
        let registers =
            [(PSTATE, PSTATE_BOOT), (PC, entry.entry), (x_register(0), entry.device_tree)];
        for (register, value) in registers {
            set(&self.fd, register, value).map_err(SetupError::kvm("KVM_SET_ONE_REG"))?;
        }
        Ok(())
    }

    /// Returns the vCPU's state. Another `KVM_RUN` must have completed the last exit.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn save(&self) -> Result<VcpuState, SetupError> {
        VcpuState::save(&self.fd)
    }
}
