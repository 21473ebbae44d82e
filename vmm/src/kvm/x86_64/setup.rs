//! The parts of a VM that KVM makes: interrupt controllers, PIT and vCPUs.

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
    /// What it was told of its identity.
    cpuid: CpuId,
    /// The model-specific registers that its state consists of.
    msrs: Arc<MsrList>,
}

/// What of a VM is in KVM and is no vCPU: all of it is reached by the VM's descriptor.
pub(in crate::kvm) struct Chips;

/// Makes vCPUs as they are before a kernel starts. The first is to begin with it, the others wait
/// for its interrupt. `connect` connects the devices to the interrupt controllers.
///
/// # Errors
/// If KVM refuses.
pub(in crate::kvm) fn boot(
    kvm: &Kvm,
    vm: &VmFd,
    cpus: u8,
    connect: impl FnOnce(&VmFd) -> Result<(), SetupError>,
) -> Result<(Chips, Vec<Cpu>), SetupError> {
    let chips = provide(vm)?;
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
    let chips = provide(vm)?;
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
    // The I/O APIC last: what is pending there goes to the local APICs at once.
    machine.restore(vm)?;
    Ok((chips, all))
}

/// Gives the VM the interrupt controllers and PIT that KVM has. Before the first vCPU, as KVM wants
/// it.
fn provide(vm: &VmFd) -> Result<Chips, SetupError> {
    vm.set_identity_map_address(layout::KVM_IDENTITY_MAP)
        .map_err(SetupError::kvm("KVM_SET_IDENTITY_MAP_ADDR"))?;
    let tss = usize::try_from(layout::KVM_TSS).unwrap_or(usize::MAX);
    vm.set_tss_address(tss).map_err(SetupError::kvm("KVM_SET_TSS_ADDR"))?;
    vm.create_irq_chip().map_err(SetupError::kvm("KVM_CREATE_IRQCHIP"))?;
    // With port 61h, over which a kernel calibrates its clocks.
    let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
    vm.create_pit2(pit).map_err(SetupError::kvm("KVM_CREATE_PIT2"))?;
    Ok(Chips)
}

fn msr_list(kvm: &Kvm) -> Result<Arc<MsrList>, SetupError> {
    kvm.get_msr_index_list().map(Arc::new).map_err(SetupError::kvm("KVM_GET_MSR_INDEX_LIST"))
}

impl Chips {
    /// Their state, while every vCPU is parked.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn save(&self, vm: &VmFd) -> Result<VmState, SetupError> {
        VmState::save(vm)
    }
}

impl Cpu {
    /// Sets it at the kernel's beginning.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn enter(&self, entry: &Entry) -> Result<(), SetupError> {
        let mut sregs = self.fd.get_sregs().map_err(SetupError::kvm("KVM_GET_SREGS"))?;
        let regs = boot_registers(entry, &mut sregs);
        self.fd.set_sregs(&sregs).map_err(SetupError::kvm("KVM_SET_SREGS"))?;
        self.fd.set_regs(&regs).map_err(SetupError::kvm("KVM_SET_REGS"))
    }

    /// Its state. An exit to user space must be complete: `KVM_RUN` called once more for it.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(in crate::kvm) fn save(&self) -> Result<VcpuState, SetupError> {
        VcpuState::save(&self.fd, &self.cpuid, &self.msrs)
    }
}
