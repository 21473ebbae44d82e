//! The probe's VM on aarch64: one vCPU that begins in EL1 with the MMU off, and the GIC that the
//! microVM has too.

use kvm_bindings::{KVM_ARM_VCPU_PSCI_0_2, kvm_vcpu_init};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{GuestMemoryError, GuestMemoryMmap};

use super::judge::Said;
use super::trial::{Step, Turn, refused};
use super::{Finding, Stop};
use crate::kvm::aarch64::gic::Gic;
use crate::kvm::aarch64::registers::{self, PC, PSTATE, PSTATE_BOOT};

pub(super) mod memory;
pub(super) mod payload;

/// What the microVM and its snapshots use, beside a GICv3.
pub(super) const NEEDED: [(Cap, &str); 10] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::OneReg, "KVM_CAP_ONE_REG"),
    (Cap::DeviceCtrl, "KVM_CAP_DEVICE_CTRL"),
    (Cap::ArmPsci02, "KVM_CAP_ARM_PSCI_0_2"),
    (Cap::Ioeventfd, "KVM_CAP_IOEVENTFD"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::SyncMmu, "KVM_CAP_SYNC_MMU"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
    (Cap::VcpuEvents, "KVM_CAP_VCPU_EVENTS"),
];

/// What is tried, in this order.
pub(super) const STEPS: [Step; 7] = [
    Step { success: "EL1", failure: "EL1 is not reached" },
    Step { success: "system registers", failure: "system registers cannot be set" },
    Step { success: "MMU on", failure: "the MMU cannot be used" },
    Step { success: "eret to EL0, a loop, back by svc", failure: "EL0 does not get back by svc" },
    Step { success: "eret, an exception in EL0", failure: "an exception of EL0 does not work" },
    Step {
        success: "wfi until the virtual timer, through the GIC",
        failure: "the virtual timer does not wake it",
    },
    Step {
        success: "page fault in EL1, page mapped, access repeated",
        failure: "a page fault cannot be handled",
    },
];

/// The step with the loop whose time is taken.
pub(super) const LOOP: usize = 3;

/// Time between two kicks, in runs of the payload's loop outside of the VM. That takes 7 µs at
/// 3 GHz, which makes less than the least; on a machine that is itself emulated all is slower, the
/// loop too.
pub(super) const KICK_LOOPS: u32 = 1000;

/// The vCPU with what has to live as long as it.
pub(super) struct Guest {
    vcpu: VcpuFd,
    _gic: Gic,
    report: payload::Report,
}

impl Guest {
    /// Makes it in front of the payload.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(super) fn make(_: &Kvm, vm: &VmFd) -> Result<Guest, Finding> {
        let vcpu = vm.create_vcpu(0).map_err(refused("making a vCPU"))?;
        let mut init = kvm_vcpu_init::default();
        vm.get_preferred_target(&mut init).map_err(refused("KVM_ARM_PREFERRED_TARGET"))?;
        init.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
        vcpu.vcpu_init(&init).map_err(refused("KVM_ARM_VCPU_INIT"))?;
        // KVM has one where the host has a GICv3 or a later one that can be like it.
        let gic = Gic::new(vm).map_err(|error| Finding::Unsupported {
            stop: Stop::Lacks(format!("GICv3 for guests ({error})")),
        })?;
        for (name, value) in [(PSTATE, PSTATE_BOOT), (PC, payload::entry())] {
            registers::set(&vcpu, name, value).map_err(refused("KVM_SET_ONE_REG"))?;
        }
        Ok(Guest { vcpu, _gic: gic, report: payload::Report::default() })
    }

    /// Runs until it writes a letter or cannot go on; takes down what it reports.
    ///
    /// # Errors
    /// As `KVM_RUN`.
    pub(super) fn turn(&mut self) -> Result<Turn, kvm_ioctls::Error> {
        loop {
            match self.vcpu.run()? {
                VcpuExit::MmioWrite(memory::PORT, &[byte]) => return Ok(Turn::Letter(byte)),
                VcpuExit::MmioWrite(address @ memory::PORT.., data) => {
                    self.report.take(address - memory::PORT, data);
                }
                exit => return Ok(Turn::Other(format!("{exit:?}"))),
            }
        }
    }

    /// What the payload reports, and the ticks that its loop took in EL0 (0 before step D).
    ///
    /// # Errors
    /// None: nothing of it is in memory.
    pub(super) fn report(&self, _: &GuestMemoryMmap) -> Result<(Said, u64), GuestMemoryError> {
        Ok((self.report.said(), self.report.ticks()))
    }

    /// Where it is; 0 for what the host's kernel does not tell.
    pub(super) fn place(&self) -> String {
        let value = |name| registers::get(&self.vcpu, name).unwrap_or(0);
        format!("PC {:X}h, PSTATE {:X}h", value(PC), value(PSTATE))
    }
}
