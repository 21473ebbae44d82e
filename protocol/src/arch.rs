// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The architectures of kernels that sudbox can judge.

use std::fmt;
use std::str::FromStr;

/// The architecture of a kernel, and of the guest-init that it boots.
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

impl Arch {
    /// Every architecture.
    pub const ALL: [Arch; 4] = [Arch::X86_64, Arch::Riscv64, Arch::Aarch64, Arch::S390x];

    /// The architecture of this process, or `None` if sudbox cannot judge its kernels.
    #[must_use]
    pub fn host() -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| arch.name() == std::env::consts::ARCH)
    }

    /// The machine name that `uname -m` prints; also used in file names and options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Riscv64 => "riscv64",
            Arch::Aarch64 => "aarch64",
            Arch::S390x => "s390x",
        }
    }

    /// Whether its kernels are big-endian.
    #[must_use]
    pub const fn is_big_endian(self) -> bool {
        match self {
            Arch::X86_64 | Arch::Riscv64 | Arch::Aarch64 => false,
            Arch::S390x => true,
        }
    }

    /// Other common names, such as those of the kernel's `arch/` and of Debian.
    const fn aliases(self) -> &'static [&'static str] {
        match self {
            Arch::X86_64 => &["x86-64", "amd64", "x64"],
            Arch::Riscv64 => &["riscv"],
            Arch::Aarch64 => &["arm64"],
            Arch::S390x => &["s390"],
        }
    }
}

// Does not compile until `Arch::ALL` has every architecture.
const _: fn(Arch) -> Arch = {
    const fn entry(arch: Arch) -> Arch {
        match arch {
            Arch::X86_64 => Arch::ALL[0],
            Arch::Riscv64 => Arch::ALL[1],
            Arch::Aarch64 => Arch::ALL[2],
            Arch::S390x => Arch::ALL[3],
        }
    }
    entry
};

/// The architecture of this process, or x86-64 if sudbox cannot judge its kernels.
impl Default for Arch {
    fn default() -> Arch {
        Arch::host().unwrap_or(Arch::X86_64)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Parses a name or an alias: `x86_64`, `x86-64` and `amd64` are the same.
impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(text: &str) -> Result<Arch, UnknownArch> {
        Arch::ALL
            .into_iter()
            .find(|arch| arch.name() == text || arch.aliases().contains(&text))
            .ok_or_else(|| UnknownArch(text.to_owned()))
    }
}

/// Error: no [`Arch`] has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownArch(pub String);

impl fmt::Display for UnknownArch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "architecture {}: this version of sudbox judges kernels for {} only",
            self.0,
            Arch::ALL.map(Arch::name).join(", ")
        )
    }
}

impl std::error::Error for UnknownArch {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_parsed() {
        for arch in Arch::ALL {
            assert_eq!(arch.name().parse(), Ok(arch));
        }
        assert_eq!("amd64".parse(), Ok(Arch::X86_64));
        assert_eq!("riscv".parse(), Ok(Arch::Riscv64));
    }

    #[test]
    fn an_unknown_name_is_refused_by_its_text() {
        let error = "pdp11".parse::<Arch>().unwrap_err();
        assert!(error.to_string().contains("architecture pdp11:"), "{error}");
    }

    #[test]
    fn no_name_means_two_architectures() {
        let names: Vec<&str> = Arch::ALL
            .into_iter()
            .flat_map(|arch| [&[arch.name()], arch.aliases()].concat())
            .collect();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[index + 1..].contains(name), "{name}");
        }
    }
}
