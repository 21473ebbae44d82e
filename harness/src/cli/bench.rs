// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command line of `sudbox bench`.

use super::formats::form_parser;
use super::{BUILD_HEADING, BuildArgs, VM_HEADING, VmArgs, completers};
use clap::{Args, ValueEnum, ValueHint};
use serde::{Deserialize, Serialize};
use sudbox_report::Form;
use sudbox_report::costs::Costs;

/// The unit of costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum CostUnit {
    /// Time: nanoseconds on a real processor, ratios under emulation
    Time,
    /// Instructions, counted exactly by QEMU's emulation
    Instructions,
}

/// `sudbox bench`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  sudbox bench 7.3                                  what dispatch costs on a kernel
  sudbox bench running --only 'native round-trip'   two benchmarks on the running kernel
  sudbox bench --compare 6.12 ~/src/linux           which differences are real

Exit codes:
    0  every benchmark ran; --compare: nothing is slower
    1  a benchmark failed; --compare: something is slower
  125  this kernel does not build or boot, or repeated counts of one kernel differ
  128  this machine can measure no kernel
  129  usage, bad input
  130  interrupted")]
pub(crate) struct BenchArgs {
    /// Kernel to measure, in any form that `run` takes; the pinned one if not given
    #[arg(value_name = "KERNEL", add = completers::kernel(), env = "SUDBOX_KERNEL", hide_env = true)]
    pub(crate) kernel: Option<String>,

    /// Measure this kernel too, and compare; --patches are for KERNEL
    #[arg(long, value_name = "OTHER", add = completers::kernel(), env = "SUDBOX_COMPARE", hide_env = true)]
    pub(crate) compare: Option<String>,

    /// Benchmarks to run, separated by commas or spaces; all if not given
    #[arg(long, value_name = "NAMES", env = "SUDBOX_BENCH", hide_env = true)]
    pub(crate) only: Option<String>,

    /// Unit of costs; if not given, time on a real processor, else instructions
    #[arg(long, value_enum)]
    pub(crate) by: Option<CostUnit>,

    /// Form of the report; comparisons have no HTML page
    #[arg(long, value_name = "FORMAT", value_parser = form_parser::<Costs>(), default_value = "table")]
    pub(crate) format: &'static Form<Costs>,

    /// Patches for a copy of the source, as `run` takes them; may be given again
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = BUILD_HEADING, env = "SUDBOX_PATCHES", hide_env = true)]
    pub(crate) patches: Vec<String>,

    #[command(flatten, next_help_heading = VM_HEADING)]
    pub(crate) vm: VmArgs,

    #[command(flatten, next_help_heading = BUILD_HEADING)]
    pub(crate) build: BuildArgs,
}
