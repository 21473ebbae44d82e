// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox report list`: the runs that left a report.

use crate::cli::ListArgs;
use crate::output::{self, archive};
use sudbox_images::Cache;

/// Prints the list and returns the exit code.
pub(crate) fn list(args: &ListArgs) -> anyhow::Result<u8> {
    let runs = archive::run_list(&archive::runs_folder(&Cache::open()?));
    output::print(&(args.format.render)(&runs, output::screen()))?;
    Ok(0)
}
