//! The state of a VM in KVM, as plain data: what is read when a VM is kept, and written when
//! another begins as it.
//!
//! Both are done with every vCPU out of `KVM_RUN` (`Documentation/virt/kvm/api.rst`).

use kvm_bindings::{
    CpuId, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_MP_STATE_HALTED,
    MsrList, Msrs, kvm_clock_data, kvm_cpuid_entry2, kvm_debugregs, kvm_irqchip, kvm_lapic_state,
    kvm_mp_state, kvm_msr_entry, kvm_pit_state2, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs,
    kvm_xsave,
};
use kvm_ioctls::{VcpuFd, VmFd};
use serde::{Deserialize, Serialize};

use crate::kvm::SetupError;
use crate::x86_64::describe_vcpu;

/// `IA32_TSC_DEADLINE`: means what the time stamp counter says, and so comes after that.
const MSR_TSC_DEADLINE: u32 = 0x6e0;

/// What belongs to the VM and not to one vCPU.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VmState {
    /// Both PICs and the I/O APIC.
    irqchips: [kvm_irqchip; 3],
    pit: kvm_pit_state2,
    /// What kvm-clock says.
    clock: kvm_clock_data,
}

/// What belongs to one vCPU.
#[derive(Debug, Serialize, Deserialize)]
pub struct VcpuState {
    cpuid: Vec<kvm_cpuid_entry2>,
    mp_state: kvm_mp_state,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: kvm_xsave,
    xcrs: kvm_xcrs,
    debugregs: kvm_debugregs,
    lapic: kvm_lapic_state,
    msrs: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
}

impl VmState {
    /// Reads it.
    pub(super) fn save(vm: &VmFd) -> Result<VmState, SetupError> {
        let mut irqchips = [kvm_irqchip::default(); 3];
        let ids = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];
        for (chip, id) in irqchips.iter_mut().zip(ids) {
            chip.chip_id = id;
            vm.get_irqchip(chip).map_err(SetupError::kvm("KVM_GET_IRQCHIP"))?;
        }
        let pit = vm.get_pit2().map_err(SetupError::kvm("KVM_GET_PIT2"))?;
        let mut clock = vm.get_clock().map_err(SetupError::kvm("KVM_GET_CLOCK"))?;
        // The clock goes on where it stopped: when that was is of no use, and KVM_CLOCK_TSC_STABLE
        // is not taken back.
        clock.flags = 0;
        Ok(VmState { irqchips, pit, clock })
    }

    /// Writes it to a VM with interrupt controllers and PIT.
    pub(super) fn restore(&self, vm: &VmFd) -> Result<(), SetupError> {
        for chip in &self.irqchips {
            vm.set_irqchip(chip).map_err(SetupError::kvm("KVM_SET_IRQCHIP"))?;
        }
        vm.set_pit2(&self.pit).map_err(SetupError::kvm("KVM_SET_PIT2"))?;
        vm.set_clock(&self.clock).map_err(SetupError::kvm("KVM_SET_CLOCK"))
    }
}

impl VcpuState {
    /// Reads it. An exit to user space must be complete: `KVM_RUN` called once more for it.
    /// `cpuid` is the identity of the processor, which KVM is told and not asked.
    pub(super) fn save(
        vcpu: &VcpuFd,
        cpuid: &CpuId,
        msrs: &MsrList,
    ) -> Result<VcpuState, SetupError> {
        // In the order of Documentation/virt/kvm/api.rst: the state of the processor first, as
        // that makes pending what KVM would otherwise do later.
        let mp_state = vcpu.get_mp_state().map_err(SetupError::kvm("KVM_GET_MP_STATE"))?;
        Ok(VcpuState {
            cpuid: cpuid.as_slice().to_vec(),
            mp_state,
            regs: vcpu.get_regs().map_err(SetupError::kvm("KVM_GET_REGS"))?,
            sregs: vcpu.get_sregs().map_err(SetupError::kvm("KVM_GET_SREGS"))?,
            xsave: vcpu.get_xsave().map_err(SetupError::kvm("KVM_GET_XSAVE"))?,
            xcrs: vcpu.get_xcrs().map_err(SetupError::kvm("KVM_GET_XCRS"))?,
            debugregs: vcpu.get_debug_regs().map_err(SetupError::kvm("KVM_GET_DEBUGREGS"))?,
            lapic: vcpu.get_lapic().map_err(SetupError::kvm("KVM_GET_LAPIC"))?,
            msrs: read_msrs(vcpu, msrs)?,
            events: vcpu.get_vcpu_events().map_err(SetupError::kvm("KVM_GET_VCPU_EVENTS"))?,
        })
    }

    /// The identity of the processor.
    pub(super) fn cpuid(&self) -> Result<CpuId, SetupError> {
        CpuId::from_entries(&self.cpuid)
            .map_err(|_| SetupError::State("more CPUID leaves than KVM takes"))
    }

    /// One line on where the vCPU is.
    pub(in crate::kvm) fn describe(&self, index: usize) -> String {
        let halted = self.mp_state.mp_state == KVM_MP_STATE_HALTED;
        describe_vcpu(index, self.regs.rip, self.regs.rflags, halted)
    }

