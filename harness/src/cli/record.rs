// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command line of `sudbox record`.

use super::{BUILD_HEADING, BuildArgs, VM_HEADING, VmArgs, completers};
use clap::{Args, ValueHint};
use std::path::PathBuf;

/// `sudbox record`
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  sudbox record 6.12 7.3                     for verdicts on a processor like this one
  sudbox record 7.3 --flavour full           for kernels of flavour full
  sudbox record 7.3 --folder recordings      for a folder instead of the cache

`sudbox run` compares a kernel with the recording of its series, or with those of the nearest
series. sudbox includes recordings of the pinned kernels for one layout of the floating-point state,
which determines the size of a signal frame. Record kernels yourself for processors with another
layout and for other series. Record only kernels that are known to be good.

Exit codes:
    0  recorded
  125  a kernel does not build or boot
  128  this machine can boot no kernel
  129  usage, bad input
  130  interrupted")]
pub(crate) struct RecordArgs {
    /// The kernels, as `run` takes them
    #[arg(value_name = "KERNEL", add = completers::kernel(), num_args = 1.., required = true, env = "SUDBOX_KERNELS", hide_env = true)]
    pub(crate) kernels: Vec<String>,

    /// Folder for the recordings; one in the cache, which `run` reads, if not given
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub(crate) folder: Option<PathBuf>,

    #[command(flatten, next_help_heading = VM_HEADING)]
    pub(crate) vm: VmArgs,

    #[command(flatten, next_help_heading = BUILD_HEADING)]
    pub(crate) build: BuildArgs,
}
