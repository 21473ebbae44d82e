// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The options about VMs and about building a kernel, which several verbs have.

use super::{Backend, DEFAULT_MEMORY, completers};
use clap::{Args, ValueEnum, ValueHint};
use serde::{Deserialize, Serialize};

/// Options about the VM.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct VmArgs {
    /// Backend that runs the kernel
    #[arg(long, value_enum, default_value_t = Backend::AUTO)]
    pub(crate) backend: Backend,

    /// vCPUs of the VM
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) cpus: u8,

    /// Guest memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_MEMORY, value_parser = clap::value_parser!(u32).range(64..=65536))]
    pub(crate) memory: u32,

    /// CPU model that QEMU emulates, by its QEMU name
    #[arg(long, value_name = "MODEL")]
    pub(crate) cpu_model: Option<String>,

    /// Show the guest's console while it runs, on stderr
    #[arg(long)]
    pub(crate) console: bool,

    /// Wait for gdb before the first instruction; prints the gdb command
    #[arg(long)]
    pub(crate) gdb: bool,

    /// More boot arguments
    #[arg(
        long,
        value_name = "ARGS",
        allow_hyphen_values = true,
        value_parser = boot_arguments
    , env = "SUDBOX_APPEND", hide_env = true)]
    pub(crate) append: Option<String>,
}

impl VmArgs {
    /// A text that identifies the VM, except for its backend, in keys of the cache.
    pub(crate) fn identity(&self) -> String {
        let (cpu_model, append) = (self.cpu_model.as_deref(), self.append.as_deref());
        let texts = [cpu_model, append].map(Option::unwrap_or_default);
        format!("{} {} {} {}", self.cpus, self.memory, texts[0], texts[1])
    }
}

/// Options about the kernel build.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BuildArgs {
    /// Architecture of the kernel, if not this machine's own
    #[arg(long, value_name = "ARCH", add = completers::arch(), env = "SUDBOX_ARCH", hide_env = true)]
    pub(crate) arch: Option<String>,

    /// Flavour of the configuration: default, full, debug, coverage, kvm
    #[arg(long, value_name = "NAME", add = completers::flavour(), env = "SUDBOX_FLAVOUR", hide_env = true)]
    pub(crate) flavour: Option<String>,

    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) source: SourceArgs,
}

/// Options about the kernel build other than architecture and flavour.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SourceArgs {
    /// Git tree in which a version is looked up before any other source
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, env = "SUDBOX_LINUX", hide_env = true)]
    pub(crate) linux: Option<String>,

    /// Fail if exactly this release is not available, instead of taking a near one
    #[arg(long, env = "SUDBOX_EXACT", hide_env = true)]
    pub(crate) exact: bool,

    /// Whether the build is shut off from your files and the network
    #[arg(long, value_enum, value_name = "WHEN", env = "SUDBOX_CONTAIN", hide_env = true)]
    pub(crate) contain: Option<Contain>,

    /// Configuration fragment, applied last; may be given again
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, env = "SUDBOX_CONFIG", hide_env = true)]
    pub(crate) config: Vec<String>,

    #[command(flatten)]
    pub(crate) toolchain: ToolchainArgs,
}

/// Values of `--contain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Contain {
    /// As far as this machine allows; a note names missing parts (default)
    Auto,
    /// Fully, or fail
    Require,
    /// Not at all: the build has all your permissions
    Off,
}

/// Options for the kernel's make. The environment of make has no variables of the user.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ToolchainArgs {
    /// C compiler for the kernel
    #[arg(long, value_name = "CC", env = "SUDBOX_CC", hide_env = true)]
    pub(crate) cc: Option<String>,

    /// The kernel's LLVM=: 1, a version suffix or a directory
    #[arg(
        long,
        value_name = "LLVM",
        allow_hyphen_values = true,
        env = "SUDBOX_LLVM",
        hide_env = true
    )]
    pub(crate) llvm: Option<String>,

    /// Prefix of the cross toolchain
    #[arg(long, value_name = "PREFIX", env = "SUDBOX_CROSS_COMPILE", hide_env = true)]
    pub(crate) cross_compile: Option<String>,

    /// More flags for the C compiler
    #[arg(
        long,
        value_name = "FLAGS",
        allow_hyphen_values = true,
        env = "SUDBOX_KCFLAGS",
        hide_env = true
    )]
    pub(crate) kcflags: Option<String>,

    /// Compile jobs; one for each CPU if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), env = "SUDBOX_JOBS", hide_env = true)]
    pub(crate) jobs: Option<u32>,
}

/// Parses boot arguments.
fn boot_arguments(text: &str) -> Result<String, &'static str> {
    if text.split_whitespace().any(|word| word == "--") {
        return Err(
            "the kernel passes arguments after `--` to init, and guest-init takes none: leave the \
             `--` out",
        );
    }
    Ok(text.to_owned())
}
