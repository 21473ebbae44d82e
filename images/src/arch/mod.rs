// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The architectures that kernels are built for: one file of data for each.

use crate::packages::Packages;

pub use sudbox_protocol::Arch;

mod aarch64;
mod riscv64;
mod s390x;
mod x86_64;

pub(crate) use x86_64::pvh_entry_works;

/// The data of an architecture.
pub(crate) struct Facts {
    /// The pinned kernel (`kernels.toml`) that an empty `KERNEL=` names.
    pub(crate) default_kernel: &'static str,
    /// Its name for the kernel's Makefile, `ARCH=`.
    pub(crate) make: &'static str,
    /// The folder under `arch/` (`SRCARCH` in the kernel's Makefile).
    pub(crate) folder: &'static str,
    /// `e_machine` of its ELF files (elf(5)).
    pub(crate) elf_machine: u16,
    /// The fragment of every flavour: the file's name and text.
    pub(crate) fragment: (&'static str, &'static str),
    /// The image that a kernel with this final .config is booted from.
    pub(crate) image: fn(dot_config: &str) -> Image,
    /// Prefix of the compiler on machines of another architecture, as `CROSS_COMPILE=` takes it.
    pub(crate) cross_compile: &'static str,
    /// Its name in Debian.
    pub(crate) debian: &'static str,
    /// The packages of that compiler.
    pub(crate) compiler: Packages,
}

/// A file that a kernel is booted from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    /// The goal that make is given.
    pub(crate) target: &'static str,
    /// Its path in the output directory of make.
    pub(crate) file: &'static str,
    /// Whether it is an ELF file.
    pub(crate) elf: bool,
}

impl Image {
    /// The ELF file that every kernel is linked to.
    pub(crate) const VMLINUX: Image = Image { target: "vmlinux", file: "vmlinux", elf: true };
}

/// The data of this architecture.
pub(crate) fn facts(arch: Arch) -> &'static Facts {
    match arch {
        Arch::X86_64 => &x86_64::FACTS,
        Arch::Riscv64 => &riscv64::FACTS,
        Arch::Aarch64 => &aarch64::FACTS,
        Arch::S390x => &s390x::FACTS,
    }
}
