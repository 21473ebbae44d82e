// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a VM's parts inside KVM, as plain data for snapshots.
//!
//! The state is read and written while no vCPU is in `KVM_RUN` (`Documentation/virt/kvm/api.rst`).

use kvm_bindings::{
    KVM_MP_STATE_STOPPED, KVM_REG_ARM64, KVM_REG_ARM64_SVE, KVM_REG_SIZE_U512, RegList,
    kvm_mp_state, kvm_vcpu_events,
};
use kvm_ioctls::VcpuFd;

use super::gic::{Gic, GicRegister};
use super::layout::GIC_INTERRUPTS;
use super::registers::{LARGEST_REGISTER_SIZE, PC, PSTATE, PSTATE_I, size};
use crate::kvm::SetupError;

/// Capacity of the list of registers, the largest that `RegList` allows. A vCPU has about 300
/// registers.
const REGISTER_LIST_CAPACITY: usize = 500;

/// State that belongs to no vCPU: the GIC's registers, in the order in which they are restored.
#[derive(Clone, Debug)]
pub struct VmState {
    registers: Vec<(GicRegister, u64)>,
}

/// State of one vCPU.
#[derive(Clone, Debug)]
pub struct VcpuState {
    mp_state: kvm_mp_state,
    /// Pairs of KVM's register id and value.
    registers: Vec<(u64, Vec<u8>)>,
    events: kvm_vcpu_events,
}

/// Offsets of the distributor's registers outside the arrays: GICD_CTLR, GICD_STATUSR (GIC
/// architecture specification, IHI 0069, section 12.9).
const DISTRIBUTOR_OFFSETS: [u32; 2] = [0x0, 0x10];

/// The distributor's arrays of registers with a field for each shared interrupt: offset of the
/// array, and bits of a field. The arrays are restored in this order, so that the configuration of
/// an interrupt precedes its pending state. GICD_IGROUPR, ICFGR, IPRIORITYR, IROUTER, ISPENDR,
/// ISACTIVER, ISENABLER.
const PER_INTERRUPT_REGISTERS: [(u32, u32); 7] =
    [(0x80, 1), (0xc00, 2), (0x400, 8), (0x6000, 64), (0x200, 1), (0x300, 1), (0x100, 1)];

/// Number of interrupts that are private to a CPU. The redistributor has their registers.
const PRIVATE_INTERRUPTS: u32 = 32;

/// Offsets of the redistributor's registers: GICR_CTLR, STATUSR, WAKER; in the second frame
/// IGROUPR0, ICFGR0, ICFGR1, IPRIORITYR0 to 7, ISPENDR0, ISACTIVER0, ISENABLER0.
const REDISTRIBUTOR_OFFSETS: [u32; 17] = [
    0x0, 0x10, 0x14, 0x1_0080, 0x1_0c00, 0x1_0c04, 0x1_0400, 0x1_0404, 0x1_0408, 0x1_040c,
    0x1_0410, 0x1_0414, 0x1_0418, 0x1_041c, 0x1_0200, 0x1_0300, 0x1_0100,
];

/// Encodes a register of the CPU interface for [`GicRegister::CpuInterface`]: op0 is 3 and op1 is 0.
const fn encode_icc(crn: u32, crm: u32, op2: u32) -> u32 {
    3 << 14 | crn << 7 | crm << 3 | op2
}

/// Registers of the CPU interface: ICC_SRE_EL1, which must be restored first, CTLR, PMR, BPR0,
/// BPR1, IGRPEN0, IGRPEN1.
const CPU_INTERFACE_REGISTERS: [u32; 7] = [
    encode_icc(12, 12, 5),
    ICC_CTLR,
    encode_icc(4, 6, 0),
    encode_icc(12, 8, 3),
    encode_icc(12, 12, 3),
    encode_icc(12, 12, 6),
    encode_icc(12, 12, 7),
];

const ICC_CTLR: u32 = encode_icc(12, 12, 4);

/// ICC_AP0R0_EL1 and ICC_AP1R0_EL1, each the first of [`active_priority_register_count`] registers.
const FIRST_ACTIVE_PRIORITIES: [u32; 2] = [encode_icc(12, 8, 4), encode_icc(12, 9, 0)];

/// Returns the number of registers ICC_AP0Rn, and also that of ICC_AP1Rn. These registers have one
/// bit for each preemption level. The number of levels follows from the field PRIbits (bits 10:8,
/// number of priority bits minus 1) of `ctlr`, the value of ICC_CTLR_EL1.
fn active_priority_register_count(ctlr: u64) -> u32 {
    match (ctlr >> 8 & 7) + 1 {
        7.. => 4,
        6 => 2,
        _ => 1,
    }
}

