// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The architectures a kernel can be built for. All that differs between them is data in one file
//! each.

use crate::error::Error;
use crate::packages::Packages;

mod aarch64;
mod riscv64;
mod s390x;
mod x86_64;

/// Architecture of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// x86-64.
    X86_64,
    /// RISC-V, 64 bits, little-endian.
    Riscv64,
    /// ARM, 64 bits, little-endian.
    Aarch64,
    /// IBM Z, 64 bits, big-endian.
    S390x,
}

/// What differs between architectures.
pub(crate) struct Facts {
    /// The name in file names, `kernels.toml` and `required.list`, and what `uname -m` says.
    pub(crate) name: &'static str,
    /// What else people type for it.
    pub(crate) aliases: &'static [&'static str],
    /// What the kernel's Makefile takes as `ARCH=`.
    pub(crate) make: &'static str,
    /// The folder under `arch/` (`SRCARCH` in the kernel's Makefile).
    pub(crate) folder: &'static str,
    /// `e_machine` of its ELF files (elf(5)).
    pub(crate) elf_machine: u16,
    /// The fragment of every flavour: the file's name and text.
    pub(crate) fragment: (&'static str, &'static str),
    /// What a kernel with this final .config is booted from.
    pub(crate) image: fn(dot_config: &str) -> Image,
    /// Prefix of the compiler on machines of another architecture, as `CROSS_COMPILE=` takes it.
    pub(crate) cross_compile: &'static str,
    /// What Debian calls it.
    pub(crate) debian: &'static str,
    /// Where that compiler is from.
    pub(crate) compiler: Packages,
}

/// What a kernel is booted from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    /// The goal that make is given.
    pub(crate) target: &'static str,
    /// Where make leaves it; it is stripped if it is an ELF file.
    pub(crate) file: &'static str,
    /// Whether it is an ELF file.
    pub(crate) elf: bool,
}

impl Image {
    /// The ELF file that every kernel is linked to.
    pub(crate) const VMLINUX: Image = Image { target: "vmlinux", file: "vmlinux", elf: true };
}

/// What is meant where none is named: this machine's own, and x86-64 on any other.
impl Default for Arch {
    fn default() -> Arch {
        Arch::host().unwrap_or(Arch::X86_64)
    }
}

impl Arch {
    /// All of them.
    pub const ALL: [Arch; 4] = [Arch::X86_64, Arch::Riscv64, Arch::Aarch64, Arch::S390x];

    /// What differs.
    pub(crate) fn facts(self) -> &'static Facts {
        match self {
            Arch::X86_64 => &x86_64::FACTS,
            Arch::Riscv64 => &riscv64::FACTS,
            Arch::Aarch64 => &aarch64::FACTS,
            Arch::S390x => &s390x::FACTS,
        }
    }

    /// The architecture that this program runs on, if it is one of them.
    #[must_use]
    pub fn host() -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| arch.name() == std::env::consts::ARCH)
    }

    /// The name in file names, `kernels.toml` and `required.list`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Reads what a person types: `x86_64`, `x86-64` and `amd64` are the same.
    ///
    /// # Errors
    /// [`Error::Input`] for anything else.
    pub fn parse(text: &str) -> Result<Arch, Error> {
        let found = Arch::ALL.into_iter().find(|arch| {
            let facts = arch.facts();
            facts.name == text || facts.aliases.contains(&text)
        });
        found.ok_or_else(|| {
            Error::Input(format!(
                "ARCH={text}: this version of sudbox judges kernels for {} only",
                Arch::ALL.map(Arch::name).join(", ")
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_refused() {
        for arch in Arch::ALL {
            assert_eq!(Arch::parse(arch.name()).unwrap(), arch);
        }
        assert_eq!(Arch::parse("amd64").unwrap(), Arch::X86_64);
        assert_eq!(Arch::parse("riscv").unwrap(), Arch::Riscv64);
        let error = Arch::parse("pdp11").unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Input);
        assert!(error.to_string().contains("pdp11"));
    }
}
