//! x86-64: QEMU's microvm.

use super::{Board, SERIAL, VSOCK, field};
use crate::machine::{Discovery, VmEnd};
use crate::qemu::Accelerator;

pub(super) const BOARD: Board = Board {
    program: "qemu-system-x86_64",
    name,
    machine,
    // TCG emulates all that it can of a CPU at no cost, its default model is one of 2003.
    cpu: "max",
    counted_cpu: "max",
    kernel_arguments,
    console: SERIAL,
    vsock: VSOCK,
    stopped_with,
    place,
};

/// - `console=ttyS0`: the one serial port.
/// - `reboot=t`: microvm has no keyboard controller and, without ACPI, no reset register; a triple
///   fault is the one way to ask it for a restart.
/// - `panic=-1`: a panic restarts at once, so that it is seen at once.
///
/// Under TCG the guest need not measure what is known; that takes half of a small kernel's boot:
///
/// - `no_timer_check`: the timer's interrupt arrives.
/// - `nolapic_timer`: with one CPU the PIT does, and the local APIC's timer, whose calibration
///   waits for 100 ticks, is not needed. With more, ticks would get lost; and a kernel without
///   periodic ticks that has its interrupts by ACPI would sleep for ever (6.12, seen).
/// - `noreplace-smp`: a kernel on one CPU would patch every lock prefix out of itself, each with
///   two switches of page tables (docs/boot-time.md has the figures).
/// - `tsc_early_khz`, `tsc=reliable`: how fast the guest's TSC runs, if it is known; it is the
///   host's.
fn kernel_arguments(
    accelerator: Accelerator,
    cpus: u8,
    discovery: Discovery,
    tsc_khz: Option<u64>,
) -> String {
    let mut all = "console=ttyS0 reboot=t panic=-1".to_owned();
    match accelerator {
        Accelerator::Tcg | Accelerator::Counting => {
            all += " no_timer_check";
            if cpus == 1 {
                all += " noreplace-smp";
                if discovery == Discovery::CommandLine {
                    all += " nolapic_timer";
                }
            }
            if let Some(khz) = tsc_khz {
                all += &format!(" tsc=reliable tsc_early_khz={khz}");
            }
        }
        // The kernel knows KVM, and what its clock and timers need not be asked for.
        Accelerator::Kvm => {}
    }
    all
}

fn name(discovery: Discovery) -> &'static str {
    match discovery {
        Discovery::CommandLine => "microvm",
        Discovery::Acpi => "microvm with ACPI",
    }
}

fn machine(_: Accelerator, discovery: Discovery, _: &str) -> &'static str {
    match discovery {
        Discovery::CommandLine => "microvm,acpi=off",
        // Its DSDT shows the virtio-mmio devices.
        Discovery::Acpi => "microvm,acpi=on",
    }
}

/// How a guest ended that reset the machine. On microvm without ACPI nothing but a triple fault
/// can.
fn stopped_with(registers: &str) -> VmEnd {
    if restarts_on_purpose(registers) {
        VmEnd::Restart
    } else {
        VmEnd::TripleFault(without_fpu(registers))
    }
}

fn place(cpu: usize, registers: &str) -> Option<String> {
    let (rip, flags) = (field(registers, "RIP=")?, field(registers, "RFL=")?);
    let halted = field(registers, " HLT=") == Some(1);
    Some(crate::x86_64::describe_vcpu(cpu, rip, flags, halted))
}

/// True if the registers are those of a kernel that restarts with `reboot=t`: it loads an empty
/// interrupt table and then traps on purpose (`native_machine_emergency_restart`,
/// `arch/x86/kernel/reboot.c`). A kernel that crashes has a table with something in it.
fn restarts_on_purpose(registers: &str) -> bool {
    registers.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("IDT=") && words.all(|word| word.bytes().all(|b| b == b'0'))
    })
}

/// The registers without those of the floating-point unit, which say nothing of a triple fault.
fn without_fpu(registers: &str) -> String {
    let dull = |line: &&str| {
        !["FCW=", "FPR", "XMM", "YMM", "ZMM", "Opmask"].iter().any(|p| line.starts_with(p))
    };
    registers.trim().lines().map(str::trim_end).filter(dull).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::monitor::vcpu_states;

    #[test]
    fn each_cpu_has_its_place() {
        let text = "CPU#0\r\nRAX=1 RBX=2\r\nRIP=ffffffff81001000 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n\
                    CPU#1\r\nRIP=0000000000401000 RFL=00000246 [---Z-P-] CPL=3 II=0 A20=1 SMM=0 HLT=0\r\n";
        assert_eq!(
            vcpu_states(text, place),
            [
                "CPU 0 halted with interrupts off at RIP=ffffffff81001000",
                "CPU 1 runs at RIP=0000000000401000"
            ]
        );
        assert!(vcpu_states("no registers", place).is_empty());
    }

    #[test]
    fn a_guest_is_told_of_its_timers_what_is_true() {
        let told = Discovery::CommandLine;
        let one = kernel_arguments(Accelerator::Tcg, 1, told, Some(2_800_000));
        assert!(one.contains(" nolapic_timer") && one.contains(" tsc_early_khz=2800000"), "{one}");
        let two = kernel_arguments(Accelerator::Tcg, 2, told, None);
        let acpi = kernel_arguments(Accelerator::Tcg, 1, Discovery::Acpi, None);
        assert!(!acpi.contains("nolapic_timer"), "{acpi}");
        assert!(!two.contains("nolapic_timer") && !two.contains("tsc"), "{two}");
        for all in [one, two, acpi] {
            assert!(all.starts_with("console=ttyS0 reboot=t panic=-1 no_timer_check"), "{all}");
        }
    }

    #[test]
    fn an_empty_interrupt_table_on_any_cpu_is_a_restart() {
        let crash = "CPU#0\r\nRAX=0\r\nIDT=     fffffe0000000000 00000fff\r\nXMM00=0 0\r\n";
        let restart = "CPU#1\r\nIDT=     0000000000000000 00000000\r\n";
        assert!(!restarts_on_purpose(crash));
        assert!(restarts_on_purpose(restart));
        assert!(restarts_on_purpose(&format!("{crash}{restart}")));
        assert!(!restarts_on_purpose("GDT=     0000000000000000 00000000"));
        assert_eq!(without_fpu(crash), "CPU#0\nRAX=0\nIDT=     fffffe0000000000 00000fff");
    }

    #[test]
    fn a_reset_is_a_restart_or_a_crash() {
        assert_eq!(stopped_with("IDT=     0000000000000000 00000000"), VmEnd::Restart);
        let crash = "RIP=ffffffff81000000\r\nIDT=     fffffe0000000000 00000fff\r\n";
        let VmEnd::TripleFault(registers) = stopped_with(crash) else { panic!() };
        assert!(registers.starts_with("RIP=ffffffff81000000\n"));
    }
}
