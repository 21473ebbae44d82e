// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command line.

mod backend;
mod bench;
mod bisect;
mod campaign;
mod completers;
mod diff;
mod formats;
mod kernel;
mod programs;
mod record;
mod report;
mod user_options;

pub(crate) use backend::Backend;
pub(crate) use bench::*;
pub(crate) use bisect::*;
pub(crate) use campaign::CampaignArgs;
pub(crate) use diff::*;
pub(crate) use formats::OutputFormat;
use formats::form_parser;
pub(crate) use kernel::*;
pub(crate) use programs::*;
pub(crate) use record::*;
pub(crate) use report::*;
pub(crate) use user_options::{OptionSubject, UserOptions};

use clap::{Args, Parser, Subcommand, ValueHint};
use std::path::{Path, PathBuf};
use sudbox_images::ACCEPTED_REFERENCES;
use sudbox_report::kernels::KernelList;
use sudbox_report::machine::MachineReport;
use sudbox_report::matrix::Matrix;
use sudbox_report::{Form, Verdict};

/// Default of `--timeout`, in seconds.
pub(crate) const DEFAULT_TIMEOUT: u64 = 60;

/// Default of `--memory`, in MiB.
pub(crate) const DEFAULT_MEMORY: u32 = 256;

/// Help heading of the options about VMs.
const VM_HEADING: &str = "VM";

/// Help heading of the options about building a kernel.
const BUILD_HEADING: &str = "Kernel build";

/// Judges whether a Linux kernel keeps the promises of Syscall User Dispatch.
#[derive(Debug, Parser)]
#[command(name = "sudbox", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "\
Exit codes of `run`, as `git bisect run` understands them:
    0  every selected case as expected
    1  a selected case failed, crashed, hung or changed
  125  this kernel cannot be judged: it does not build, or does not boot
  128  this machine can judge no kernel: no source, no backend, disk full, a tool missing
  129  usage, bad input
  130  interrupted

Environment:
  SUDBOX_CACHE  folder for sources, kernels and reports; ~/.cache/sudbox if not set
  NO_COLOR      no colour on a terminal")]
pub(crate) struct Cli {
    /// Print no progress, only the report and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Say more: the report names every case that passed
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Find, configure, build and boot a kernel, run the cases in it, and judge it
    Run(Box<RunArgs>),
    /// Judge many kernels and show what differs between neighbours
    Matrix(Box<MatrixArgs>),
    /// Show, list, compare over time, remove and merge the reports of earlier runs
    #[command(after_help = "\
Examples:
  sudbox report list                        the runs, with their numbers
  sudbox report show 3 --format html        any of them in any form
  sudbox report history 'selector/*'        outcomes over time; flaky cases are named

Exits with 0; with 129 if there is no such run or case.")]
    Report {
        /// What to do
        #[command(subcommand)]
        verb: ReportVerb,
    },
    /// Measure the cost of dispatch and of its alternatives on a kernel
    Bench(Box<BenchArgs>),
    /// Find the commit that changed how a kernel keeps its promises
    Bisect(Box<BisectArgs>),
    /// Record what user space can see of two kernels, and say what differs
    Diff(Box<DiffArgs>),
    /// Run random walks and random points of the grid for hours, and file the failures
    Campaign(Box<CampaignArgs>),
    /// Record what user space can see of kernels, for verdicts on others
    Record(Box<RecordArgs>),
    /// Boot a kernel and run a program of this machine on it
    Exec(Box<ExecArgs>),
    /// Run foreign programs whose system calls are emulated
    Sandbox {
        /// What to do
        #[command(subcommand)]
        verb: SandboxVerb,
    },
    /// Build a kernel's own selftests of dispatch and run them on it
    Kselftest(Box<KselftestArgs>),
    /// List the kernels that are pinned, in the cache and on offer
    Kernels(KernelsArgs),
    /// Show what this machine can do and what is missing
    #[command(after_help = "\
Exits with 0 if a kernel can be built and judged here, else with 128.")]
    Doctor {
        /// Form of the report
        #[arg(long, value_name = "FORMAT", value_parser = form_parser::<MachineReport>(), default_value = "table")]
        format: &'static Form<MachineReport>,
    },
    /// Install missing tools; in CI, also open /dev/kvm to all users
    #[command(after_help = "\
Exits with 0 if a kernel can be built and judged here afterwards, else with 128.")]
    Setup {
        /// Form of the report
        #[arg(long, value_name = "FORMAT", value_parser = form_parser::<MachineReport>(), default_value = "table")]
        format: &'static Form<MachineReport>,
    },
    /// Print the completion script of a shell, or install all scripts and man pages
    #[command(arg_required_else_help = true)]
    Completions {
        /// The shell
        #[arg(required_unless_present = "install")]
        shell: Option<clap_complete::Shell>,

        /// Install the man pages and the scripts for bash, zsh and fish for this user
        #[arg(long, conflicts_with = "shell")]
        install: bool,
    },
    /// Print the man page of this command, or of a verb
    Man {
        /// The verb
        verb: Option<String>,
    },
}

