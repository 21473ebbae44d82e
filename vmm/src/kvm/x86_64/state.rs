// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a VM's parts inside KVM, as plain data for snapshots.
//!
//! The state is read and written while no vCPU is in `KVM_RUN` (`Documentation/virt/kvm/api.rst`).

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

/// `IA32_TSC_DEADLINE`: relative to the TSC, and therefore restored after the TSC.
const MSR_TSC_DEADLINE: u32 = 0x6e0;

/// State that belongs to no vCPU.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VmState {
    /// Both PICs and the I/O APIC.
    irqchips: [kvm_irqchip; 3],
    pit: kvm_pit_state2,
    /// The time of kvm-clock.
    clock: kvm_clock_data,
}

/// State of one vCPU.
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
    /// Reads the state of a VM.
    pub(super) fn save(vm: &VmFd) -> Result<VmState, SetupError> {
        let mut irqchips = [kvm_irqchip::default(); 3];
        let ids = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];
        for (chip, id) in irqchips.iter_mut().zip(ids) {
            chip.chip_id = id;
            vm.get_irqchip(chip).map_err(SetupError::kvm("KVM_GET_IRQCHIP"))?;
        }
        let pit = vm.get_pit2().map_err(SetupError::kvm("KVM_GET_PIT2"))?;
        let mut clock = vm.get_clock().map_err(SetupError::kvm("KVM_GET_CLOCK"))?;
        // Without flags, the clock continues where it stopped. KVM_SET_CLOCK would reject the flag
        // KVM_CLOCK_TSC_STABLE.
        clock.flags = 0;
        Ok(VmState { irqchips, pit, clock })
    }

    /// Writes the state to a VM that has interrupt controllers and a PIT.
    pub(super) fn restore(&self, vm: &VmFd) -> Result<(), SetupError> {
        for chip in &self.irqchips {
            vm.set_irqchip(chip).map_err(SetupError::kvm("KVM_SET_IRQCHIP"))?;
        }
        vm.set_pit2(&self.pit).map_err(SetupError::kvm("KVM_SET_PIT2"))?;
        vm.set_clock(&self.clock).map_err(SetupError::kvm("KVM_SET_CLOCK"))
    }
}

impl VcpuState {
    /// Reads the state of a vCPU. Another `KVM_RUN` must have completed the vCPU's last exit.
    /// `cpuid` contains the CPUID leaves that were set for the vCPU.
    pub(super) fn save(
        vcpu: &VcpuFd,
        cpuid: &CpuId,
        msrs: &MsrList,
    ) -> Result<VcpuState, SetupError> {
        // The multiprocessing state is read first, because the read makes KVM process pending INITs
        // and SIPIs (`kvm_arch_vcpu_ioctl_get_mpstate`).
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

    /// Returns the CPUID leaves.
    pub(super) fn cpuid(&self) -> Result<CpuId, SetupError> {
        CpuId::from_entries(&self.cpuid)
            .map_err(|_| SetupError::State("more CPUID leaves than KVM accepts"))
    }

    /// Describes the vCPU's activity in one line.
    pub(in crate::kvm) fn describe(&self, index: usize) -> String {
        let is_halted = self.mp_state.mp_state == KVM_MP_STATE_HALTED;
        describe_vcpu(index, self.regs.rip, self.regs.rflags, is_halted)
    }

    /// Writes the state to a new vCPU.
    pub(super) fn restore(&self, vcpu: &VcpuFd) -> Result<(), SetupError> {
        let cpuid = self.cpuid()?;
        // CPUID comes first, because it decides which registers exist.
        vcpu.set_cpuid2(&cpuid).map_err(SetupError::kvm("KVM_SET_CPUID2"))?;
        vcpu.set_mp_state(self.mp_state).map_err(SetupError::kvm("KVM_SET_MP_STATE"))?;
        vcpu.set_regs(&self.regs).map_err(SetupError::kvm("KVM_SET_REGS"))?;
        vcpu.set_sregs(&self.sregs).map_err(SetupError::kvm("KVM_SET_SREGS"))?;
        // SAFETY: KVM reads more than this structure only if features were enabled for the
        // process by arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM), which this program does not call.
        unsafe { vcpu.set_xsave(&self.xsave) }.map_err(SetupError::kvm("KVM_SET_XSAVE"))?;
        // A processor without XSAVE has no XCRs, and KVM_SET_XCRS fails on it.
        if self.xcrs.nr_xcrs > 0 {
            vcpu.set_xcrs(&self.xcrs).map_err(SetupError::kvm("KVM_SET_XCRS"))?;
        }
        vcpu.set_debug_regs(&self.debugregs).map_err(SetupError::kvm("KVM_SET_DEBUGREGS"))?;
        vcpu.set_lapic(&self.lapic).map_err(SetupError::kvm("KVM_SET_LAPIC"))?;
        let is_tsc_deadline = |msr: &&kvm_msr_entry| msr.index == MSR_TSC_DEADLINE;
        write_msrs(vcpu, self.msrs.iter().filter(|msr| !is_tsc_deadline(msr)))?;
        write_msrs(vcpu, self.msrs.iter().filter(is_tsc_deadline))?;
        vcpu.set_vcpu_events(&self.events).map_err(SetupError::kvm("KVM_SET_VCPU_EVENTS"))
    }
}

/// Reads the MSRs of `list` that the vCPU has. `KVM_GET_MSRS` stops at the first MSR that the vCPU
/// lacks.
fn read_msrs(vcpu: &VcpuFd, list: &MsrList) -> Result<Vec<kvm_msr_entry>, SetupError> {
    let mut msrs = Vec::new();
    let mut remaining = list.as_slice();
    while !remaining.is_empty() {
        let entries: Vec<kvm_msr_entry> =
            remaining.iter().map(|&index| kvm_msr_entry { index, ..Default::default() }).collect();
        let mut chunk = Msrs::from_entries(&entries)
            .map_err(|_| SetupError::State("more MSRs than KVM can have"))?;
        let count = vcpu.get_msrs(&mut chunk).map_err(SetupError::kvm("KVM_GET_MSRS"))?;
        msrs.extend_from_slice(&chunk.as_slice()[..count]);
        remaining = remaining.get(count + 1..).unwrap_or(&[]);
    }
    Ok(msrs)
}

/// Writes MSRs. An MSR that cannot be written, such as a read-only MSR, must have the right value
/// already.
fn write_msrs<'a>(
    vcpu: &VcpuFd,
    entries: impl Iterator<Item = &'a kvm_msr_entry>,
) -> Result<(), SetupError> {
    let entries: Vec<kvm_msr_entry> = entries.copied().collect();
    let mut remaining = &entries[..];
    while !remaining.is_empty() {
        let msrs = Msrs::from_entries(remaining)
            .map_err(|_| SetupError::State("more MSRs than KVM can have"))?;
        let count = vcpu.set_msrs(&msrs).map_err(SetupError::kvm("KVM_SET_MSRS"))?;
        if let Some(refused) = remaining.get(count) {
            let mut current = Msrs::from_entries(&[kvm_msr_entry { data: 0, ..*refused }])
                .map_err(|_| SetupError::State("more MSRs than KVM can have"))?;
            let read_count =
                vcpu.get_msrs(&mut current).map_err(SetupError::kvm("KVM_GET_MSRS"))?;
            if read_count != 1 || current.as_slice()[0].data != refused.data {
                return Err(SetupError::refused_register(refused.index));
            }
        }
        remaining = remaining.get(count + 1..).unwrap_or(&[]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialized_states_are_read_back() {
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