    /// Writes it to a new vCPU.
    pub(super) fn restore(&self, vcpu: &VcpuFd) -> Result<(), SetupError> {
        let cpuid = self.cpuid()?;
        // First: it decides which registers there are.
        vcpu.set_cpuid2(&cpuid).map_err(SetupError::kvm("KVM_SET_CPUID2"))?;
        vcpu.set_mp_state(self.mp_state).map_err(SetupError::kvm("KVM_SET_MP_STATE"))?;
        vcpu.set_regs(&self.regs).map_err(SetupError::kvm("KVM_SET_REGS"))?;
        vcpu.set_sregs(&self.sregs).map_err(SetupError::kvm("KVM_SET_SREGS"))?;
        // SAFETY: KVM reads more than this structure only if features were enabled for the
        // process by arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM), which this program does not.
        unsafe { vcpu.set_xsave(&self.xsave) }.map_err(SetupError::kvm("KVM_SET_XSAVE"))?;
        // A processor without XSAVE has none, and KVM refuses to be told so.
        if self.xcrs.nr_xcrs > 0 {
            vcpu.set_xcrs(&self.xcrs).map_err(SetupError::kvm("KVM_SET_XCRS"))?;
        }
        vcpu.set_debug_regs(&self.debugregs).map_err(SetupError::kvm("KVM_SET_DEBUGREGS"))?;
        vcpu.set_lapic(&self.lapic).map_err(SetupError::kvm("KVM_SET_LAPIC"))?;
        let late = |msr: &&kvm_msr_entry| msr.index == MSR_TSC_DEADLINE;
        write_msrs(vcpu, self.msrs.iter().filter(|msr| !late(msr)))?;
        write_msrs(vcpu, self.msrs.iter().filter(late))?;
        vcpu.set_vcpu_events(&self.events).map_err(SetupError::kvm("KVM_SET_VCPU_EVENTS"))
    }
}

/// Reads all registers of the list that this vCPU has. `KVM_GET_MSRS` stops at one that it has not.
fn read_msrs(vcpu: &VcpuFd, list: &MsrList) -> Result<Vec<kvm_msr_entry>, SetupError> {
    let mut read = Vec::new();
    let mut left = list.as_slice();
    while !left.is_empty() {
        let entries: Vec<kvm_msr_entry> =
            left.iter().map(|&index| kvm_msr_entry { index, ..Default::default() }).collect();
        let mut msrs = Msrs::from_entries(&entries)
            .map_err(|_| SetupError::State("more MSRs than KVM can have"))?;
        let count = vcpu.get_msrs(&mut msrs).map_err(SetupError::kvm("KVM_GET_MSRS"))?;
        read.extend_from_slice(&msrs.as_slice()[..count]);
        left = left.get(count + 1..).unwrap_or(&[]);
    }
    Ok(read)
}

/// Writes these registers. One that cannot be written keeps what it has if that is what was to be
/// written, as with those that only tell what the processor is.
fn write_msrs<'a>(
    vcpu: &VcpuFd,
    entries: impl Iterator<Item = &'a kvm_msr_entry>,
) -> Result<(), SetupError> {
    let entries: Vec<kvm_msr_entry> = entries.copied().collect();
    let mut left = &entries[..];
    while !left.is_empty() {
        let msrs = Msrs::from_entries(left)
            .map_err(|_| SetupError::State("more MSRs than KVM can have"))?;
        let count = vcpu.set_msrs(&msrs).map_err(SetupError::kvm("KVM_SET_MSRS"))?;
        if let Some(refused) = left.get(count) {
            let mut now = Msrs::from_entries(&[kvm_msr_entry { data: 0, ..*refused }])
                .map_err(|_| SetupError::State("more MSRs than KVM can have"))?;
            let known = vcpu.get_msrs(&mut now).map_err(SetupError::kvm("KVM_GET_MSRS"))?;
            if known != 1 || now.as_slice()[0].data != refused.data {
                return Err(SetupError::register(refused.index));
            }
        }
        left = left.get(count + 1..).unwrap_or(&[]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_plain_data() {
        let vm = VmState {
            irqchips: [kvm_irqchip { chip_id: 2, ..Default::default() }; 3],
            pit: kvm_pit_state2 { flags: 5, ..Default::default() },
            clock: kvm_clock_data { clock: 77, ..Default::default() },
        };
        let back: VmState = serde_json::from_str(&serde_json::to_string(&vm).unwrap()).unwrap();
        assert_eq!((back.irqchips[1].chip_id, back.pit.flags, back.clock.clock), (2, 5, 77));

        let vcpu = VcpuState {
            cpuid: vec![kvm_cpuid_entry2 { function: 1, ..Default::default() }],
            mp_state: kvm_mp_state { mp_state: 3 },
            regs: kvm_regs { rip: 0x1000, ..Default::default() },
            sregs: kvm_sregs { cr3: 0x9000, ..Default::default() },
            xsave: kvm_xsave::default(),
            xcrs: kvm_xcrs::default(),
            debugregs: kvm_debugregs::default(),
            lapic: kvm_lapic_state::default(),
            msrs: vec![kvm_msr_entry { index: 0x10, data: 9, ..Default::default() }],
            events: kvm_vcpu_events::default(),
        };
        let back: VcpuState = serde_json::from_str(&serde_json::to_string(&vcpu).unwrap()).unwrap();
        assert_eq!((back.regs.rip, back.sregs.cr3, back.msrs[0].data), (0x1000, 0x9000, 9));
        assert_eq!((back.cpuid[0].function, back.mp_state.mp_state), (1, 3));
    }
}
