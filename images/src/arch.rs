//! The architectures a kernel can be built for, as data.

use crate::Error;

/// Architecture of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Arch {
    /// x86-64.
    #[default]
    X86_64,
}

impl Arch {
    /// All of them.
    pub const ALL: [Arch; 1] = [Arch::X86_64];

    /// The name in file names, `kernels.toml` and `required.list`; also what the kernel's Makefile
    /// takes as `ARCH=`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
        }
    }

    /// The folder under `arch/` (`SRCARCH` in the kernel's Makefile).
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86",
        }
    }

    /// `e_machine` of its ELF files (elf(5)).
    pub(crate) fn elf_machine(self) -> u16 {
        match self {
            Arch::X86_64 => 62,
        }
    }

    /// Reads what a person types: `x86_64`, `x86-64` and `amd64` are the same.
    ///
    /// # Errors
    /// [`Error::Input`] for anything else.
    pub fn parse(text: &str) -> Result<Arch, Error> {
        match text {
            "x86_64" | "x86-64" | "amd64" | "x64" => Ok(Arch::X86_64),
            other => Err(Error::Input(format!(
                "ARCH={other}: this version of sudbox judges kernels for {} only",
                Arch::ALL.map(Arch::name).join(", ")
            ))),
        }
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
        let error = Arch::parse("pdp11").unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Input);
        assert!(error.to_string().contains("pdp11"));
    }
}
