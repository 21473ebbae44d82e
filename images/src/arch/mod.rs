// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Data about each architecture for building kernels, one file per architecture.

use crate::packages::Packages;

pub use sudbox_protocol::Arch;

mod aarch64;
mod riscv64;
mod s390x;
mod x86_64;

pub(crate) use x86_64::pvh_entry_works;

/// The data of an architecture that a kernel's build needs.
pub(crate) struct Facts {
    /// The pinned kernel (`kernels.toml`) that an empty `KERNEL=` names.
    pub(crate) default_kernel: &'static str,
    /// Value of the kernel Makefile's `ARCH=`.
    pub(crate) make_arch: &'static str,
    /// The folder below `arch/` (`SRCARCH` in the kernel's Makefile).
    pub(crate) source_folder: &'static str,
    /// `e_machine` of the architecture's ELF files (elf(5)).
    pub(crate) elf_machine: u16,
    /// The configuration fragment for every flavour: file name and text.
    pub(crate) fragment: (&'static str, &'static str),
    /// The image to boot, for a kernel with this final .config.
    pub(crate) image: fn(dot_config: &str) -> BootImage,
    /// Value of `CROSS_COMPILE=` on machines of another architecture.
    pub(crate) cross_compile: &'static str,
    /// Debian's name of the architecture.
    pub(crate) debian_arch: &'static str,
    /// The packages with the cross compiler.
    pub(crate) compiler_packages: Packages,
}

/// The file of a build to boot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BootImage {
    /// Target of make.
    pub(crate) target: &'static str,
    /// Path in make's output directory.
    pub(crate) file: &'static str,
    /// Whether the file is an ELF file.
    pub(crate) is_elf: bool,
}

impl BootImage {
    /// The linked kernel, an ELF file.
    pub(crate) const VMLINUX: BootImage =
        BootImage { target: "vmlinux", file: "vmlinux", is_elf: true };
}

/// Returns the data of an architecture.
pub(crate) fn facts(arch: Arch) -> &'static Facts {
    match arch {
        Arch::X86_64 => &x86_64::FACTS,
        Arch::Riscv64 => &riscv64::FACTS,
        Arch::Aarch64 => &aarch64::FACTS,
        Arch::S390x => &s390x::FACTS,
    }
}
