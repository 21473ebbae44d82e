// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox exec`: runs a program of this machine on another kernel.

use crate::cli::{ExecArgs, OutputFormat, UserOptions};
use crate::execute::{self, GuestCommand};
use crate::program;
use std::time::Duration;

/// Runs the program and returns its exit status.
pub(crate) fn exec(args: &ExecArgs, user_options: &UserOptions) -> anyhow::Result<u8> {
    let kernel = args.kernel.as_deref().unwrap_or_default();
    execute::refuse_running_kernel(kernel)?;
    // The program is packed first, so that a bad program is refused before a kernel is built.
    let packed = program::pack_program(&args.command)?;
    let name = args.command[0].to_string_lossy().into_owned();
    let timeout = args.timeout.map(Duration::from_secs);
    let boot_timeout = Duration::from_secs(args.boot.boot_timeout);
    let captures_output = args.format == OutputFormat::Json;
    let command =
        GuestCommand { name: name.clone(), packed, timeout, boot_timeout, captures_output };
    let program_run = execute::execute(command, kernel, &args.vm, &args.build, user_options)?;
    program_run.finish(name, args.format)
}
