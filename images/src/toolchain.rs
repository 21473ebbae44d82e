// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The compiler of a kernel build, and the tools that builds need.

use std::process::Command;

pub(crate) use sudbox_confinement::find_program;

use crate::arch::{self, Arch};
use crate::command;
use crate::error::Error;
use crate::file_owner::Owner;
use crate::packages::Tool;
use crate::packages::{Packages, packages};

/// The compiler settings of a request. `None` means unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toolchain {
    /// `CC=`, such as `gcc-13` or `ccache clang`.
    pub cc: Option<String>,
    /// `LLVM=`: `1`, `-17` or a directory ending in `/` (Documentation/kbuild/llvm.rst).
    pub llvm: Option<String>,
    /// `CROSS_COMPILE=`, such as `x86_64-linux-gnu-`.
    pub cross_compile: Option<String>,
    /// `KCFLAGS=`: more flags for the kernel's C files.
    pub kcflags: Option<String>,
    /// `JOBS=`: the number of parallel jobs; `None` for the number of processors.
    pub jobs: Option<u32>,
}

const NO_PACKAGES: Packages = packages("", "", "", "");
const GCC: Packages = packages("gcc", "gcc", "gcc", "gcc");
const LIBC: Packages = packages("libc6-dev", "glibc-devel", "glibc", "glibc-devel");
const LIBELF: Packages = packages("libelf-dev", "elfutils-libelf-devel", "libelf", "libelf-devel");

/// Programs that every kernel build runs.
const PROGRAMS: [(&str, Packages); 6] = [
    ("make", packages("make", "make", "make", "make")),
    ("ld", packages("binutils", "binutils", "binutils", "binutils")),
    ("flex", packages("flex", "flex", "flex", "flex")),
    ("bison", packages("bison", "bison", "bison", "bison")),
    ("bc", packages("bc", "bc", "bc", "bc")),
    ("cmp", packages("diffutils", "diffutils", "diffutils", "diffutils")),
];

/// tar, for unpacking releases.
pub(crate) const TAR: (&str, Packages) = ("tar", packages("tar", "tar", "tar", "tar"));

/// xz, for decompressing releases.
pub(crate) const XZ: (&str, Packages) = ("xz", packages("xz-utils", "xz", "xz", "xz"));

/// curl, for downloading from the upstream archive. Not required on machines with apt.
pub(crate) const CURL: (&str, Packages) = ("curl", packages("curl", "curl", "curl", "curl"));

/// gpgv, for checking the signatures of the upstream archive. Not required on machines with apt.
pub(crate) const GPGV: (&str, Packages) = ("gpgv", packages("gpgv", "gnupg2", "gnupg", "gpg2"));

/// git, for reading the git tree in `LINUX=`.
pub(crate) const GIT: (&str, Packages) = ("git", packages("git", "git", "git", "git-core"));

/// patch, for applying patches.
pub(crate) const PATCH: (&str, Packages) = ("patch", packages("patch", "patch", "patch", "patch"));

/// Whether a program is in PATH.
#[must_use]
pub fn is_on_path(program: &str) -> bool {
    find_program(program).is_some()
}

/// The programs that are not installed.
pub(crate) fn missing_programs(programs: &[(&str, Packages)]) -> Vec<Tool> {
    let missing = programs.iter().filter(|(name, _)| find_program(name).is_none());
    missing.map(|(name, packages)| Tool { name: (*name).into(), packages: *packages }).collect()
}

impl Toolchain {
    /// The toolchain for kernels of an architecture. Adds the default cross compiler if the
    /// architecture is not that of this machine and no compiler is set.
    pub(crate) fn for_arch(&self, arch: Arch) -> Toolchain {
        let mut toolchain = self.clone();
        let is_set = self.cc.is_some() || self.llvm.is_some() || self.cross_compile.is_some();
        if !is_set && Arch::host() != Some(arch) {
            toolchain.cross_compile = Some(arch::facts(arch).cross_compile.to_owned());
        }
        toolchain
    }

    /// The compiler's command, without ccache.
    pub(crate) fn compiler(&self) -> String {
        if let Some(cc) = &self.cc {
            return cc.clone();
        }
        match self.llvm.as_deref() {
            Some(path) if path.ends_with('/') => format!("{path}clang"),
            Some(suffix) if suffix.starts_with('-') => format!("clang{suffix}"),
            Some(_) => "clang".into(),
            None => format!("{}gcc", self.cross_compile.as_deref().unwrap_or_default()),
        }
    }

    /// The first line of the compiler's `--version`, which is part of cache keys; `None` if the
    /// compiler cannot be run.
    pub(crate) fn version_line(&self, owner: Owner) -> Option<String> {
        let compiler = self.compiler();
        let mut words = compiler.split_whitespace();
        let mut command = command::clean(words.next()?, owner);
        command.args(words).arg("--version");
        let text = command::stdout_of(command)?;
        text.lines().next().map(str::to_owned)
    }

    /// The name of objcopy.
    pub(crate) fn objcopy(&self) -> String {
        match self.llvm.as_deref() {
            Some(path) if path.ends_with('/') => format!("{path}llvm-objcopy"),
            Some(suffix) if suffix.starts_with('-') => format!("llvm-objcopy{suffix}"),
            Some(_) => "llvm-objcopy".into(),
            None => format!("{}objcopy", self.cross_compile.as_deref().unwrap_or_default()),
        }
    }

