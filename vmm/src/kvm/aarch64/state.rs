// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of a VM's parts inside KVM, as plain data for snapshots.
//!
//! It is read and written while no vCPU is in `KVM_RUN` (`Documentation/virt/kvm/api.rst`).

use kvm_bindings::{
    KVM_MP_STATE_STOPPED, KVM_REG_ARM64, KVM_REG_ARM64_SVE, KVM_REG_SIZE_U512, RegList,
    kvm_mp_state, kvm_vcpu_events,
};
use kvm_ioctls::VcpuFd;

use super::gic::{Gic, Register};
use super::layout::GIC_INTERRUPTS;
use super::registers::{LARGEST, PC, PSTATE, PSTATE_I, size};
use crate::kvm::SetupError;

/// Capacity of the list of registers, the largest that `RegList` allows. A vCPU has some 300.
const LIST_CAPACITY: usize = 500;

/// State that belongs to no vCPU: the GIC's registers, in the order in which they are restored.
#[derive(Clone, Debug)]
pub struct VmState {
    registers: Vec<(Register, u64)>,
}

/// State of one vCPU.
#[derive(Clone, Debug)]
pub struct VcpuState {
    mp_state: kvm_mp_state,
    /// Pairs of KVM's register id and value.
    registers: Vec<(u64, Vec<u8>)>,
    events: kvm_vcpu_events,
}

/// Offsets of the distributor's registers that are not per interrupt: GICD_CTLR, GICD_STATUSR (GIC
/// architecture specification, IHI 0069, section 12.9).
const DISTRIBUTOR: [u32; 2] = [0x0, 0x10];

/// The distributor's registers for each shared interrupt: offset of the first, and bits for each
/// interrupt. The order is that of restoring: an interrupt's configuration comes before its pending
/// state. GICD_IGROUPR, ICFGR, IPRIORITYR, IROUTER, ISPENDR, ISACTIVER, ISENABLER.
const PER_INTERRUPT: [(u32, u32); 7] =
    [(0x80, 1), (0xc00, 2), (0x400, 8), (0x6000, 64), (0x200, 1), (0x300, 1), (0x100, 1)];

/// Number of interrupts that are private to a CPU. Their registers are in the redistributor.
const PRIVATE: u32 = 32;

/// Offsets of the redistributor's registers: GICR_CTLR, STATUSR, WAKER; in the second frame IGROUPR0,
/// ICFGR0, ICFGR1, IPRIORITYR0 to 7, ISPENDR0, ISACTIVER0, ISENABLER0.
const REDISTRIBUTOR: [u32; 17] = [
    0x0, 0x10, 0x14, 0x1_0080, 0x1_0c00, 0x1_0c04, 0x1_0400, 0x1_0404, 0x1_0408, 0x1_040c,
    0x1_0410, 0x1_0414, 0x1_0418, 0x1_041c, 0x1_0200, 0x1_0300, 0x1_0100,
];

/// Encodes a register of the CPU interface, all of which have op0 3 and op1 0.
const fn interface(crn: u32, crm: u32, op2: u32) -> u32 {
    3 << 14 | crn << 7 | crm << 3 | op2
}

/// Registers of the CPU interface: ICC_SRE_EL1, which must be restored first, CTLR, PMR, BPR0, BPR1,
/// IGRPEN0, IGRPEN1.
const INTERFACE: [u32; 7] = [
    interface(12, 12, 5),
    ICC_CTLR,
    interface(4, 6, 0),
    interface(12, 8, 3),
    interface(12, 12, 3),
    interface(12, 12, 6),
    interface(12, 12, 7),
];

const ICC_CTLR: u32 = interface(12, 12, 4);

/// ICC_AP0R0_EL1 and ICC_AP1R0_EL1, each the first of [`active_priorities`] registers.
const ACTIVE_PRIORITIES: [u32; 2] = [interface(12, 8, 4), interface(12, 9, 0)];

/// Returns the number of ICC_AP0Rn and of ICC_AP1Rn registers: they have a bit for each preemption
/// level, of which ICC_CTLR_EL1 tells the number (PRIbits).
fn active_priorities(ctlr: u64) -> u32 {
    match (ctlr >> 8 & 7) + 1 {
        7.. => 4,
        6 => 2,
        _ => 1,
    }
}

impl VmState {
    /// Reads the state of a VM with `cpus` vCPUs.
    pub(super) fn save(gic: &Gic, cpus: u8) -> Result<VmState, SetupError> {
        let mut names: Vec<Register> = DISTRIBUTOR.map(Register::Distributor).into();
        for (first, bits) in PER_INTERRUPT {
            let offsets = (PRIVATE * bits / 8..GIC_INTERRUPTS * bits / 8).step_by(4);
            names.extend(offsets.map(|offset| Register::Distributor(first + offset)));
        }
        for cpu in 0..cpus {
            names.extend(REDISTRIBUTOR.map(|offset| Register::Redistributor(cpu, offset)));
            names.extend(INTERFACE.map(|name| Register::Interface(cpu, name)));
            let ctlr = gic.get(Register::Interface(cpu, ICC_CTLR))?;
            for first in ACTIVE_PRIORITIES {
                let all = first..first + active_priorities(ctlr);
                names.extend(all.map(|name| Register::Interface(cpu, name)));
            }
        }
        let read = |name| Ok((name, gic.get(name)?));
        Ok(VmState { registers: names.into_iter().map(read).collect::<Result<_, SetupError>>()? })
    }

