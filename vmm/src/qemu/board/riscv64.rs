// SPDX-License-Identifier: Apache-2.0 OR MIT
//! riscv64: QEMU's virt, with QEMU's own OpenSBI firmware.

use super::{Board, BootFacts, MMIO_VSOCK, SERIAL_CONSOLE, hex_field};
use crate::machine::VmEnd;

pub(super) const BOARD: Board = Board {
    program: "qemu-system-riscv64",
    name: |_| "virt",
    // The kernel finds its devices in the device tree.
    machine_argument: |_, _, _| "virt",
    // On the model `max`, the kernel boots more slowly, because it probes more extensions of the CPU
    // and patches itself.
    cpu: "rv64",
    instruction_count_cpu: "rv64",
    kernel_arguments,
    console: SERIAL_CONSOLE,
    vsock: MMIO_VSOCK,
    end_after_reset,
    describe_cpu,
};

/// Returns the boot arguments:
///
/// - `console=ttyS0`: the serial port.
/// - `panic=-1`: the kernel restarts at once after a panic.
fn kernel_arguments(_: &BootFacts) -> String {
    "console=ttyS0 panic=-1".to_owned()
}

/// Returns a restart: the kernel resets the machine by the firmware (SBI), and no fault resets it.
fn end_after_reset(_: &str) -> VmEnd {
    VmEnd::Restart
}

fn describe_cpu(cpu_index: usize, registers: &str) -> Option<String> {
    Some(format!("CPU {cpu_index} is at pc={:016x}", hex_field(registers, " pc ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_described_by_its_pc() {
        let text = "CPU#0\r\n V      =   0\r\n pc       ffffffff80001000\r\n mhartid  0000000000000000\r\n";
        assert_eq!(describe_cpu(0, text).as_deref(), Some("CPU 0 is at pc=ffffffff80001000"));
        assert_eq!(describe_cpu(0, "nothing"), None);
    }
}