    /// Adds the settings to the command line of make.
    pub(crate) fn add_make_arguments(&self, make: &mut Command) {
        if let Some(llvm) = &self.llvm {
            make.arg(format!("LLVM={llvm}"));
        }
        if let Some(prefix) = &self.cross_compile {
            make.arg(format!("CROSS_COMPILE={prefix}"));
        }
        if let Some(flags) = &self.kcflags {
            make.arg(format!("KCFLAGS={flags}"));
        }
        if let Some(cc) = &self.cc {
            make.arg(format!("CC={cc}"));
        } else if self.llvm.is_none() && find_program("ccache").is_some() {
            make.arg(format!("CC=ccache {}", self.compiler())).arg("HOSTCC=ccache gcc");
        }
    }

    /// The number of jobs that make runs.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.map_or_else(
            || std::thread::available_parallelism().map_or(1, usize::from),
            |jobs| jobs.max(1) as usize,
        )
    }

    /// The missing tools for a build. Runs the compiler up to three times.
    pub(crate) fn missing_tools(&self, owner: Owner) -> Vec<Tool> {
        let mut missing = missing_programs(&PROGRAMS);
        let host_compiler = if self.llvm.is_some() { self.compiler() } else { "gcc".into() };
        if self.version_line(owner).is_none() {
            missing.push(self.missing_compiler());
        }
        if self.llvm.is_none() && find_program("gcc").is_none() && self.compiler() != "gcc" {
            missing.push(Tool { name: "gcc, for the build's own tools".into(), packages: GCC });
        }
        if missing.iter().any(|tool| tool.packages == GCC) {
            // Without a compiler, headers cannot be checked, so assume that they are missing too.
            missing.push(Tool { name: "the C library's headers".into(), packages: LIBC });
            missing.push(Tool { name: "the headers of libelf".into(), packages: LIBELF });
            return missing;
        }
        for (header, name, packages) in [
            ("stdio.h", "the C library's headers", LIBC),
            ("gelf.h", "the headers of libelf", LIBELF),
        ] {
            let mut probe = command::clean(&host_compiler, owner);
            probe.args(["-E", "-x", "c", "-include", header, "/dev/null", "-o", "/dev/null"]);
            if command::stdout_of(probe).is_none() {
                missing.push(Tool { name: name.into(), packages });
            }
        }
        missing
    }

    /// The compiler as a missing tool.
    fn missing_compiler(&self) -> Tool {
        let name = self.compiler();
        let packages = match (&self.cc, &self.llvm, self.cross_compile.as_deref()) {
            (None, None, None | Some("")) => GCC,
            (None, None, Some(prefix)) => {
                let archs = Arch::ALL.map(arch::facts).into_iter();
                let matching = archs.filter(|facts| facts.cross_compile == prefix);
                matching.map(|facts| facts.compiler_packages).next().unwrap_or(NO_PACKAGES)
            }
            (None, Some(_), _) => {
                packages("clang lld llvm", "clang lld llvm", "clang lld llvm", "clang lld llvm")
            }
            // The package of a compiler that the user named is unknown.
            _ => NO_PACKAGES,
        };
        Tool { name, packages }
    }
}

/// The error for missing tools.
pub(crate) fn missing_tools_error(missing: &[Tool]) -> Error {
    let names: Vec<&str> = missing.iter().map(|tool| tool.name.as_str()).collect();
    let mut packages: Vec<&str> =
        missing.iter().map(|tool| tool.packages.apt).filter(|name| !name.is_empty()).collect();
    packages.dedup();
    let advice = if packages.is_empty() {
        "install what is missing, or name another with CC=, LLVM= or CROSS_COMPILE=".to_owned()
    } else {
        format!("on Debian: apt-get install --no-install-recommends {}", packages.join(" "))
    };
    Error::ToolsMissing { names: names.join(", "), advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_chosen_as_by_kbuild() {
        let unset = Toolchain::default;
        let compiler = |toolchain: Toolchain| toolchain.compiler();
        assert_eq!(compiler(unset()), "gcc");
        for (llvm, expected) in
            [("1", "clang"), ("-17", "clang-17"), ("/opt/llvm/bin/", "/opt/llvm/bin/clang")]
        {
            assert_eq!(compiler(Toolchain { llvm: Some(llvm.into()), ..unset() }), expected);
        }
        let cross = Toolchain { cross_compile: Some("x-".into()), ..unset() };
        assert_eq!(compiler(cross), "x-gcc");
        let ccache = Toolchain { cc: Some("ccache gcc-13".into()), ..unset() };
        assert_eq!(compiler(ccache), "ccache gcc-13");
    }

    #[test]
    fn a_missing_compiler_is_a_missing_tool() {
        let toolchain = Toolchain { cc: Some("gcc-99".into()), ..Toolchain::default() };
        assert_eq!(toolchain.version_line(Owner::default()), None);
        let missing = toolchain.missing_tools(Owner::default());
        assert!(missing.iter().any(|tool| tool.name == "gcc-99"), "{missing:?}");
        let error = missing_tools_error(&missing);
        assert_eq!(error.fault(), crate::Fault::Machine);
        assert!(error.to_string().contains("gcc-99"));
    }

    #[test]
    fn the_error_for_missing_tools_names_their_packages() {
        let flex = Tool { name: "flex".into(), packages: PROGRAMS[2].1 };
        assert!(missing_tools_error(&[flex]).to_string().ends_with("--no-install-recommends flex"));
    }
}