    /// Writes the state to a new GIC. Write-1-to-set registers can be restored because they are 0 there.
    pub(super) fn restore(&self, gic: &Gic) -> Result<(), SetupError> {
        self.registers.iter().try_for_each(|&(name, value)| gic.set(name, value))
    }
}

impl VcpuState {
    /// Reads the state of a vCPU. Its last exit must have been completed by another `KVM_RUN`.
    pub(super) fn save(vcpu: &VcpuFd) -> Result<VcpuState, SetupError> {
        let mp_state = vcpu.get_mp_state().map_err(SetupError::kvm("KVM_GET_MP_STATE"))?;
        let mut list =
            RegList::new(LIST_CAPACITY).map_err(|_| SetupError::State("too many registers"))?;
        vcpu.get_reg_list(&mut list).map_err(SetupError::kvm("KVM_GET_REG_LIST"))?;
        let mut registers = Vec::new();
        for &name in list.as_slice() {
            registers.push((name, read(vcpu, name)?));
        }
        let events = vcpu.get_vcpu_events().map_err(SetupError::kvm("KVM_GET_VCPU_EVENTS"))?;
        Ok(VcpuState { mp_state, registers, events })
    }

    /// Describes in one line what the vCPU is doing.
    pub(in crate::kvm) fn describe(&self, index: usize) -> String {
        let value = |name| self.registers.iter().find(|(other, _)| *other == name);
        let value = |name| {
            let bytes = value(name).and_then(|(_, bytes)| bytes.first_chunk::<8>());
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let doing = match (self.mp_state.mp_state, value(PSTATE) & PSTATE_I) {
            (KVM_MP_STATE_STOPPED, _) => return format!("CPU {index} is off"),
            (_, 0) => "is",
            _ => "is, with interrupts off,",
        };
        format!("CPU {index} {doing} at PC={:016x}", value(PC))
    }

    /// Writes the state to a new vCPU.
    pub(super) fn restore(&self, vcpu: &VcpuFd) -> Result<(), SetupError> {
        for (name, value) in &self.registers {
            // Vector lengths were set when the vCPU was made, and are the host's.
            if *name == SVE_VECTOR_LENGTHS {
                continue;
            }
            // A register that cannot be written is skipped if it has the right value already, as
            // read-only ones have.
            if vcpu.set_one_reg(*name, value).is_err() && read(vcpu, *name)? != *value {
                return Err(SetupError::register(*name));
            }
        }
        vcpu.set_vcpu_events(&self.events).map_err(SetupError::kvm("KVM_SET_VCPU_EVENTS"))?;
        vcpu.set_mp_state(self.mp_state).map_err(SetupError::kvm("KVM_SET_MP_STATE"))
    }
}

/// `KVM_REG_ARM64_SVE_VLS` (`arch/arm64/include/uapi/asm/kvm.h`).
const SVE_VECTOR_LENGTHS: u64 =
    KVM_REG_ARM64 | KVM_REG_ARM64_SVE as u64 | KVM_REG_SIZE_U512 | 0xffff;

fn read(vcpu: &VcpuFd, name: u64) -> Result<Vec<u8>, SetupError> {
    let mut value = [0; LARGEST];
    let size = size(name);
    vcpu.get_one_reg(name, &mut value[..size]).map_err(SetupError::kvm("KVM_GET_ONE_REG"))?;
    Ok(value[..size].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_have_as_many_registers_as_bits_ask_for() {
        // ICC_CTLR_EL1.PRIbits is one less than there are.
        for (bits, registers) in [(4, 1), (5, 1), (6, 2), (7, 4)] {
            assert_eq!(active_priorities((bits - 1) << 8), registers);
        }
    }

    #[test]
    fn a_vcpu_says_where_it_is() {
        let mut state = VcpuState {
            mp_state: kvm_mp_state::default(),
            registers: vec![
                (PSTATE, 0x3c5_u64.to_le_bytes().into()),
                (PC, 0xffff_8000_u64.to_le_bytes().into()),
            ],
            events: kvm_vcpu_events::default(),
        };
        let off = "CPU 1 is, with interrupts off, at PC=00000000ffff8000";
        assert_eq!(state.describe(1), off);
        state.registers[0].1 = 5_u64.to_le_bytes().into();
        assert_eq!(state.describe(0), "CPU 0 is at PC=00000000ffff8000");
        state.mp_state.mp_state = KVM_MP_STATE_STOPPED;
        assert_eq!(state.describe(3), "CPU 3 is off");
    }
}
