// SPDX-License-Identifier: Apache-2.0 OR MIT
//! x86-64: QEMU's microvm.

use super::{Board, BootFacts, MMIO_VSOCK, SERIAL_CONSOLE, hex_field};
use crate::machine::{DeviceDiscovery, VmEnd};
use crate::qemu::Accelerator;

pub(super) const BOARD: Board = Board {
    program: "qemu-system-x86_64",
    name,
    machine_argument,
    // `max` has all features that TCG emulates; QEMU's default model is a CPU of 2003. With ERMS or
    // FSRM, the kernel clears and copies pages by `rep stosb` and `rep movsb`, which TCG executes
    // byte by byte. Without ERMS and FSRM, a run of all cases takes a sixth less time.
    cpu: "max,erms=off,fsrm=off",
    instruction_count_cpu: "max",
    kernel_arguments,
    console: SERIAL_CONSOLE,
    vsock: MMIO_VSOCK,
    end_after_reset,
    describe_cpu,
};

/// Returns the boot arguments:
///
/// - `console=ttyS0`: the serial port.
/// - `reboot=t`: the kernel restarts by a triple fault. microvm has no keyboard controller and,
///   without ACPI, no reset register.
/// - `panic=-1`: the kernel restarts at once after a panic.
///
/// Under TCG, these arguments avoid calibrations and other work that take half of a small kernel's
/// boot:
///
/// - `no_timer_check`: the kernel does not test whether the timer's interrupt arrives.
/// - `nolapic_timer`: with one CPU, the kernel uses the PIT instead of the local APIC timer, whose
///   calibration waits for 100 ticks. The argument is left out with several CPUs, which would lose
///   ticks, and with ACPI, where a tickless Linux 6.12 was observed to sleep for ever.
/// - `initcall_blacklist=trace_eval_init`: the kernel does not replace names of enumerators in the
///   formats of tracepoints, which nothing in the guest reads.
/// - `noreplace-smp`: on one CPU, the kernel does not patch the lock prefixes out of the kernel.
///   Each patch switches page tables twice (docs/boot-time.md has the figures).
/// - `tsc_early_khz`, `tsc=reliable`: the frequency of the guest's TSC, if it is known.
/// - `lpj`: with several CPUs, the TSC's ticks in one period of the timer, if the frequencies of
///   both are known. Without this number, each CPU but the first measures it for 50 ms
///   (`calibrate_delay_direct()`).
fn kernel_arguments(facts: &BootFacts) -> String {
    let mut arguments = "console=ttyS0 reboot=t panic=-1".to_owned();
    match facts.accelerator {
        Accelerator::Tcg | Accelerator::Counting => {
            arguments += " no_timer_check initcall_blacklist=trace_eval_init";
            if facts.cpus == 1 {
                arguments += " noreplace-smp";
                if facts.discovery == DeviceDiscovery::CommandLine {
                    arguments += " nolapic_timer";
                }
            }
            if let Some(khz) = facts.tsc_khz {
                arguments += &format!(" tsc=reliable tsc_early_khz={khz}");
                if let Some(hz) = facts.config_hz.filter(|hz| *hz > 0 && facts.cpus > 1) {
                    arguments += &format!(" lpj={}", khz * 1000 / u64::from(hz));
                }
            }
        }
        // A guest of KVM needs no calibration.
        Accelerator::Kvm => {}
    }
    arguments
}

fn name(discovery: DeviceDiscovery) -> &'static str {
    match discovery {
        DeviceDiscovery::CommandLine => "microvm",
        DeviceDiscovery::Acpi => "microvm with ACPI",
    }
}

fn machine_argument(_: Accelerator, discovery: DeviceDiscovery, _: &str) -> &'static str {
    match discovery {
        DeviceDiscovery::CommandLine => "microvm,acpi=off",
        // The DSDT announces the virtio-mmio devices.
        DeviceDiscovery::Acpi => "microvm,acpi=on",
    }
}

/// Distinguishes a restart from a crash. On microvm without ACPI, both are triple faults, which
/// reset the machine.
fn end_after_reset(registers: &str) -> VmEnd {
    if is_restart(registers) { VmEnd::Restart } else { VmEnd::TripleFault(without_fpu(registers)) }
}

fn describe_cpu(cpu_index: usize, registers: &str) -> Option<String> {
    let (rip, flags) = (hex_field(registers, "RIP=")?, hex_field(registers, "RFL=")?);
    let is_halted = hex_field(registers, " HLT=") == Some(1);
    Some(crate::x86_64::describe_vcpu(cpu_index, rip, flags, is_halted))
}

