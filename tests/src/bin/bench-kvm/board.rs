// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a measured machine is on each architecture.

use sudbox_images::Arch;
use sudbox_tests::level1::host::Host;

mod aarch64;
mod x86_64;

/// A machine to measure, and how it shows what happens in it.
pub(crate) struct Board {
    pub(crate) host: &'static Host,
    /// QEMU's machine, without its memory.
    pub(crate) machine: &'static str,
    /// What QEMU's machine needs on the kernel's command line.
    pub(crate) words: &'static str,
    /// The event by which the guest's init marks itself (tests/bench/mark.c), and how that begins.
    pub(crate) mark: (&'static str, &'static str),
    /// Events that say what exits were for.
    pub(crate) accesses: &'static [&'static str],
    /// Counters of KVM in debugfs, of all VMs that there are.
    pub(crate) counters: &'static [&'static str],
    /// Exits that depend on how long a boot lasts, and those for memory, by [`Board::reason`].
    pub(crate) aside: &'static [&'static str],
    /// The reason in what `kvm_exit` says.
    pub(crate) reason: fn(&str) -> Option<&str>,
    /// What an event of [`Board::accesses`] shows an access to. `None` if it is shown a second time.
    pub(crate) accessed: fn(&str) -> Option<String>,
}

/// That of this architecture, if the microVM is for it.
pub(crate) fn of(arch: Arch) -> Option<&'static Board> {
    [&x86_64::BOARD, &aarch64::BOARD].into_iter().find(|board| board.host.arch == arch)
}

/// The page of an access that is shown as `mmio write len 4 gpa 0xfec00010 val 0x3e`; `None` of the
/// question that stands before user space's answer, which is a `mmio read`.
fn page(words: &[&str]) -> Option<u64> {
    if *words.get(1)? == "unsatisfied-read" { None } else { Some(hex(words.get(5)?)? >> 12) }
}

fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()
}
