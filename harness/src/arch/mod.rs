// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Data about guests, with one file for each architecture: packages, toolchain, emulated counter.

mod aarch64;
mod riscv64;
mod s390x;
mod x86_64;

use crate::version::Version;
use sudbox_images::Packages;
use sudbox_protocol::Arch;

/// The data of an architecture.
pub(crate) struct Target {
    /// The packages with QEMU for the architecture.
    pub(crate) qemu_packages: Packages,
    /// The Rust target for which guest-init is built.
    pub(crate) rust_target: &'static str,
    /// The cross C compiler that links guest-init.
    pub(crate) linker: &'static str,
    /// The packages with the linker and a static C library.
    pub(crate) linker_packages: Packages,
    /// Frequency in Hz of the counter that benchmarks read, on the CPU that QEMU emulates.
    pub(crate) counter_hertz: u64,
    /// Instructions per iteration of the loop in benchmarks, without its body (`SUDBOX_REPEAT`).
    pub(crate) loop_instructions: u32,
    /// The first release that offers dispatch in every configuration; `None` if the release alone
    /// does not decide whether a kernel has dispatch.
    pub(crate) dispatch_since: Option<Version>,
}

/// Returns the data of an architecture.
pub(crate) fn target_of(arch: Arch) -> &'static Target {
    match arch {
        Arch::X86_64 => &x86_64::TARGET,
        Arch::Riscv64 => &riscv64::TARGET,
        Arch::Aarch64 => &aarch64::TARGET,
        Arch::S390x => &s390x::TARGET,
    }
}

/// Whether kernels of this architecture run on this machine's own processor.
pub(crate) fn is_host_arch(arch: Arch) -> bool {
    Arch::host() == Some(arch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_after_their_architecture() {
        for arch in Arch::ALL {
            let target = target_of(arch);
            assert!(target.rust_target.starts_with(arch.name().trim_end_matches("64")));
            assert!(sudbox_vmm::qemu::program(arch).ends_with(arch.name()));
        }
    }
}
