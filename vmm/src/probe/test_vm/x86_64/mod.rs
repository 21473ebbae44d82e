// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The probe's VM on x86-64: one vCPU that starts in 64-bit mode, and the interrupt controllers of
//! the microVM.

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{GuestMemoryError, GuestMemoryMmap};

use super::judge::PayloadReport;
use super::{PayloadExit, Step, call_failed};
use crate::kvm::x86_64::layout::{KVM_IDENTITY_MAP, KVM_TSS};
use crate::probe::Finding;

pub(super) mod memory;
pub(super) mod payload;

/// Usual reason for a host without KVM, for a message.
pub(super) const NO_KVM: &str = "the module kvm_intel or kvm_amd is not loaded";

/// Capabilities that the microVM and its snapshots use, except `KVM_CAP_XCRS`, which is missing on
/// processors without XSAVE.
pub(super) const CAPABILITIES: [(Cap, &str); 19] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::Pit2, "KVM_CAP_PIT2"),
    (Cap::PitState2, "KVM_CAP_PIT_STATE2"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
    (Cap::SetIdentityMapAddr, "KVM_CAP_SET_IDENTITY_MAP_ADDR"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::Ioeventfd, "KVM_CAP_IOEVENTFD"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::SyncMmu, "KVM_CAP_SYNC_MMU"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
    (Cap::VcpuEvents, "KVM_CAP_VCPU_EVENTS"),
    (Cap::Debugregs, "KVM_CAP_DEBUGREGS"),
    (Cap::Xsave, "KVM_CAP_XSAVE"),
    (Cap::AdjustClock, "KVM_CAP_ADJUST_CLOCK"),
    (Cap::KvmclockCtrl, "KVM_CAP_KVMCLOCK_CTRL"),
    (Cap::GetTscKhz, "KVM_CAP_GET_TSC_KHZ"),
    (Cap::InternalErrorData, "KVM_CAP_INTERNAL_ERROR_DATA"),
];

/// Steps of the payload, in their order.
pub(super) const STEPS: [Step; 7] = [
    Step { success: "ring 0, 64 bits", failure: "64-bit ring 0 is not reached" },
    Step {
        success: "MSRs of system calls and of GS",
        failure: "the MSRs of system calls cannot be set",
    },
    Step {
        success: "iret to ring 3, a loop, back by syscall",
        failure: "ring 3 cannot return by syscall",
    },
    Step {
        success: "swapgs, sysret, an exception in ring 3",
        failure: "swapgs, sysret or an exception of ring 3 does not work",
    },
    Step {
        success: "mov to cr3, invlpg, cpuid, rdtsc",
        failure: "page tables, cpuid or the time stamp counter do not work",
    },
    Step {
        success: "hlt until the local APIC's timer",
        failure: "the local APIC's timer does not wake the guest",
    },
    Step {
        success: "page fault in ring 0, page mapped, access repeated",
        failure: "a page fault cannot be handled",
    },
];

/// Index of the step whose loop is timed.
pub(super) const TIMED_STEP: usize = 2;

/// Time between two kicks, in multiples of the duration of the payload's loop on the host. Slow hosts,
/// such as emulated ones, thus get more time. At 3 GHz the loop takes 0.7 µs, and the shortest period
/// applies.
pub(super) const LOOPS_PER_KICK: u32 = 10_000;

/// The vCPU.
pub(super) struct Guest(VcpuFd);

impl Guest {
    /// Creates the vCPU at the payload's entry point.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(super) fn create(kvm: &Kvm, vm: &VmFd) -> Result<Guest, Finding> {
        vm.set_identity_map_address(KVM_IDENTITY_MAP)
            .map_err(call_failed("KVM_SET_IDENTITY_MAP_ADDR"))?;
        let tss = usize::try_from(KVM_TSS).expect("usize has 64 bits on x86-64");
        vm.set_tss_address(tss).map_err(call_failed("KVM_SET_TSS_ADDR"))?;
        vm.create_irq_chip().map_err(call_failed("KVM_CREATE_IRQCHIP"))?;
        let vcpu = vm.create_vcpu(0).map_err(call_failed("KVM_CREATE_VCPU"))?;
        let cpuid = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(call_failed("KVM_GET_SUPPORTED_CPUID"))?;
        vcpu.set_cpuid2(&cpuid).map_err(call_failed("KVM_SET_CPUID2"))?;
        let mut sregs = vcpu.get_sregs().map_err(call_failed("KVM_GET_SREGS"))?;
        set_long_mode(&mut sregs);
        vcpu.set_sregs(&sregs).map_err(call_failed("KVM_SET_SREGS"))?;
        let regs = kvm_regs {
            rip: payload::entry(),
            rsp: memory::KERNEL_STACK,
            rflags: 2,
            ..Default::default()
        };
        vcpu.set_regs(&regs).map_err(call_failed("KVM_SET_REGS"))?;
        Ok(Guest(vcpu))
    }

    /// Runs the payload until its next letter, or another exit.
    ///
    /// # Errors
    /// As `KVM_RUN`.
    pub(super) fn run(&mut self) -> Result<PayloadExit, kvm_ioctls::Error> {
        Ok(match self.0.run()? {
            VcpuExit::IoOut(payload::LETTER_PORT, &[byte]) => PayloadExit::Letter(byte),
            exit => PayloadExit::Other(format!("{exit:?}")),
        })
    }

    /// Returns the payload's report, and the ticks that its loop took in ring 3 (0 before step C).
    ///
    /// # Errors
    /// If the memory is smaller than [`memory::MEMORY_SIZE`].
    pub(super) fn report(
        &self,
        memory: &GuestMemoryMmap,
    ) -> Result<(PayloadReport, u64), GuestMemoryError> {
        payload::report(memory)
    }

    /// Returns rip and the selector of cs as text; 0 for a register that cannot be read.
    pub(super) fn describe(&self) -> String {
        let rip = self.0.get_regs().map_or(0, |regs| regs.rip);
        let cs = self.0.get_sregs().map_or(0, |sregs| sregs.cs.selector);
        format!("rip {rip:X}h, cs {cs:X}h")
    }
}

/// Sets control registers, descriptor tables and segments for 64-bit mode (Intel SDM, volume 3,
/// sections 3.4.5 and 11.8.5).
fn set_long_mode(sregs: &mut kvm_sregs) {
    const PE_MP_ET_NE_WP_PG: u64 = 1 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 31;
    const PAE: u64 = 1 << 5;
    const SCE_LME_LMA: u64 = 1 | 1 << 8 | 1 << 10;
    sregs.cr0 = PE_MP_ET_NE_WP_PG;
    sregs.cr3 = memory::PML4;
    sregs.cr4 = PAE;
    sregs.efer = SCE_LME_LMA;
    (sregs.gdt.base, sregs.gdt.limit) = (memory::GDT, 8 * 8 - 1);
    (sregs.idt.base, sregs.idt.limit) = (memory::IDT, 256 * 16 - 1);
    let code = kvm_segment {
        limit: u32::MAX,
        selector: memory::KERNEL_CODE,
        type_: 11,
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..Default::default()
    };
    let data = kvm_segment { selector: memory::KERNEL_DATA, type_: 3, l: 0, db: 1, ..code };
    sregs.cs = code;
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = kvm_segment {
        base: memory::TSS,
        limit: 0x67,
        selector: memory::TSS_SELECTOR,
        type_: 11,
        present: 1,
        ..Default::default()
    };
}
