// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The VM's parts inside KVM: interrupt controllers, PIT and vCPUs.

use std::sync::Arc;

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, KVM_PIT_SPEAKER_DUMMY, MsrList, Msrs, kvm_pit_config,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};

use super::state::{VcpuState, VmState};
use super::{Entry, boot_msrs, boot_registers, cpuid, layout};
use crate::kvm::SetupError;

/// One vCPU.
pub(in crate::kvm) struct Cpu {
    pub(in crate::kvm) fd: VcpuFd,
    /// The CPUID leaves that it was given.
    cpuid: CpuId,
    /// The MSRs that belong to its state (`KVM_GET_MSR_INDEX_LIST`).
    msrs: Arc<MsrList>,
}

/// Interrupt controllers and PIT. They are accessed by the VM's descriptor alone.
pub(in crate::kvm) struct IrqChips;

/// Makes interrupt controllers, PIT and vCPUs as after power-on. The first vCPU is to enter the
/// kernel, the others wait for its start-up IPI. `connect` is called once the interrupt controllers
/// exist, to register interrupts.
///
/// # Errors
/// If KVM refuses.
pub(in crate::kvm) fn boot(
    kvm: &Kvm,
    vm: &VmFd,
    cpus: u8,
    connect: impl FnOnce(&VmFd) -> Result<(), SetupError>,
) -> Result<(IrqChips, Vec<Cpu>), SetupError> {
    let chips = create_chips(vm)?;
    connect(vm)?;
    let supported = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(SetupError::kvm("KVM_GET_SUPPORTED_CPUID"))?;
    let list = msr_list(kvm)?;
    let mut all = Vec::new();
    for index in 0..cpus {
        let fd = vm.create_vcpu(index.into()).map_err(SetupError::kvm("KVM_CREATE_VCPU"))?;
        let cpuid = cpuid(&supported, index, cpus);
        fd.set_cpuid2(&cpuid).map_err(SetupError::kvm("KVM_SET_CPUID2"))?;
        let msrs = boot_msrs();
        let entries =
            Msrs::from_entries(&msrs).map_err(|_| SetupError::State("too many boot MSRs"))?;
        let set = fd.set_msrs(&entries).map_err(SetupError::kvm("KVM_SET_MSRS"))?;
        if let Some(refused) = msrs.get(set) {
            return Err(SetupError::register(refused.index));
        }
        all.push(Cpu { fd, cpuid, msrs: list.clone() });
    }
    Ok((chips, all))
}

/// Makes interrupt controllers, PIT and vCPUs in a saved state; see [`boot`].
///
/// # Errors
/// If KVM refuses.
pub(in crate::kvm) fn resume(
    kvm: &Kvm,
    vm: &VmFd,
    (machine, states): (&VmState, &[Arc<VcpuState>]),
    connect: impl FnOnce(&VmFd) -> Result<(), SetupError>,
) -> Result<(IrqChips, Vec<Cpu>), SetupError> {
    let chips = create_chips(vm)?;
    connect(vm)?;
    let list = msr_list(kvm)?;
    let mut all = Vec::new();
    for (id, state) in (0..).zip(states) {
        let fd = vm.create_vcpu(id).map_err(SetupError::kvm("KVM_CREATE_VCPU"))?;
        all.push(Cpu { fd, cpuid: state.cpuid()?, msrs: list.clone() });
    }
    for (state, cpu) in states.iter().zip(&all) {
        state.restore(&cpu.fd)?;
    }
    // The I/O APIC last: its pending interrupts go to the local APICs at once.
    machine.restore(vm)?;
    Ok((chips, all))
}

/// Creates the in-kernel interrupt controllers and PIT. KVM requires this before the first vCPU.
fn create_chips(vm: &VmFd) -> Result<IrqChips, SetupError> {
    vm.set_identity_map_address(layout::KVM_IDENTITY_MAP)
        .map_err(SetupError::kvm("KVM_SET_IDENTITY_MAP_ADDR"))?;
    let tss = usize::try_from(layout::KVM_TSS).unwrap_or(usize::MAX);
    vm.set_tss_address(tss).map_err(SetupError::kvm("KVM_SET_TSS_ADDR"))?;
    vm.create_irq_chip().map_err(SetupError::kvm("KVM_CREATE_IRQCHIP"))?;
    // With port 61h, which a kernel uses to calibrate its clocks.
    let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
    vm.create_pit2(pit).map_err(SetupError::kvm("KVM_CREATE_PIT2"))?;
    Ok(IrqChips)
}

fn msr_list(kvm: &Kvm) -> Result<Arc<MsrList>, SetupError> {
    kvm.get_msr_index_list().map(Arc::new).map_err(SetupError::kvm("KVM_GET_MSR_INDEX_LIST"))
}

impl IrqChips {
    /// Returns their state. Every vCPU must be parked.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn save(&self, vm: &VmFd) -> Result<VmState, SetupError> {
        VmState::save(vm)
    }
}

impl Cpu {
    /// Sets the registers to the kernel's entry point.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn enter(&self, entry: &Entry) -> Result<(), SetupError> {
        let mut sregs = self.fd.get_sregs().map_err(SetupError::kvm("KVM_GET_SREGS"))?;
        let regs = boot_registers(entry, &mut sregs);
        self.fd.set_sregs(&sregs).map_err(SetupError::kvm("KVM_SET_SREGS"))?;
        self.fd.set_regs(&regs).map_err(SetupError::kvm("KVM_SET_REGS"))
    }

    /// Returns its state. The last exit must have been completed by another `KVM_RUN`.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn save(&self) -> Result<VcpuState, SetupError> {
        VcpuState::save(&self.fd, &self.cpuid, &self.msrs)
    }
}