/// Returns true if the registers are those of a kernel that restarts by `reboot=t`. Such a kernel
/// loads an empty IDT and then executes `int3` (`native_machine_emergency_restart` in
/// `arch/x86/kernel/reboot.c`). A kernel that crashes has an IDT with entries.
fn is_restart(registers: &str) -> bool {
    registers.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("IDT=") && words.all(|word| word.bytes().all(|byte| byte == b'0'))
    })
}

/// Removes the floating-point and vector registers, which do not help with a triple fault.
fn without_fpu(registers: &str) -> String {
    let is_relevant = |line: &&str| {
        !["FCW=", "FPR", "XMM", "YMM", "ZMM", "Opmask"]
            .iter()
            .any(|prefix| line.starts_with(prefix))
    };
    registers.trim().lines().map(str::trim_end).filter(is_relevant).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::monitor::vcpu_states;

    #[test]
    fn each_cpu_is_described_by_its_activity_and_rip() {
        let text = "CPU#0\r\nRAX=1 RBX=2\r\nRIP=ffffffff81001000 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n\
                    CPU#1\r\nRIP=0000000000401000 RFL=00000246 [---Z-P-] CPL=3 II=0 A20=1 SMM=0 HLT=0\r\n";
        assert_eq!(
            vcpu_states(text, describe_cpu),
            [
                "CPU 0 halted with interrupts off at RIP=ffffffff81001000",
                "CPU 1 runs at RIP=0000000000401000"
            ]
        );
        assert!(vcpu_states("no registers", describe_cpu).is_empty());
    }

    #[test]
    fn arguments_for_clocks_and_timers_depend_on_cpus_discovery_and_known_frequencies() {
        let facts = BootFacts {
            accelerator: Accelerator::Tcg,
            cpus: 1,
            discovery: DeviceDiscovery::CommandLine,
            tsc_khz: Some(2_800_000),
            config_hz: Some(250),
        };
        let one_cpu = kernel_arguments(&facts);
        assert!(one_cpu.contains(" nolapic_timer"), "{one_cpu}");
        assert!(one_cpu.contains(" tsc_early_khz=2800000"), "{one_cpu}");
        assert!(!one_cpu.contains("lpj"), "{one_cpu}");
        let two_cpus = kernel_arguments(&BootFacts { cpus: 2, ..facts });
        assert!(two_cpus.ends_with(" tsc_early_khz=2800000 lpj=11200000"), "{two_cpus}");
        let without_hz = kernel_arguments(&BootFacts { cpus: 2, config_hz: None, ..facts });
        assert!(without_hz.ends_with(" tsc_early_khz=2800000"), "{without_hz}");
        let without_tsc = kernel_arguments(&BootFacts { cpus: 2, tsc_khz: None, ..facts });
        assert!(!without_tsc.contains("nolapic_timer"), "{without_tsc}");
        assert!(!without_tsc.contains("tsc"), "{without_tsc}");
        let discovery = DeviceDiscovery::Acpi;
        let with_acpi = kernel_arguments(&BootFacts { discovery, tsc_khz: None, ..facts });
        assert!(!with_acpi.contains("nolapic_timer"), "{with_acpi}");
        for arguments in [one_cpu, without_tsc, with_acpi] {
            let start = "console=ttyS0 reboot=t panic=-1 no_timer_check";
            assert!(arguments.starts_with(start), "{arguments}");
        }
    }

    #[test]
    fn an_empty_idt_on_any_cpu_is_a_restart() {
        let crash = "CPU#0\r\nRAX=0\r\nIDT=     fffffe0000000000 00000fff\r\nXMM00=0 0\r\n";
        let restart = "CPU#1\r\nIDT=     0000000000000000 00000000\r\n";
        assert!(!is_restart(crash));
        assert!(is_restart(restart));
        assert!(is_restart(&format!("{crash}{restart}")));
        assert!(!is_restart("GDT=     0000000000000000 00000000"));
        assert_eq!(without_fpu(crash), "CPU#0\nRAX=0\nIDT=     fffffe0000000000 00000fff");
    }

    #[test]
    fn a_reset_is_a_restart_or_a_crash() {
        assert_eq!(end_after_reset("IDT=     0000000000000000 00000000"), VmEnd::Restart);
        let crash = "RIP=ffffffff81000000\r\nIDT=     fffffe0000000000 00000fff\r\n";
        let VmEnd::TripleFault(registers) = end_after_reset(crash) else { panic!() };
        assert!(registers.starts_with("RIP=ffffffff81000000\n"));
    }
}
