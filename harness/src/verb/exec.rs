// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox exec`: a program of this machine on another kernel.

use crate::cli::ExecArgs;
use crate::execute::{self, Errand};
use crate::program;
use std::time::Duration;

/// Runs the program and returns its exit status.
pub(crate) fn exec(args: &ExecArgs) -> anyhow::Result<u8> {
    execute::not_running(&args.kernel)?;
    // First: what cannot run is not told after a build.
    let packed = program::pack(&args.command)?;
    let name = args.command[0].to_string_lossy().into_owned();
    let timeout = args.timeout.map(Duration::from_secs);
    execute::execute(Errand { name, packed, timeout }, &args.kernel, &args.vm, &args.build)
}
