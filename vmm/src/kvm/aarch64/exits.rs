// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exits of `KVM_RUN` and their handling.

use kvm_bindings::{KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN};
use kvm_ioctls::VcpuExit;

use super::{Cpu, registers};
use crate::kvm::bus::Bus;
use crate::kvm::vcpu::RunResult;
use crate::machine::VmEnd;

impl Cpu {
    /// Runs the guest until its next exit, and handles the exit. `index` is for messages.
    pub(in crate::kvm) fn run(&mut self, index: usize, bus: &Bus) -> RunResult {
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            Err(e) if e.errno() == libc::EINTR => return RunResult::Interrupted,
            // An MMIO access without a valid syndrome (`io_mem_abort` in `arch/arm64/kvm/mmio.c`).
            Err(e) if e.errno() == libc::ENOSYS => {
                let why = "an access to an address without memory by an instruction that the \
                           processor does not decode for KVM";
                return RunResult::Ended(self.vcpu_error(index, why.to_owned()));
            }
            Err(e) => return RunResult::Ended(self.failed(index, &format!("KVM_RUN: {e}"))),
        };
        match exit {
            VcpuExit::MmioWrite(address, data) => bus.mmio_write(address, data),
            VcpuExit::MmioRead(address, data) => bus.mmio_read(address, data),
            VcpuExit::Intr => return RunResult::Interrupted,
            // PSCI's SYSTEM_OFF and SYSTEM_RESET both count as a restart.
            VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SHUTDOWN | KVM_SYSTEM_EVENT_RESET, _) => {
                return RunResult::Ended(VmEnd::Restart);
            }
            VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_CRASH, data) => {
                let why = format!("the guest reports a crash: {data:x?}");
                return RunResult::Ended(self.vcpu_error(index, why));
            }
            VcpuExit::FailEntry(reason, cpu) => {
                let why = format!(
                    "the processor refuses to enter the guest (reason {reason:#x}, host CPU {cpu})"
                );
                return RunResult::Ended(self.vcpu_error(index, why));
            }
            VcpuExit::InternalError => {
                return RunResult::Ended(self.vcpu_error(index, "KVM internal error".to_owned()));
            }
            other => {
                let what = format!("unexpected exit {other:?}");
                return RunResult::Ended(self.failed(index, &what));
            }
        }
        RunResult::Handled
    }

    fn vcpu_error(&self, index: usize, why: String) -> VmEnd {
        VmEnd::VcpuError { why, registers: registers::registers(&self.fd, index) }
    }

    fn failed(&self, index: usize, what: &str) -> VmEnd {
        VmEnd::Failed(format!("{what}\n{}", registers::registers(&self.fd, index)))
    }
}
