//! The machines that QEMU emulates: one for each architecture, all that differs in a file each.

mod aarch64;
mod riscv64;
mod s390x;
mod x86_64;

use crate::machine::{Discovery, VmEnd};
use crate::qemu::Accelerator;
use sudbox_protocol::Arch;

/// What differs between architectures.
pub(super) struct Board {
    /// QEMU's program.
    pub(super) program: &'static str,
    /// The machine's name, for people.
    pub(super) name: fn(Discovery) -> &'static str,
    /// What `-machine` takes, for this CPU.
    pub(super) machine: fn(Accelerator, Discovery, cpu: &str) -> &'static str,
    /// The CPU that TCG emulates unless another is asked for.
    pub(super) cpu: &'static str,
    /// The one whose instructions are counted: the same, less what makes the count of one program
    /// differ from run to run.
    pub(super) counted_cpu: &'static str,
    /// Kernel arguments that belong to the machine and not to the caller: accelerator, number of
    /// CPUs, how the kernel finds devices, and the speed of the guest's TSC if that is known.
    pub(super) kernel_arguments: fn(Accelerator, u8, Discovery, Option<u64>) -> String,
    /// The console, on the chardev `console`.
    pub(super) console: &'static [&'static str],
    /// The vsock device, on the chardev `vsock`.
    pub(super) vsock: &'static [&'static str],
    /// How a guest ended that reset the machine, from its registers as QEMU prints them.
    pub(super) stopped_with: fn(&str) -> VmEnd,
    /// Where a CPU is, from its registers.
    pub(super) place: fn(cpu: usize, registers: &str) -> Option<String>,
}

/// That of an architecture.
pub(super) fn of(arch: Arch) -> &'static Board {
    match arch {
        Arch::X86_64 => &x86_64::BOARD,
        Arch::Riscv64 => &riscv64::BOARD,
        Arch::Aarch64 => &aarch64::BOARD,
        Arch::S390x => &s390x::BOARD,
    }
}

/// A console that is the one serial port.
const SERIAL: &[&str] = &["-serial", "chardev:console"];

/// A vsock device on virtio-mmio. Legacy virtio-mmio would let the guest place its queues in units of
/// pages only, and vhost-user needs version 1.
const VSOCK: &[&str] = &[
    "-global",
    "virtio-mmio.force-legacy=false",
    "-device",
    "vhost-user-vsock-device,chardev=vsock",
];

/// The number behind a name in a dump of registers.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.split(name).nth(1)?.trim_start();
    let digits = rest.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(digits, 16).ok()
}
