// SPDX-License-Identifier: Apache-2.0 OR MIT
//! aarch64: QEMU's virt.

use super::{Board, BootFacts, MMIO_VSOCK, SERIAL_CONSOLE, hex_field};
use crate::machine::{DeviceDiscovery, VmEnd};
use crate::qemu::Accelerator;

pub(super) const BOARD: Board = Board {
    program: "qemu-system-aarch64",
    name: |_| "virt",
    machine_argument,
    // `max` has all features that QEMU emulates. A boot takes as long as with the model cortex-a72
    // (0.42 s of CPU time, QEMU 7.2). pauth-impdef selects a fast algorithm of pointer
    // authentication; with the architected algorithm, a boot takes ten times as long.
    cpu: "max,pauth-impdef=on",
    // A task that has used SVE, as the C library's memcpy() does, pays 64 instructions in each
    // system call (`fpsimd_syscall_enter()`) until the scheduler happens to take SVE from the task
    // (`task_fpsimd_load()`).
    instruction_count_cpu: "max,pauth-impdef=on,sve=off,sme=off",
    kernel_arguments,
    console: SERIAL_CONSOLE,
    vsock: MMIO_VSOCK,
    end_after_reset,
    describe_cpu,
};

/// Returns the argument of `-machine`. The kernel finds its devices in the device tree. QEMU accepts
/// memory tagging (`mte=on`) only with a CPU model that has memory tagging: in QEMU 7.2, `max`.
fn machine_argument(accelerator: Accelerator, _: DeviceDiscovery, cpu: &str) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "virt,gic-version=host",
        _ if cpu == "max" || cpu.starts_with("max,") => "virt,mte=on",
        _ => "virt",
    }
}

/// Returns the boot arguments:
///
/// - `console=ttyAMA0`: the one serial port.
/// - `panic=-1`: the kernel restarts at once after a panic.
fn kernel_arguments(_: &BootFacts) -> String {
    "console=ttyAMA0 panic=-1".to_owned()
}

/// Returns a restart: the kernel resets the machine by the firmware (PSCI), and no fault resets it.
fn end_after_reset(_: &str) -> VmEnd {
    VmEnd::Restart
}

fn describe_cpu(cpu_index: usize, registers: &str) -> Option<String> {
    Some(format!("CPU {cpu_index} is at PC={:016x}", hex_field(registers, " PC=")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_tagging_is_enabled_for_the_cpu_model_max() {
        let machine =
            |accelerator, cpu| machine_argument(accelerator, DeviceDiscovery::CommandLine, cpu);
        assert_eq!(machine(Accelerator::Tcg, BOARD.cpu), "virt,mte=on");
        assert_eq!(machine(Accelerator::Tcg, "cortex-a72"), "virt");
        assert_eq!(machine(Accelerator::Kvm, "host"), "virt,gic-version=host");
    }

    #[test]
    fn a_cpu_is_described_by_its_pc() {
        let text = "CPU#0\r\n PC=ffff800080010000 X00=0000000000000001 X01=2\r\n";
        assert_eq!(describe_cpu(0, text).as_deref(), Some("CPU 0 is at PC=ffff800080010000"));
        assert_eq!(describe_cpu(0, "nothing"), None);
    }
}
