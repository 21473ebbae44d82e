// SPDX-License-Identifier: Apache-2.0 OR MIT
//! riscv64: QEMU's virt, with QEMU's own OpenSBI firmware.

use super::{Board, BootFacts, SERIAL, VSOCK, field};
use crate::machine::VmEnd;

pub(super) const BOARD: Board = Board {
    program: "qemu-system-riscv64",
    name: |_| "virt",
    // Devices are found in the device tree.
    machine: |_, _, _| "virt",
    // Without more extensions, because the kernel probes them and patches itself, which slows the boot.
    cpu: "rv64",
    counted_cpu: "rv64",
    kernel_arguments,
    console: SERIAL,
    vsock: VSOCK,
    end_of_reset,
    describe_cpu,
};

/// - `console=ttyS0`: the serial port.
/// - `panic=-1`: restart at once after a panic.
fn kernel_arguments(_: &BootFacts) -> String {
    "console=ttyS0 panic=-1".to_owned()
}

/// A reset is always a restart: the kernel calls the firmware (SBI), and no fault resets the machine.
fn end_of_reset(_: &str) -> VmEnd {
    VmEnd::Restart
}

fn describe_cpu(cpu: usize, registers: &str) -> Option<String> {
    Some(format!("CPU {cpu} is at pc={:016x}", field(registers, " pc ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_has_its_place() {
        let text = "CPU#0\r\n V      =   0\r\n pc       ffffffff80001000\r\n mhartid  0000000000000000\r\n";
        assert_eq!(describe_cpu(0, text).as_deref(), Some("CPU 0 is at pc=ffffffff80001000"));
        assert_eq!(describe_cpu(0, "nothing"), None);
    }
}
