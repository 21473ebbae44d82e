// SPDX-License-Identifier: Apache-2.0 OR MIT
//! s390x: QEMU's s390-ccw-virtio, with a vsock device on PCI.

use super::{Board, BootFacts, hex_field};
use crate::machine::VmEnd;

pub(super) const BOARD: Board = Board {
    program: "qemu-system-s390x",
    name: |_| "s390-ccw-virtio",
    // The kernel enumerates its devices on PCI and channel I/O.
    machine_argument: |_, _, _| "s390-ccw-virtio",
    // `max` has all features that TCG emulates.
    cpu: "max",
    instruction_count_cpu: "max",
    kernel_arguments,
    console: &["-device", "sclpconsole,chardev=console"],
    // QEMU has no vhost-user-vsock for channel I/O. A vsock device on PCI is always virtio 1.
    vsock: &["-device", "vhost-user-vsock-pci,chardev=vsock"],
    end_after_reset,
    describe_cpu,
};

/// Returns the boot arguments:
///
/// - `console=ttysclp0`: the SCLP terminal.
/// - `panic=-1`: the kernel restarts at once after a panic.
fn kernel_arguments(_: &BootFacts) -> String {
    "console=ttysclp0 panic=-1".to_owned()
}

/// Bit of the PSW: the CPU waits (`PSW_MASK_WAIT` in `arch/s390/include/asm/ptrace.h`).
const PSW_WAIT: u64 = 1 << 49;
/// Bits of the PSW: I/O and external interrupts are enabled (`PSW_MASK_IO`, `PSW_MASK_EXT`).
const PSW_INTERRUPTS_ENABLED: u64 = 3 << 56;

/// Distinguishes a restart from a disabled wait. A kernel that cannot continue waits with interrupts
/// disabled (`disabled_wait()`), and QEMU then shuts down the machine.
fn end_after_reset(registers: &str) -> VmEnd {
    let mut masks = registers.split("CPU#").filter_map(|cpu_dump| hex_field(cpu_dump, "PSW=mask "));
    if masks.any(|mask| mask & PSW_WAIT != 0 && mask & PSW_INTERRUPTS_ENABLED == 0) {
        return VmEnd::VcpuError {
            why: "disabled wait: the CPU waits and cannot be interrupted".to_owned(),
            registers: registers.trim().lines().map(str::trim_end).collect::<Vec<_>>().join("\n"),
        };
    }
    VmEnd::Restart
}

fn describe_cpu(cpu_index: usize, registers: &str) -> Option<String> {
    Some(format!("CPU {cpu_index} is at addr={:016x}", hex_field(registers, " addr ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_described_by_its_address() {
        let text = "CPU#0\r\nPSW=mask 0404c00180000000 addr 00000000001234ab cc 00\r\nR00=0\r\n";
        assert_eq!(describe_cpu(0, text).as_deref(), Some("CPU 0 is at addr=00000000001234ab"));
        assert_eq!(describe_cpu(0, "nothing"), None);
    }

    #[test]
    fn a_disabled_wait_is_a_vcpu_error() {
        let dump =
            |mask| format!("CPU#0\r\nPSW=mask {mask} addr 0000000000000000 cc 00\r\nR00=0\r\n");
        assert_eq!(end_after_reset(&dump("0404c00180000000")), VmEnd::Restart);
        // An idle CPU: it waits with interrupts enabled.
        assert_eq!(end_after_reset(&dump("0706c00180000000")), VmEnd::Restart);
        let VmEnd::VcpuError { registers, .. } = end_after_reset(&dump("0002000180000000")) else {
            panic!()
        };
        assert!(registers.starts_with("CPU#0\nPSW=mask 0002000180000000"), "{registers}");
    }
}
