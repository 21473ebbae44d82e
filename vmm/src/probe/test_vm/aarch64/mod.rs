// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The probe's VM on aarch64: one vCPU that starts in EL1 with the MMU off, and the GIC that the
//! microVM has.

use kvm_bindings::{KVM_ARM_VCPU_PSCI_0_2, kvm_vcpu_init};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{GuestMemoryError, GuestMemoryMmap};

use super::judge::PayloadReport;
use super::{PayloadExit, Step, call_failed};
use crate::kvm::aarch64::gic::Gic;
use crate::kvm::aarch64::registers::{self, PC, PSTATE, PSTATE_BOOT};
use crate::probe::{Finding, UnsupportedReason};

pub(super) mod memory;
pub(super) mod payload;

/// Usual reason for a host without KVM, for a message.
pub(super) const NO_KVM: &str = "the kernel has no KVM or was not started in EL2";

/// Capabilities that the microVM and its snapshots use, besides a GICv3.
pub(super) const CAPABILITIES: [(Cap, &str); 10] = [
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

/// Steps of the payload, in their order.
pub(super) const STEPS: [Step; 7] = [
    Step { success: "EL1", failure: "EL1 is not reached" },
    Step { success: "system registers", failure: "system registers cannot be set" },
    Step { success: "MMU on", failure: "the MMU cannot be used" },
    Step { success: "eret to EL0, a loop, back by svc", failure: "EL0 cannot return by svc" },
    Step { success: "eret, an exception in EL0", failure: "an exception of EL0 does not work" },
    Step {
        success: "wfi until the virtual timer, through the GIC",
        failure: "the virtual timer does not wake the guest",
    },
    Step {
        success: "page fault in EL1, page mapped, access repeated",
        failure: "a page fault cannot be handled",
    },
];

/// Index of the step whose loop is timed.
pub(super) const TIMED_STEP: usize = 3;

/// Time between two kicks, in multiples of the duration of the payload's loop on the host. Slow
/// hosts, such as emulated ones, thus get more time. At 3 GHz the loop takes 7 µs, and the shortest
/// period applies.
pub(super) const LOOPS_PER_KICK: u32 = 1000;

/// The vCPU and the report of its payload.
pub(super) struct Guest {
    vcpu: VcpuFd,
    /// Keeps the descriptor of the GIC open as long as the vCPU.
    _gic: Gic,
    report: payload::Report,
}

impl Guest {
    /// Creates the vCPU at the payload's entry point.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(super) fn create(_: &Kvm, vm: &VmFd) -> Result<Guest, Finding> {
        let vcpu = vm.create_vcpu(0).map_err(call_failed("KVM_CREATE_VCPU"))?;
        let mut init = kvm_vcpu_init::default();
        vm.get_preferred_target(&mut init).map_err(call_failed("KVM_ARM_PREFERRED_TARGET"))?;
        init.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
        vcpu.vcpu_init(&init).map_err(call_failed("KVM_ARM_VCPU_INIT"))?;
        // KVM has a GICv3 if the host has one, or a later GIC that is compatible.
        let gic = Gic::new(vm).map_err(|error| Finding::Unsupported {
            reason: UnsupportedReason::MissingFeature(format!("GICv3 for guests ({error})")),
        })?;
        for (register, value) in [(PSTATE, PSTATE_BOOT), (PC, payload::entry())] {
            registers::set(&vcpu, register, value).map_err(call_failed("KVM_SET_ONE_REG"))?;
        }
        Ok(Guest { vcpu, _gic: gic, report: payload::Report::default() })
    }

    /// Runs the payload until its next letter, or another exit. Records the words of the report that
    /// the payload writes before the letter.
    ///
    /// # Errors
    /// As `KVM_RUN`.
    pub(super) fn run(&mut self) -> Result<PayloadExit, kvm_ioctls::Error> {
        loop {
            match self.vcpu.run()? {
                VcpuExit::MmioWrite(memory::LETTER_PORT, &[byte]) => {
                    return Ok(PayloadExit::Letter(byte));
                }
                VcpuExit::MmioWrite(address @ memory::LETTER_PORT.., data) => {
                    self.report.record_write(address - memory::LETTER_PORT, data);
                }
                exit => return Ok(PayloadExit::Other(format!("{exit:?}"))),
            }
        }
    }

    /// Returns the payload's report, and the ticks that its loop took in EL0 (0 before step D).
    ///
    /// # Errors
    /// None on this architecture, because the report is not in guest memory.
    pub(super) fn report(
        &self,
        _: &GuestMemoryMmap,
    ) -> Result<(PayloadReport, u64), GuestMemoryError> {
        Ok((self.report.decode(), self.report.ticks()))
    }

    /// Returns PC and PSTATE as text; 0 for a register that cannot be read.
    pub(super) fn describe(&self) -> String {
        let value = |register| registers::get(&self.vcpu, register).unwrap_or(0);
        format!("PC {:X}h, PSTATE {:X}h", value(PC), value(PSTATE))
    }
}
