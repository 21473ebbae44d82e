// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command line of `sudbox campaign`.

use super::formats::form_parser;
use super::{BUILD_HEADING, BuildArgs, Shard, VM_HEADING, VmArgs, completers};
use clap::{Args, ValueHint};
use std::time::Duration;
use sudbox_report::Form;
use sudbox_report::campaign::Campaign;

/// `sudbox campaign`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  sudbox campaign 7.3 --hours 8             a night of random walks and points, on all cores
  sudbox campaign ~/src/linux --hours 0.5   half an hour; the same command continues it
  sudbox campaign --hours 8 --seed 1 --shard 2/4   one of four machines

The same command also continues a campaign that was killed, with its counts and finds.

Exit codes:
    0  nothing was found
    1  something was found, in this run of the campaign or in an earlier one
  125  this kernel does not build or boot
  128  this machine can judge no kernel
  129  usage, bad input
  130  interrupted; the report has the results so far")]
pub(crate) struct CampaignArgs {
    /// The kernel, as `run` takes it; the pinned kernel if not given
    #[arg(value_name = "KERNEL", add = completers::kernel(), env = "SUDBOX_KERNEL", hide_env = true)]
    pub(crate) kernel: Option<String>,

    /// Hours that this run takes, such as 8 or 0.5
    #[arg(long, value_name = "HOURS", value_parser = duration_in_hours, env = "SUDBOX_HOURS", hide_env = true)]
    pub(crate) hours: Duration,

    /// Only the I-th of N parts, for N machines that are given the same seed
    #[arg(long, value_name = "I/N", requires = "seed")]
    pub(crate) shard: Option<Shard>,

    /// Seed of the first walk, counted up for the others; from the clock if not given
    #[arg(long, value_name = "S", env = "SUDBOX_SEED", hide_env = true)]
    pub(crate) seed: Option<u64>,

    /// Forget the campaign of this kernel, and start a new one
    #[arg(long)]
    pub(crate) restart: bool,

    /// Form of the report
    #[arg(long, value_name = "FORMAT", value_parser = form_parser::<Campaign>(), default_value = "table")]
    pub(crate) format: &'static Form<Campaign>,

    /// Patches for a copy of the kernel's source, as `run` takes them; may be given again
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = BUILD_HEADING, env = "SUDBOX_PATCHES", hide_env = true)]
    pub(crate) patches: Vec<String>,

    #[command(flatten, next_help_heading = VM_HEADING)]
    pub(crate) vm: VmArgs,

    #[command(flatten, next_help_heading = BUILD_HEADING)]
    pub(crate) build: BuildArgs,
}

/// Parses a number of hours, above 0 and at most a year.
fn duration_in_hours(text: &str) -> Result<Duration, &'static str> {
    const A_YEAR: f64 = 366.0 * 24.0;
    let hours = text.parse::<f64>().ok().filter(|hours| *hours > 0.0 && *hours <= A_YEAR);
    hours
        .map(|hours| Duration::from_secs_f64(hours * 3600.0))
        .ok_or("a number of hours above 0, such as 8 or 0.5")
}
