// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command line of `sudbox diff`.

use super::formats::form_parser;
use super::{BUILD_HEADING, BuildArgs, VM_HEADING, VmArgs, completers};
use clap::{Args, ValueHint};
use sudbox_report::Form;
use sudbox_report::diff::Diff;

/// `sudbox diff`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  sudbox diff 6.12 7.3                             differences between two releases
  sudbox diff 7.3 ~/src/linux --cases compare      a tree beside a release, some cases
  sudbox diff 7.3 7.3 --patches series.mbox        differences that a series of patches makes
  git bisect run sudbox diff v7.2 . --linux .      the first commit of a tree with a difference

Exit codes:
    0  no difference, or only differences that the table of known changes explains
    1  a difference that no known change explains
  125  a kernel does not build or boot
  128  this machine can boot no kernel
  129  usage, bad input
  130  interrupted")]
pub(crate) struct DiffArgs {
    /// The two kernels, as `run` takes them: the older, or the one without the patches, first
    #[arg(value_name = "KERNEL", add = completers::kernel(), num_args = 1..=2, required = true, env = "SUDBOX_KERNELS", hide_env = true)]
    pub(crate) kernels: Vec<String>,

    /// Cases whose observations and results are compared, as `run` takes them; all if not given
    #[arg(long, value_name = "GLOBS", add = completers::cases(), env = "SUDBOX_CASES", hide_env = true)]
    pub(crate) cases: Option<String>,

    /// Form of the report
    #[arg(long, value_name = "FORMAT", value_parser = form_parser::<Diff>(), default_value = "table")]
    pub(crate) format: &'static Form<Diff>,

    /// Patches for a copy of the second kernel's source, as `run` takes them; may be given again
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = BUILD_HEADING, env = "SUDBOX_PATCHES", hide_env = true)]
    pub(crate) patches: Vec<String>,

    #[command(flatten, next_help_heading = VM_HEADING)]
    pub(crate) vm: VmArgs,

    #[command(flatten, next_help_heading = BUILD_HEADING)]
    pub(crate) build: BuildArgs,
}

impl DiffArgs {
    /// The two kernels; `None` if there are not exactly two. make passes both in one argument.
    pub(crate) fn pair(&self) -> Option<[&str; 2]> {
        let names: Vec<&str> = match self.kernels.as_slice() {
            [both] => both.split_whitespace().collect(),
            kernels => kernels.iter().map(String::as_str).collect(),
        };
        names.try_into().ok()
    }
}
