// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox report prune`: removes the folders of old runs.

use crate::cli::PruneRunsArgs;
use crate::output::{self, archive};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use sudbox_images::Cache;
use sudbox_report::pruned::PrunedRuns;

/// Lists old runs, or removes them with `--yes`. Returns the exit code.
pub(crate) fn prune(args: &PruneRunsArgs) -> anyhow::Result<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = Duration::from_secs(u64::from(args.days) * 24 * 3600);
    let old_runs =
        archive::prune(&archive::runs_folder(&Cache::open()?), now.saturating_sub(age), args.yes)?;
    let pruned = PrunedRuns::from_runs(args.days, args.yes, old_runs);
    output::print(&(args.format.render)(&pruned, output::screen()))?;
    Ok(0)
}
