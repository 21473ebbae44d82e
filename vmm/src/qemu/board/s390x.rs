//! s390x: QEMU's s390-ccw-virtio, with the one vsock device that it has there, on PCI.

use super::{Board, field};
use crate::machine::{Discovery, VmEnd};
use crate::qemu::Accelerator;

pub(super) const BOARD: Board = Board {
    program: "qemu-system-s390x",
    name: |_| "s390-ccw-virtio",
    // Devices are found on their buses.
    machine: |_, _, _| "s390-ccw-virtio",
    // TCG emulates all that it can of a CPU at no cost.
    cpu: "max",
    counted_cpu: "max",
    kernel_arguments,
    console: &["-device", "sclpconsole,chardev=console"],
    // There is no vhost-user-vsock on channels. On PCI it is of version 1 in any case.
    vsock: &["-device", "vhost-user-vsock-pci,chardev=vsock"],
    stopped_with,
    place,
};

/// - `console=ttysclp0`: the one terminal.
/// - `panic=-1`: a panic restarts at once, so that it is seen at once.
fn kernel_arguments(_: Accelerator, _: u8, _: Discovery, _: Option<u64>) -> String {
    "console=ttysclp0 panic=-1".to_owned()
}

/// PSW bits: the CPU waits; it may be interrupted by I/O and from outside (include/asm/ptrace.h).
const WAITS: u64 = 1 << 49;
const INTERRUPTIBLE: u64 = 3 << 56;

/// A restart is asked of the hypervisor. A CPU that waits and cannot be interrupted any more is how
/// a kernel stops for good (`disabled_wait()`), and QEMU ends the machine for it.
fn stopped_with(registers: &str) -> VmEnd {
    let mut masks = registers.split("CPU#").filter_map(|cpu| field(cpu, "PSW=mask "));
    if masks.any(|mask| mask & WAITS != 0 && mask & INTERRUPTIBLE == 0) {
        return VmEnd::VcpuError {
            why: "disabled wait: the CPU waits and cannot be interrupted".to_owned(),
            registers: registers.trim().lines().map(str::trim_end).collect::<Vec<_>>().join("\n"),
        };
    }
    VmEnd::Restart
}

fn place(cpu: usize, registers: &str) -> Option<String> {
    Some(format!("CPU {cpu} is at addr={:016x}", field(registers, " addr ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_has_its_place() {
        let text = "CPU#0\r\nPSW=mask 0404c00180000000 addr 00000000001234ab cc 00\r\nR00=0\r\n";
        assert_eq!(place(0, text).as_deref(), Some("CPU 0 is at addr=00000000001234ab"));
        assert_eq!(place(0, "nothing"), None);
    }

    #[test]
    fn a_disabled_wait_is_no_restart() {
        let at =
            |mask| format!("CPU#0\r\nPSW=mask {mask} addr 0000000000000000 cc 00\r\nR00=0\r\n");
        assert_eq!(stopped_with(&at("0404c00180000000")), VmEnd::Restart);
        // Idle, as the other CPUs of a machine that restarts may be.
        assert_eq!(stopped_with(&at("0706c00180000000")), VmEnd::Restart);
        let VmEnd::VcpuError { registers, .. } = stopped_with(&at("0002000180000000")) else {
            panic!()
        };
        assert!(registers.starts_with("CPU#0\nPSW=mask 0002000180000000"), "{registers}");
    }
}
