//! The parts of a VM that KVM makes: the GIC and vCPUs.

use std::sync::Arc;

use kvm_bindings::{
    KVM_ARM_VCPU_POWER_OFF, KVM_ARM_VCPU_PSCI_0_2, KVM_ARM_VCPU_PTRAUTH_ADDRESS,
    KVM_ARM_VCPU_PTRAUTH_GENERIC, KVM_ARM_VCPU_SVE, kvm_vcpu_init,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};

use super::Entry;
use super::gic::Gic;
use super::registers::{PC, PSTATE, PSTATE_BOOT, set, x};
use super::state::{VcpuState, VmState};
use crate::kvm::SetupError;

/// One vCPU.
pub(in crate::kvm) struct Cpu {
    pub(in crate::kvm) fd: VcpuFd,
}

/// What of a VM is in KVM and is no vCPU.
pub(in crate::kvm) struct Chips {
    gic: Gic,
    cpus: u8,
}

/// Makes vCPUs as they are before a kernel starts. The first is to begin with it, the others are off
/// until it switches them on (PSCI). `connect` connects the devices to the GIC.
///
/// # Errors
/// If KVM refuses.
pub(in crate::kvm) fn boot(
    kvm: &Kvm,
    vm: &VmFd,
    cpus: u8,
    connect: impl FnOnce(&VmFd) -> Result<(), SetupError>,
) -> Result<(Chips, Vec<Cpu>), SetupError> {
    let all = (0..cpus).map(|index| make(kvm, vm, index)).collect::<Result<_, _>>()?;
    let chips = Chips { gic: Gic::new(vm)?, cpus };
    connect(vm)?;
    Ok((chips, all))
}

/// Makes vCPUs as they were; see [`boot`].
///
/// # Errors
/// If KVM refuses.
pub(in crate::kvm) fn resume(
    kvm: &Kvm,
    vm: &VmFd,
    (machine, states): (&VmState, &[Arc<VcpuState>]),
    connect: impl FnOnce(&VmFd) -> Result<(), SetupError>,
) -> Result<(Chips, Vec<Cpu>), SetupError> {
    let cpus = u8::try_from(states.len()).map_err(|_| SetupError::State("too many vCPUs"))?;
    let (chips, all) = boot(kvm, vm, cpus, connect)?;
    for (state, cpu) in states.iter().zip(&all) {
        state.restore(&cpu.fd)?;
    }
    machine.restore(&chips.gic)?;
    Ok((chips, all))
}

/// Makes a vCPU with what the host's processors have.
fn make(kvm: &Kvm, vm: &VmFd, index: u8) -> Result<Cpu, SetupError> {
    let fd = vm.create_vcpu(index.into()).map_err(SetupError::kvm("KVM_CREATE_VCPU"))?;
    let mut init = kvm_vcpu_init::default();
    vm.get_preferred_target(&mut init).map_err(SetupError::kvm("KVM_ARM_PREFERRED_TARGET"))?;
    let mut feature = |number: u32| init.features[0] |= 1 << number;
    feature(KVM_ARM_VCPU_PSCI_0_2);
    if index > 0 {
        feature(KVM_ARM_VCPU_POWER_OFF);
    }
    // Both or neither, as KVM wants it.
    if kvm.check_extension(Cap::ArmPtrAuthAddress) && kvm.check_extension(Cap::ArmPtrAuthGeneric) {
        feature(KVM_ARM_VCPU_PTRAUTH_ADDRESS);
        feature(KVM_ARM_VCPU_PTRAUTH_GENERIC);
    }
    let sve = kvm.check_extension(Cap::ArmSve);
    if sve {
        feature(KVM_ARM_VCPU_SVE);
    }
    fd.vcpu_init(&init).map_err(SetupError::kvm("KVM_ARM_VCPU_INIT"))?;
    if sve {
        // With every vector length that there is, the same each time.
        let feature = KVM_ARM_VCPU_SVE.cast_signed();
        fd.vcpu_finalize(&feature).map_err(SetupError::kvm("KVM_ARM_VCPU_FINALIZE"))?;
    }
    Ok(Cpu { fd })
}

impl Chips {
    /// Their state, while every vCPU is parked.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn save(&self, _: &VmFd) -> Result<VmState, SetupError> {
        VmState::save(&self.gic, self.cpus)
    }
}

impl Cpu {
    /// Sets it at the kernel's beginning.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn enter(&self, entry: &Entry) -> Result<(), SetupError> {
        let registers = [(PSTATE, PSTATE_BOOT), (PC, entry.entry), (x(0), entry.device_tree)];
        for (name, value) in registers {
            set(&self.fd, name, value).map_err(SetupError::kvm("KVM_SET_ONE_REG"))?;
        }
        Ok(())
    }

    /// Its state. An exit to user space must be complete: `KVM_RUN` called once more for it.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn save(&self) -> Result<VcpuState, SetupError> {
        VcpuState::save(&self.fd)
    }
}