impl VmState {
    /// Reads the state of a VM with `cpus` vCPUs.
    pub(super) fn save(gic: &Gic, cpus: u8) -> Result<VmState, SetupError> {
        let mut registers: Vec<GicRegister> =
            DISTRIBUTOR_OFFSETS.map(GicRegister::Distributor).into();
        for (first_offset, bits) in PER_INTERRUPT_REGISTERS {
            let offsets = (PRIVATE_INTERRUPTS * bits / 8..GIC_INTERRUPTS * bits / 8).step_by(4);
            registers.extend(offsets.map(|offset| GicRegister::Distributor(first_offset + offset)));
        }
        for cpu in 0..cpus {
            registers.extend(
                REDISTRIBUTOR_OFFSETS.map(|offset| GicRegister::Redistributor(cpu, offset)),
            );
            registers.extend(
                CPU_INTERFACE_REGISTERS.map(|register| GicRegister::CpuInterface(cpu, register)),
            );
            let ctlr = gic.get(GicRegister::CpuInterface(cpu, ICC_CTLR))?;
            for first in FIRST_ACTIVE_PRIORITIES {
                let active_priorities = first..first + active_priority_register_count(ctlr);
                registers.extend(
                    active_priorities.map(|register| GicRegister::CpuInterface(cpu, register)),
                );
            }
        }
        let read = |register| Ok((register, gic.get(register)?));
        Ok(VmState {
            registers: registers.into_iter().map(read).collect::<Result<_, SetupError>>()?,
        })
    }

    /// Writes the state to a new GIC. A write cannot clear bits of the write-1-to-set registers,
    /// such as GICD_ISENABLER; in a new GIC these registers are 0.
    pub(super) fn restore(&self, gic: &Gic) -> Result<(), SetupError> {
        self.registers.iter().try_for_each(|&(register, value)| gic.set(register, value))
    }
}

impl VcpuState {
    /// Reads the state of a vCPU. Another `KVM_RUN` must have completed the vCPU's last exit.
    pub(super) fn save(vcpu: &VcpuFd) -> Result<VcpuState, SetupError> {
        let mp_state = vcpu.get_mp_state().map_err(SetupError::kvm("KVM_GET_MP_STATE"))?;
        let mut list = RegList::new(REGISTER_LIST_CAPACITY)
            .map_err(|_| SetupError::State("too many registers"))?;
        vcpu.get_reg_list(&mut list).map_err(SetupError::kvm("KVM_GET_REG_LIST"))?;
        let mut registers = Vec::new();
        for &id in list.as_slice() {
            registers.push((id, read_register(vcpu, id)?));
        }
        let events = vcpu.get_vcpu_events().map_err(SetupError::kvm("KVM_GET_VCPU_EVENTS"))?;
        Ok(VcpuState { mp_state, registers, events })
    }

    /// Describes the vCPU's activity in one line.
    pub(in crate::kvm) fn describe(&self, index: usize) -> String {
        let value = |id| {
            let register = self.registers.iter().find(|(other, _)| *other == id);
            let bytes = register.and_then(|(_, bytes)| bytes.first_chunk::<8>());
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        if self.mp_state.mp_state == KVM_MP_STATE_STOPPED {
            return format!("CPU {index} is off");
        }
        let interrupts = if value(PSTATE) & PSTATE_I == 0 { "" } else { ", interrupts off" };
        format!("CPU {index} is at PC={:016x}{interrupts}", value(PC))
    }

    /// Writes the state to a new vCPU.
    pub(super) fn restore(&self, vcpu: &VcpuFd) -> Result<(), SetupError> {
        for (id, value) in &self.registers {
            // The vector lengths are those of the host, and were set when the vCPU was created.
            if *id == SVE_VECTOR_LENGTHS {
                continue;
            }
            // A register that cannot be written, such as a read-only register, must have the right
            // value already.
            if vcpu.set_one_reg(*id, value).is_err() && read_register(vcpu, *id)? != *value {
                return Err(SetupError::refused_register(*id));
            }
        }
        vcpu.set_vcpu_events(&self.events).map_err(SetupError::kvm("KVM_SET_VCPU_EVENTS"))?;
        vcpu.set_mp_state(self.mp_state).map_err(SetupError::kvm("KVM_SET_MP_STATE"))
    }
}

/// `KVM_REG_ARM64_SVE_VLS` (`arch/arm64/include/uapi/asm/kvm.h`).
const SVE_VECTOR_LENGTHS: u64 =
    KVM_REG_ARM64 | KVM_REG_ARM64_SVE as u64 | KVM_REG_SIZE_U512 | 0xffff;

fn read_register(vcpu: &VcpuFd, id: u64) -> Result<Vec<u8>, SetupError> {
    let mut value = [0; LARGEST_REGISTER_SIZE];
    let size = size(id);
    vcpu.get_one_reg(id, &mut value[..size]).map_err(SetupError::kvm("KVM_GET_ONE_REG"))?;
    Ok(value[..size].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_priorities_have_one_register_for_32_preemption_levels() {
        // ICC_CTLR_EL1.PRIbits is the number of priority bits minus 1.
        for (priority_bits, registers) in [(4, 1), (5, 1), (6, 2), (7, 4)] {
            assert_eq!(active_priority_register_count((priority_bits - 1) << 8), registers);
        }
    }

    #[test]
    fn a_vcpu_is_described_by_its_activity_and_pc() {
        let mut state = VcpuState {
            mp_state: kvm_mp_state::default(),
            registers: vec![
                (PSTATE, 0x3c5_u64.to_le_bytes().into()),
                (PC, 0xffff_8000_u64.to_le_bytes().into()),
            ],
            events: kvm_vcpu_events::default(),
        };
        let text = "CPU 1 is at PC=00000000ffff8000, interrupts off";
        assert_eq!(state.describe(1), text);
        state.registers[0].1 = 5_u64.to_le_bytes().into();
        assert_eq!(state.describe(0), "CPU 0 is at PC=00000000ffff8000");
        state.mp_state.mp_state = KVM_MP_STATE_STOPPED;
        assert_eq!(state.describe(3), "CPU 3 is off");
    }
}
