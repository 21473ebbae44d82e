// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine to measure on each architecture, and the formats of its KVM trace events.

use sudbox_images::Arch;
use sudbox_tests::level1::host::Host;

mod aarch64;
mod x86_64;

/// A machine to measure, and the formats of its KVM trace events.
pub(crate) struct Board {
    /// The emulated machine with KVM on which the VMs run.
    pub(crate) host: &'static Host,
    /// QEMU's `-machine`, without its memory backend.
    pub(crate) machine: &'static str,
    /// Kernel arguments for QEMU's machine.
    pub(crate) cmdline: &'static str,
    /// The trace event that the guest's init triggers (tests/bench/mark.c), and the beginning of its
    /// text.
    pub(crate) mark: (&'static str, &'static str),
    /// Trace events that name the device or register that the guest accessed.
    pub(crate) accesses: &'static [&'static str],
    /// Counters in KVM's debugfs directory. Each counts the exits of all VMs.
    pub(crate) counters: &'static [&'static str],
    /// Exit reasons that are not counted: their number depends on the duration of the boot or on memory
    /// faults.
    pub(crate) excluded_exits: &'static [&'static str],
    /// Returns the exit reason in the text of a `kvm_exit` event.
    pub(crate) exit_reason: fn(&str) -> Option<&str>,
    /// Returns the device or register in the text of an event of `accesses`. `None` for the second event
    /// of an access.
    pub(crate) accessed_target: fn(&str) -> Option<String>,
}

/// The board of an architecture; `None` if it has no microVM.
pub(crate) fn for_arch(arch: Arch) -> Option<&'static Board> {
    [&x86_64::BOARD, &aarch64::BOARD].into_iter().find(|board| board.host.arch == arch)
}

/// Page number of the guest-physical address in the words of a `kvm_mmio` event, such as `mmio write
/// len 4 gpa 0xfec00010 val 0x3e`. `None` for `unsatisfied-read`: the `read` event with the value from
/// user space follows.
fn mmio_page(words: &[&str]) -> Option<u64> {
    if *words.get(1)? == "unsatisfied-read" { None } else { Some(parse_hex(words.get(5)?)? >> 12) }
}

fn parse_hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()
}
