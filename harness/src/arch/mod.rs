// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The architectures of kernels as each room knows them, and what the command needs for them. All
//! that differs is data in one file each.

mod aarch64;
mod riscv64;
mod s390x;
mod x86_64;

use sudbox_images::{Arch, Packages};

/// What differs between architectures.
pub(crate) struct Target {
    /// As QEMU and the microVM know it.
    pub(crate) machine: sudbox_vmm::machine::Arch,
    /// As the case table knows it.
    pub(crate) cases: sudbox_guest_init::arch::Arch,
    /// Where its QEMU is from.
    pub(crate) qemu: Packages,
    /// The Rust target of its guest-init.
    pub(crate) rust: &'static str,
    /// What links that on other machines.
    pub(crate) linker: &'static str,
    /// Where the linker is from, with a static C library.
    pub(crate) libc: Packages,
    /// How often in a second the counter of QEMU's processor ticks that benchmarks read.
    pub(crate) counter_hertz: u64,
    /// Instructions of the loop around what benchmarks repeat, each time (`SUDBOX_REPEAT`).
    pub(crate) loop_instructions: u32,
}

/// That of an architecture.
pub(crate) fn of(arch: Arch) -> &'static Target {
    match arch {
        Arch::X86_64 => &x86_64::TARGET,
        Arch::Riscv64 => &riscv64::TARGET,
        Arch::Aarch64 => &aarch64::TARGET,
        Arch::S390x => &s390x::TARGET,
    }
}

/// Whether kernels of this architecture run on this machine's own processor.
pub(crate) fn is_own(arch: Arch) -> bool {
    Arch::host() == Some(arch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rooms_mean_the_same() {
        for arch in Arch::ALL {
            let target = of(arch);
            assert_eq!(target.cases.name(), arch.name());
            assert!(target.rust.starts_with(arch.name().trim_end_matches("64")));
            assert!(sudbox_vmm::qemu::program(target.machine).ends_with(arch.name()));
        }
    }
}
