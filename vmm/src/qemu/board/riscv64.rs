//! riscv64: QEMU's virt, with the firmware (OpenSBI) that QEMU brings.

use super::{Board, SERIAL, VSOCK, field};
use crate::machine::{Discovery, VmEnd};
use crate::qemu::Accelerator;

pub(super) const BOARD: Board = Board {
    program: "qemu-system-riscv64",
    name: |_| "virt",
    // Devices are found in the device tree.
    machine: |_, _, _| "virt",
    // All that QEMU emulates beside costs time at boot: extensions are looked for and patched in.
    cpu: "rv64",
    counted_cpu: "rv64",
    kernel_arguments,
    console: SERIAL,
    vsock: VSOCK,
    stopped_with,
    place,
};

/// - `console=ttyS0`: the one serial port.
/// - `panic=-1`: a panic restarts at once, so that it is seen at once.
fn kernel_arguments(_: Accelerator, _: u8, _: Discovery, _: Option<u64>) -> String {
    "console=ttyS0 panic=-1".to_owned()
}

/// A restart is a call of the firmware's; nothing resets the machine by mistake.
fn stopped_with(_: &str) -> VmEnd {
    VmEnd::Restart
}

fn place(cpu: usize, registers: &str) -> Option<String> {
    Some(format!("CPU {cpu} is at pc={:016x}", field(registers, " pc ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_has_its_place() {
        let text = "CPU#0\r\n V      =   0\r\n pc       ffffffff80001000\r\n mhartid  0000000000000000\r\n";
        assert_eq!(place(0, text).as_deref(), Some("CPU 0 is at pc=ffffffff80001000"));
        assert_eq!(place(0, "nothing"), None);
    }
}
