// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exits of `KVM_RUN` and their handling.

use kvm_bindings::kvm_run;
use kvm_ioctls::VcpuExit;

use super::{Cpu, dump};
use crate::kvm::bus::{Bus, WriteEffect};
use crate::kvm::vcpu::RunResult;
use crate::machine::VmEnd;

impl Cpu {
    /// Runs the guest until its next exit, and handles the exit. `index`, the number of the vCPU,
    /// is for messages.
    pub(in crate::kvm) fn run(&mut self, index: usize, bus: &Bus) -> RunResult {
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            Err(error) if error.errno() == libc::EINTR => return RunResult::Interrupted,
            // A vCPU that waited for its start-up IPI has received it (`kvm_arch_vcpu_ioctl_run`).
            Err(error) if error.errno() == libc::EAGAIN => return RunResult::Handled,
            Err(error) => {
                return RunResult::Ended(self.failure(index, &format!("KVM_RUN: {error}")));
            }
        };
        match exit {
            VcpuExit::IoOut(port, data) => match bus.pio_write(port, data) {
                WriteEffect::None => {}
                WriteEffect::Restart => return RunResult::Ended(VmEnd::Restart),
            },
            VcpuExit::MmioWrite(address, data) => bus.mmio_write(address, data),
            VcpuExit::IoIn(port, data) => {
                let data: *mut [u8] = data;
                let item_size = item_size(self.fd.get_kvm_run());
                // SAFETY: the data is in the pages after kvm_run that KVM shares. These pages stay
                // mapped, and nothing else refers to the data until the next KVM_RUN.
                for item in unsafe { &mut *data }.chunks_mut(item_size) {
                    bus.pio_read(port, item);
                }
            }
            VcpuExit::MmioRead(address, data) => bus.mmio_read(address, data),
            VcpuExit::Intr => return RunResult::Interrupted,
            VcpuExit::Shutdown => {
                return RunResult::Ended(VmEnd::TripleFault(dump::registers_after_triple_fault(
                    &self.fd, index,
                )));
            }
            VcpuExit::FailEntry(reason, cpu) => {
                let message = format!(
                    "the processor refuses to enter the guest (reason {reason:#x}, host CPU {cpu})"
                );
                return RunResult::Ended(self.vcpu_error(index, message));
            }
            VcpuExit::InternalError => {
                let message = dump::describe_internal_error(self.fd.get_kvm_run());
                return RunResult::Ended(self.vcpu_error(index, message));
            }
            other => {
                let message = format!("unexpected exit {other:?}");
                return RunResult::Ended(self.failure(index, &message));
            }
        }
        RunResult::Handled
    }

    fn vcpu_error(&self, index: usize, reason: String) -> VmEnd {
        VmEnd::VcpuError { why: reason, registers: dump::registers(&self.fd, index) }
    }

    fn failure(&self, index: usize, message: &str) -> VmEnd {
        VmEnd::Failed(format!("{message}\n{}", dump::registers(&self.fd, index)))
    }
}

/// Returns the size in bytes of each item of a `KVM_EXIT_IO`. A repeated string input has many
/// items in one exit (`pio_in_emulated` in `arch/x86/kvm/emulate.c`), an output has one item.
fn item_size(run: &kvm_run) -> usize {
    // SAFETY: the exit fills this member of the union, and any bits are valid integers.
    usize::from(unsafe { run.__bindgen_anon_1.io.size }).max(1)
}
