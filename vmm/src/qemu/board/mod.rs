// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machines that QEMU emulates: a file for each architecture.

mod aarch64;
mod riscv64;
mod s390x;
mod x86_64;

use crate::machine::{DeviceDiscovery, VmEnd};
use crate::qemu::Accelerator;
use sudbox_protocol::Arch;

/// Properties of a boot on which the board's boot arguments depend.
#[derive(Clone, Copy, Debug)]
pub(super) struct BootFacts {
    /// QEMU's accelerator.
    pub(super) accelerator: Accelerator,
    /// Number of CPUs.
    pub(super) cpus: u8,
    /// The way in which the kernel finds its devices.
    pub(super) discovery: DeviceDiscovery,
    /// Frequency of the guest's TSC in kHz, if it is known.
    pub(super) tsc_khz: Option<u64>,
    /// Frequency of the kernel's timer interrupt in Hz, if it is known.
    pub(super) config_hz: Option<u32>,
}

/// Properties of a QEMU machine that depend on the architecture.
pub(super) struct Board {
    /// QEMU's program.
    pub(super) program: &'static str,
    /// Name of the machine, for messages.
    pub(super) name: fn(DeviceDiscovery) -> &'static str,
    /// Returns the argument of `-machine` for a CPU model.
    pub(super) machine_argument: fn(Accelerator, DeviceDiscovery, cpu: &str) -> &'static str,
    /// Default CPU model for [`Accelerator::Tcg`].
    pub(super) cpu: &'static str,
    /// Default CPU model for [`Accelerator::Counting`], without features that make a program's
    /// number of instructions vary between runs.
    pub(super) instruction_count_cpu: &'static str,
    /// Returns the boot arguments for the machine.
    pub(super) kernel_arguments: fn(&BootFacts) -> String,
    /// QEMU's arguments for the console, on chardev `console`.
    pub(super) console: &'static [&'static str],
    /// QEMU's arguments for the vsock device, on chardev `vsock`.
    pub(super) vsock: &'static [&'static str],
    /// Returns the end of a guest that reset the machine, from QEMU's dump of the registers: a
    /// restart or a crash.
    pub(super) end_after_reset: fn(&str) -> VmEnd,
    /// Describes the state of a CPU in one line, from the CPU's part of the dump.
    pub(super) describe_cpu: fn(cpu_index: usize, registers: &str) -> Option<String>,
}

/// Returns the board of an architecture.
pub(super) fn for_arch(arch: Arch) -> &'static Board {
    match arch {
        Arch::X86_64 => &x86_64::BOARD,
        Arch::Riscv64 => &riscv64::BOARD,
        Arch::Aarch64 => &aarch64::BOARD,
        Arch::S390x => &s390x::BOARD,
    }
}

/// QEMU's arguments for a console on the only serial port.
const SERIAL_CONSOLE: &[&str] = &["-serial", "chardev:console"];

/// QEMU's arguments for a vsock device on virtio-mmio. The legacy interface is off, because
/// vhost-user needs virtio 1.
const MMIO_VSOCK: &[&str] = &[
    "-global",
    "virtio-mmio.force-legacy=false",
    "-device",
    "vhost-user-vsock-device,chardev=vsock",
];

/// Returns the hexadecimal number after the first `name` in a dump of registers.
fn hex_field(text: &str, name: &str) -> Option<u64> {
    let field = text.split(name).nth(1)?.trim_start();
    let digits = field.split(|character: char| !character.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(digits, 16).ok()
}
