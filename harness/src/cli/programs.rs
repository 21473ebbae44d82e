// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command lines of the verbs that run a program: `sudbox exec`, `sandbox` and `kselftest`.

use super::{
    BUILD_HEADING, BuildArgs, DEFAULT_TIMEOUT, OutputFormat, VM_HEADING, VmArgs, completers,
};
use clap::{Args, Subcommand, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;
use sudbox_guest_init::sandbox::Engine;

/// `sudbox exec`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  sudbox exec -- uname -r                          on the pinned kernel
  sudbox exec --kernel 7.3 -- ./program arguments  a program of this folder on another
  sudbox exec --format json -- ./program           output and end as one JSON document

The program, the libraries it is linked with and nothing else of this machine are copied into the
VM. The program runs there as root, in the same directory, with the same environment. sudbox exits
with the status of the program, or with 128 + N if signal N killed it; without a status, with
  124  the program did not end within --timeout
  125  this kernel does not build or boot, or died while the program ran
  128  this machine can run no kernel
  129  usage, bad input: no such program, a library missing
  130  interrupted")]
pub(crate) struct ExecArgs {
    /// The kernel, as `run` takes it; the pinned one if not given
    #[arg(long, value_name = "KERNEL", add = completers::kernel())]
    pub(crate) kernel: Option<String>,

    /// Seconds that the program may take
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) timeout: Option<u64>,

    /// Form of the output
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,

    #[command(flatten)]
    pub(crate) boot: BootArgs,

    #[command(flatten, next_help_heading = VM_HEADING)]
    pub(crate) vm: VmArgs,

    #[command(flatten, next_help_heading = BUILD_HEADING)]
    pub(crate) build: BuildArgs,

    /// The program and its arguments, after `--`
    #[arg(value_name = "PROGRAM", required = true, last = true, value_hint = ValueHint::AnyPath)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SandboxVerb {
    /// Run a program of 64-bit Windows without imports, and print the transcript of its system
    /// calls
    Run(Box<SandboxArgs>),
}

/// `sudbox sandbox run`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  sudbox sandbox run --engine exclusive program.exe

This is emulation, not confinement: a hostile program can reach the Linux kernel.
Exits with 0 if the program ended, with any status; else with
    1  its tasks died before it ended
  125  the kernel does not offer the engine, or does not build or boot
  128  this machine can run no kernel
  129  usage, bad input: no program that can be run
  130  interrupted")]
pub(crate) struct SandboxArgs {
    /// The kernel, as `run` takes it; if not given, the running kernel if it offers the engine, else
    /// the pinned kernel
    #[arg(long, value_name = "KERNEL", add = completers::kernel())]
    pub(crate) kernel: Option<String>,

    /// Mechanism that intercepts system calls: exclusive or inclusive (dispatch), filter or
    /// notification (seccomp), trace (ptrace); the first that the kernel offers if not given
    #[arg(long, value_name = "NAME", value_parser = Engine::ALL.map(Engine::name))]
    pub(crate) engine: Option<String>,

    /// Form of the output
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,

    #[command(flatten)]
    pub(crate) boot: BootArgs,

    #[command(flatten, next_help_heading = VM_HEADING)]
    pub(crate) vm: VmArgs,

    #[command(flatten, next_help_heading = BUILD_HEADING)]
    pub(crate) build: BuildArgs,

    /// The program
    #[arg(value_name = "PROGRAM", value_hint = ValueHint::FilePath)]
    pub(crate) program: PathBuf,
}

/// `sudbox kselftest`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  sudbox kselftest 7.3

Exits with 0 if no test fails; else with
    1  a test fails
  124  a test takes longer than 45 seconds
  125  a test does not compile, so not everything was tested; or this kernel does not build or boot,
       or died while a test ran
  128  this machine can run no kernel, or cannot compile a static program
  129  usage, bad input: a kernel without selftests of dispatch
  130  interrupted")]
pub(crate) struct KselftestArgs {
    /// A version or a source tree, as `run` takes it; the pinned kernel if not given
    #[arg(value_name = "KERNEL", add = completers::kernel(), env = "SUDBOX_KERNEL", hide_env = true)]
    pub(crate) kernel: Option<String>,

    /// Form of the output
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,

    #[command(flatten)]
    pub(crate) boot: BootArgs,

    #[command(flatten, next_help_heading = VM_HEADING)]
    pub(crate) vm: VmArgs,

    #[command(flatten, next_help_heading = BUILD_HEADING)]
    pub(crate) build: BuildArgs,
}

/// Options about the boot before a program runs.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct BootArgs {
    /// Seconds without console output after which a boot is a hang
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) boot_timeout: u64,
}
