//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

/// Judges whether a Linux kernel keeps the promises of Syscall User Dispatch.
#[derive(Debug, Parser)]
#[command(name = "sudbox", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "\
Exit codes of `run`, as `git bisect run` understands them:
    0  every selected case as expected
    1  a selected case failed, crashed or hung
  125  this kernel cannot be judged: it does not build, or does not boot
  128  this machine can judge no kernel: no source, no backend, disk full, a tool missing
  129  usage, bad input
  130  interrupted")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Find, configure, build and boot a kernel, run the cases in it, and judge it
    Run(Box<RunArgs>),
    /// Say what this machine can do and what is missing
    Doctor,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Form of the report on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// Kernel Test Anything Protocol, version 1
    Ktap,
    /// JUnit XML
    Junit,
    /// All that is known
    Json,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    /// A version (v6.12.5 exact, 6.12 newest of its series), a source tree, a vmlinux or a
    /// bzImage; the pinned kernel if not given
    #[arg(value_name = "KERNEL", value_hint = ValueHint::AnyPath, default_value = "")]
    pub(crate) kernel: String,

    /// Cases to run: globs over ids, groups, `core`, `all`; separated by commas or spaces
    #[arg(long, value_name = "GLOBS", default_value = "")]
    pub(crate) cases: String,

    /// List the selected cases and stop
    #[arg(long)]
    pub(crate) list: bool,

    /// Form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    /// Exit with 1 also for `fixed` and `unmet`
    #[arg(long)]
    pub(crate) strict: bool,

    /// Run every case this many times and report its worst outcome
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) repeat: u32,

    /// vCPUs of the VM
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) cpus: u8,

    /// Guest memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(64..=65536))]
    pub(crate) memory: u32,

    /// CPU model, in QEMU's words
    #[arg(long, value_name = "MODEL", default_value = "", hide_default_value = true)]
    pub(crate) cpu_model: String,

    /// Seconds without progress after which a boot is a hang; a case has a sixth of it
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,

    /// Show the guest's console while it runs, on stderr
    #[arg(long)]
    pub(crate) console: bool,

    /// Wait for a debugger before the first instruction; prints the line to type
    #[arg(long)]
    pub(crate) gdb: bool,

    /// Architecture of the kernel
    #[arg(long, value_name = "ARCH", default_value = "", hide_default_value = true)]
    pub(crate) arch: String,

    /// Flavour of the configuration: default, full
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) flavour: String,

    /// A git tree to take versions from, before any other source
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true, value_hint = ValueHint::DirPath)]
    pub(crate) linux: String,

    /// Configuration fragment that comes last; may be given again
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Vec<String>,

    /// More boot arguments
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub(crate) append: String,

    #[command(flatten)]
    pub(crate) toolchain: ToolchainArgs,
}

/// What the kernel's own build takes; nothing else of the environment reaches it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ToolchainArgs {
    /// C compiler for the kernel
    #[arg(long, value_name = "CC", default_value = "", hide_default_value = true)]
    pub(crate) cc: String,

    /// As the kernel's LLVM=: 1, a version suffix or a directory
    #[arg(
        long,
        value_name = "LLVM",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub(crate) llvm: String,

    /// Prefix of the cross toolchain
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub(crate) cross_compile: String,

    /// More flags for the C compiler
    #[arg(
        long,
        value_name = "FLAGS",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub(crate) kcflags: String,

    /// Compile jobs; one for each CPU if not given
    #[arg(long, value_name = "N", default_value = "", hide_default_value = true)]
    pub(crate) jobs: String,
}

/// `None` for what make passes on unset.
pub(crate) fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// A path as typed, with a leading `~` meaning the home directory.
pub(crate) fn path(text: &str) -> PathBuf {
    match text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        Some(rest) => std::env::home_dir()
            .unwrap_or_else(|| PathBuf::from("~"))
            .join(rest.trim_start_matches('/')),
        None => PathBuf::from(text),
    }
}
