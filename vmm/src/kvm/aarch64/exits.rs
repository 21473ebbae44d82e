// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exits of `KVM_RUN` and their handling.

use kvm_bindings::{KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN};
use kvm_ioctls::VcpuExit;

use super::{Cpu, registers};
use crate::kvm::bus::Bus;
use crate::kvm::vcpu::RunResult;
use crate::machine::VmEnd;

impl Cpu {
    /// Runs the guest until its next exit, and handles the exit. `index`, the number of the vCPU,
    /// is for messages.
    pub(in crate::kvm) fn run(&mut self, index: usize, bus: &Bus) -> RunResult {
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            Err(error) if error.errno() == libc::EINTR => return RunResult::Interrupted,
            // An MMIO access without a valid syndrome (`io_mem_abort` in `arch/arm64/kvm/mmio.c`).
            Err(error) if error.errno() == libc::ENOSYS => {
                let reason = "an access to an address without memory by an instruction that \
                           neither the processor nor KVM decodes";
                return RunResult::Ended(self.vcpu_error(index, reason.to_owned()));
            }
            Err(error) => {
                return RunResult::Ended(self.failure(index, &format!("KVM_RUN: {error}")));
            }
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
                let message = format!("the guest reports a crash: {data:x?}");
                return RunResult::Ended(self.vcpu_error(index, message));
            }
            VcpuExit::FailEntry(reason, cpu) => {
                let message = format!(
                    "the processor refuses to enter the guest (reason {reason:#x}, host CPU {cpu})"
                );
                return RunResult::Ended(self.vcpu_error(index, message));
            }
            VcpuExit::InternalError => {
                return RunResult::Ended(self.vcpu_error(index, "KVM internal error".to_owned()));
            }
            other => {
                let message = format!("unexpected exit {other:?}");
                return RunResult::Ended(self.failure(index, &message));
            }
        }
        RunResult::Handled
    }

    fn vcpu_error(&self, index: usize, reason: String) -> VmEnd {
        VmEnd::VcpuError { why: reason, registers: registers::registers(&self.fd, index) }
    }

    fn failure(&self, index: usize, message: &str) -> VmEnd {
        VmEnd::Failed(format!("{message}\n{}", registers::registers(&self.fd, index)))
    }
}