/// `sudbox run`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  sudbox run                                    every case on the pinned kernel
  sudbox run 6.12 --cases 'core !ptrace'        the newest 6.12, some cases
  sudbox run ~/src/linux --console              a source tree, its console shown
  git bisect run sudbox run . --cases selector  in a source tree

Exit codes, as `git bisect run` understands them:
    0  every selected case as expected
    1  a selected case failed, crashed, hung or changed
  125  this kernel cannot be judged: it does not build, or does not boot
  128  this machine can judge no kernel: no source, no backend, disk full, a tool missing
  129  usage, bad input
  130  interrupted; the cases that ran are reported")]
pub(crate) struct RunArgs {
    #[arg(value_name = "KERNEL", help = kernel_help(), add = completers::kernel(), env = "SUDBOX_KERNEL", hide_env = true)]
    pub(crate) kernel: Option<String>,

    /// Cases to run: globs over ids, groups, `core`, `all`; separated by commas or spaces. A word
    /// with a leading `!` removes its matches
    #[arg(long, value_name = "GLOBS", add = completers::cases(), env = "SUDBOX_CASES", hide_env = true)]
    pub(crate) cases: Option<String>,

    /// Run this many random sequences of operations and compare each with a model of dispatch;
    /// other cases only if selected
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), env = "SUDBOX_FUZZ", hide_env = true)]
    pub(crate) fuzz: Option<u32>,

    /// Seed of the first walk, counted up for the others; from the clock if not given
    #[arg(long, value_name = "S", requires = "fuzz", env = "SUDBOX_SEED", hide_env = true)]
    pub(crate) seed: Option<u64>,

    /// List the selected cases and stop
    #[arg(long)]
    pub(crate) list: bool,

    /// Form of the report
    #[arg(long, value_name = "FORMAT", value_parser = form_parser::<Verdict>(), default_value = "table")]
    pub(crate) format: &'static Form<Verdict>,

    /// Exit with 1 also for `fixed` and `unmet`
    #[arg(long)]
    pub(crate) strict: bool,

    /// Give every case a VM of its own: restored from a snapshot on KVM, booted on QEMU
    #[arg(long)]
    pub(crate) isolate: bool,

    /// Run every case this many times and report its worst outcome
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) repeat: u32,

    /// Seconds without progress after which a boot is a hang; a case has a sixth of this time
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,

    /// Patches for a copy of the source: a diff, a mailbox, or a folder of such files in the order
    /// of their names; may be given again
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = BUILD_HEADING, env = "SUDBOX_PATCHES", hide_env = true)]
    pub(crate) patches: Vec<String>,

    #[command(flatten, next_help_heading = VM_HEADING)]
    pub(crate) vm: VmArgs,

    #[command(flatten, next_help_heading = BUILD_HEADING)]
    pub(crate) build: BuildArgs,
}

/// Help of the kernel that `sudbox run` takes.
fn kernel_help() -> String {
    format!(
        "Kernel to judge: {ACCEPTED_REFERENCES}; or `running`, the kernel of this machine, without a \
         VM; the pinned kernel if not given"
    )
}

