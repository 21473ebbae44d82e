// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine to measure on each architecture, and how to read KVM's trace events of it.

use sudbox_images::Arch;
use sudbox_tests::level1::host::Host;

mod aarch64;
mod x86_64;

/// A machine to measure, and how to read KVM's trace events of it.
pub(crate) struct Board {
    /// Level 1 for this architecture.
    pub(crate) host: &'static Host,
    /// QEMU's `-machine`, without its memory backend.
    pub(crate) machine: &'static str,
    /// Kernel arguments for QEMU's machine.
    pub(crate) cmdline: &'static str,
    /// The event that the guest's init triggers (tests/bench/mark.c), and how its text begins.
    pub(crate) mark: (&'static str, &'static str),
    /// Events that say which device or register the guest accessed.
    pub(crate) accesses: &'static [&'static str],
    /// Counters in KVM's debugfs directory; they count all VMs together.
    pub(crate) counters: &'static [&'static str],
    /// Reasons of exits to leave out: those whose number grows with the boot's duration, and those
    /// for memory.
    pub(crate) excluded_exits: &'static [&'static str],
    /// Finds the exit reason in the text of a `kvm_exit` event.
    pub(crate) reason: fn(&str) -> Option<&str>,
    /// Names the device or register of one of the events `accesses`. `None` for the second event of
    /// an access.
    pub(crate) access: fn(&str) -> Option<String>,
}

/// The board of an architecture; `None` if it has no microVM.
pub(crate) fn for_arch(arch: Arch) -> Option<&'static Board> {
    [&x86_64::BOARD, &aarch64::BOARD].into_iter().find(|board| board.host.arch == arch)
}

/// Page number of the guest-physical address in the text of a `kvm_mmio` event, such as `mmio write
/// len 4 gpa 0xfec00010 val 0x3e`. `None` for `unsatisfied-read`, which precedes the `read` event with
/// user space's value.
fn mmio_page(words: &[&str]) -> Option<u64> {
    if *words.get(1)? == "unsatisfied-read" { None } else { Some(parse_hex(words.get(5)?)? >> 12) }
}

fn parse_hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()
}
