// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox report prune`: removes the folders of old runs.

use crate::cli::PruneRunsArgs;
use crate::output::{self, archive};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use sudbox_images::Cache;

/// Lists old runs, or removes them with `--yes`. Returns the exit code.
pub(crate) fn prune(args: &PruneRunsArgs) -> anyhow::Result<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = Duration::from_secs(u64::from(args.days) * 24 * 3600);
    let old =
        archive::prune(&archive::runs_folder(&Cache::open()?), now.saturating_sub(age), args.yes)?;
    let mut text = String::new();
    for run in &old {
        let _ = writeln!(text, "{}", run.path.display());
    }
    let (count, days) = (old.len(), args.days);
    let runs = if count == 1 { "run" } else { "runs" };
    let _ = match (args.yes, count) {
        (_, 0) => writeln!(text, "no run is {days} days old"),
        (true, _) => writeln!(text, "removed {count} {runs} at least {days} days old"),
        (false, _) => writeln!(text, "{count} {runs} at least {days} days old; --yes removes them"),
    };
    output::print(&text)?;
    Ok(0)
}