/// `sudbox matrix`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  sudbox matrix --kernels '6.1 6.12 7.3'                 three releases, and what differs
  sudbox matrix --kernels 6.12 --flavours 'default full' one release in two configurations
  sudbox matrix --kernels '6.12 7.3' --shard 1/2         the first half, for a CI job

Exits with 1 if a kernel breaks a promise, else with the highest exit code that `run` has for one of
the kernels.")]
pub(crate) struct MatrixArgs {
    /// The kernels, as `run` takes them, separated by spaces
    #[arg(long, value_name = "KERNELS", add = completers::kernels(), env = "SUDBOX_KERNELS", hide_env = true)]
    pub(crate) kernels: String,

    /// Architectures, separated by spaces, if not this machine's own
    #[arg(long, value_name = "ARCHES", add = completers::arches(), env = "SUDBOX_ARCHES", hide_env = true)]
    pub(crate) arches: Option<String>,

    /// Flavours, separated by spaces
    #[arg(long, value_name = "NAMES", add = completers::flavours(), env = "SUDBOX_FLAVOURS", hide_env = true)]
    pub(crate) flavours: Option<String>,

    /// Cases to run, as `run` takes them
    #[arg(long, value_name = "GLOBS", add = completers::cases(), env = "SUDBOX_CASES", hide_env = true)]
    pub(crate) cases: Option<String>,

    /// Print the cells as JSON and stop
    #[arg(long)]
    pub(crate) list: bool,

    /// Only the I-th of N parts; `sudbox report merge` makes one report of all
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,

    /// Form of the report
    #[arg(long, value_name = "FORMAT", value_parser = form_parser::<Matrix>(), default_value = "table")]
    pub(crate) format: &'static Form<Matrix>,

    /// Count `fixed` and `unmet` as failures
    #[arg(long)]
    pub(crate) strict: bool,

    /// Seconds without progress after which a boot is a hang; a case has a sixth of this time
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,

    #[command(flatten, next_help_heading = VM_HEADING)]
    pub(crate) vm: VmArgs,

    #[command(flatten, next_help_heading = BUILD_HEADING)]
    pub(crate) source: SourceArgs,
}

/// A part of a matrix or campaign, as in `--shard 2/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Number of the part, from 1 on.
    pub(crate) number: usize,
    pub(crate) count: usize,
}

impl std::str::FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Shard, &'static str> {
        let shard = text.split_once('/').and_then(|(number, count)| {
            Some(Shard { number: number.parse().ok()?, count: count.parse().ok()? })
        });
        let is_valid =
            |shard: &Shard| (1..=shard.count).contains(&shard.number) && shard.count <= 100_000;
        shard.filter(is_valid).ok_or("a shard is I/N, such as 2/8, with I from 1 to N")
    }
}

/// `sudbox kernels`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  sudbox kernels                       kernels that need no build, and the contents of the cache
  sudbox kernels prune --days 7 --yes  free what was not used for a week

Exits with 0; with 128 if the cache cannot be used.")]
pub(crate) struct KernelsArgs {
    /// Action other than listing
    #[command(subcommand)]
    pub(crate) verb: Option<KernelsVerb>,

    /// Form of the list
    #[arg(long, global = true, value_name = "FORMAT", value_parser = form_parser::<KernelList>(), default_value = "table")]
    pub(crate) format: &'static Form<KernelList>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KernelsVerb {
    /// List old cache entries and their size; --yes removes them
    Prune(PruneArgs),
}

/// `sudbox kernels prune`
#[derive(Args, Clone, Debug)]
pub(crate) struct PruneArgs {
    /// Days without use after which an entry is old; 0 means all that are not in use now
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub(crate) days: u32,

    /// Remove them
    #[arg(long)]
    pub(crate) yes: bool,
}

/// The path that the user typed. A leading `~` is replaced by the home directory.
pub(crate) fn expand_path(text: &str) -> PathBuf {
    sudbox_images::expand_home(Path::new(text))
}
