// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The VM's parts inside KVM: interrupt controllers, PIT and vCPUs.

use std::sync::Arc;

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, KVM_PIT_SPEAKER_DUMMY, MsrList, Msrs, kvm_pit_config,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};

use super::state::{VcpuState, VmState};
use super::{KernelEntry, boot_msrs, boot_registers, cpuid, layout};
use crate::kvm::SetupError;

/// One vCPU.
pub(in crate::kvm) struct Cpu {
    pub(in crate::kvm) fd: VcpuFd,
    /// The CPUID leaves that KVM was given for the vCPU.
    cpuid: CpuId,
    /// The MSRs that belong to a vCPU's state (`KVM_GET_MSR_INDEX_LIST`).
    msrs: Arc<MsrList>,
}

/// Interrupt controllers and PIT. The VM's descriptor gives access to them, so this type stores
/// nothing.
pub(in crate::kvm) struct IrqChips;

/// Creates interrupt controllers, PIT and vCPUs in their state after power-on. The first vCPU
/// still needs [`Cpu::set_entry`]; the other vCPUs wait for its start-up IPI. Calls
/// `register_eventfds` when the interrupt controllers exist.
///
/// # Errors
/// If KVM refuses.
pub(in crate::kvm) fn create_parts(
    kvm: &Kvm,
    vm: &VmFd,
    cpus: u8,
    register_eventfds: impl FnOnce(&VmFd) -> Result<(), SetupError>,
) -> Result<(IrqChips, Vec<Cpu>), SetupError> {
    let chips = create_irq_chips(vm)?;
    register_eventfds(vm)?;
    let supported_cpuid = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(SetupError::kvm("KVM_GET_SUPPORTED_CPUID"))?;
    let msr_indices = msr_list(kvm)?;
    let mut vcpus = Vec::new();
    for index in 0..cpus {
        let fd = vm.create_vcpu(index.into()).map_err(SetupError::kvm("KVM_CREATE_VCPU"))?;
        let cpuid = cpuid(&supported_cpuid, index, cpus);
        fd.set_cpuid2(&cpuid).map_err(SetupError::kvm("KVM_SET_CPUID2"))?;
        let boot_msrs = boot_msrs();
        let entries =
            Msrs::from_entries(&boot_msrs).map_err(|_| SetupError::State("too many boot MSRs"))?;
        let set_count = fd.set_msrs(&entries).map_err(SetupError::kvm("KVM_SET_MSRS"))?;
        if let Some(refused) = boot_msrs.get(set_count) {
            return Err(SetupError::refused_register(refused.index));
        }
        vcpus.push(Cpu { fd, cpuid, msrs: msr_indices.clone() });
    }
    Ok((chips, vcpus))
}

/// Creates interrupt controllers, PIT and vCPUs in a saved state; see [`create_parts`].
///
/// # Errors
/// If KVM refuses.
pub(in crate::kvm) fn restore_parts(
    kvm: &Kvm,
    vm: &VmFd,
    (vm_state, vcpu_states): (&VmState, &[Arc<VcpuState>]),
    register_eventfds: impl FnOnce(&VmFd) -> Result<(), SetupError>,
) -> Result<(IrqChips, Vec<Cpu>), SetupError> {
    let chips = create_irq_chips(vm)?;
    register_eventfds(vm)?;
    let msr_indices = msr_list(kvm)?;
    let mut vcpus = Vec::new();
    for (id, state) in (0..).zip(vcpu_states) {
        let fd = vm.create_vcpu(id).map_err(SetupError::kvm("KVM_CREATE_VCPU"))?;
        vcpus.push(Cpu { fd, cpuid: state.cpuid()?, msrs: msr_indices.clone() });
    }
    for (state, cpu) in vcpu_states.iter().zip(&vcpus) {
        state.restore(&cpu.fd)?;
    }
    // The I/O APIC is restored last, because its pending interrupts go to the local APICs at once.
    vm_state.restore(vm)?;
    Ok((chips, vcpus))
}

/// Creates the in-kernel interrupt controllers and PIT. KVM requires this before the first vCPU.
fn create_irq_chips(vm: &VmFd) -> Result<IrqChips, SetupError> {
    vm.set_identity_map_address(layout::KVM_IDENTITY_MAP)
        .map_err(SetupError::kvm("KVM_SET_IDENTITY_MAP_ADDR"))?;
    let tss = usize::try_from(layout::KVM_TSS).unwrap_or(usize::MAX);
    vm.set_tss_address(tss).map_err(SetupError::kvm("KVM_SET_TSS_ADDR"))?;
    vm.create_irq_chip().map_err(SetupError::kvm("KVM_CREATE_IRQCHIP"))?;
    // The flag adds port 61h, by which a kernel reads the PIT to calibrate its clocks.
    let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
    vm.create_pit2(pit).map_err(SetupError::kvm("KVM_CREATE_PIT2"))?;
    Ok(IrqChips)
}

/// Returns the indices of the MSRs that belong to a vCPU's state.
fn msr_list(kvm: &Kvm) -> Result<Arc<MsrList>, SetupError> {
    kvm.get_msr_index_list().map(Arc::new).map_err(SetupError::kvm("KVM_GET_MSR_INDEX_LIST"))
}

impl IrqChips {
    /// Returns the state of interrupt controllers and PIT. Every vCPU must be parked.
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
    pub(in crate::kvm) fn set_entry(&self, entry: &KernelEntry) -> Result<(), SetupError> {
        let mut sregs = self.fd.get_sregs().map_err(SetupError::kvm("KVM_GET_SREGS"))?;
        let regs = boot_registers(entry, &mut sregs);
        self.fd.set_sregs(&sregs).map_err(SetupError::kvm("KVM_SET_SREGS"))?;
        self.fd.set_regs(&regs).map_err(SetupError::kvm("KVM_SET_REGS"))
    }

    /// Returns the vCPU's state. After its last exit `KVM_RUN` must have been called once more, so
    /// that KVM has finished the exit's I/O.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn save(&self) -> Result<VcpuState, SetupError> {
        VcpuState::save(&self.fd, &self.cpuid, &self.msrs)
    }
}
