// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The results of `kernels prune` and `report prune`: the old entries or runs that were removed, or that
//! `--yes` removes.

use serde::Serialize;
use std::fmt::Write as _;

use crate::form::{Form, Report};
use crate::forms::json::to_json;
use crate::kernels::{KernelEntry, KernelList, human_size};
use crate::runs::Run;
use crate::terminal::Screen;
use crate::text::Printable;

/// Old entries of the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PrunedKernels {
    /// Version of the schema.
    pub schema: u32,
    /// Days without use after which an entry is old.
    pub days: u32,
    /// Whether the entries were removed (`--yes`).
    pub removed: bool,
    /// Size of the entries in bytes.
    pub bytes: u64,
    /// The entries.
    pub kernels: Vec<KernelEntry>,
}

impl PrunedKernels {
    /// The result for these entries, which were not used for `days` days.
    #[must_use]
    pub fn from_entries(days: u32, removed: bool, kernels: Vec<KernelEntry>) -> PrunedKernels {
        let bytes = kernels.iter().filter_map(|entry| entry.bytes).sum();
        PrunedKernels { schema: 1, days, removed, bytes, kernels }
    }
}

impl Report for PrunedKernels {
    const FORMS: &'static [Form<PrunedKernels>] = &[
        Form {
            name: "table",
            about: "For people",
            file_name: "kernels-prune.txt",
            render: kernels_table,
        },
        Form {
            name: "json",
            about: "All that is known",
            file_name: "kernels-prune.json",
            render: |pruned, _| to_json(pruned),
        },
    ];
}

fn kernels_table(pruned: &PrunedKernels, screen: Screen) -> Printable {
    let (count, freed, days) = (pruned.kernels.len(), human_size(pruned.bytes), pruned.days);
    let mut text = String::new();
    if count > 0 {
        let list = KernelList::from_entries(pruned.kernels.clone());
        text.push_str(&(KernelList::FORMS[0].render)(&list, screen));
    }
    let entries = if count == 1 { "entry" } else { "entries" };
    let age = format!("not used for {days} days");
    let _ = match (pruned.removed, count) {
        (true, _) => writeln!(text, "freed {freed}: {count} {entries} {age}"),
        (false, 0) => {
            writeln!(text, "nothing to free: every entry was used in the last {days} days")
        }
        (false, _) => {
            writeln!(text, "would free {freed}: {count} {entries} {age}; --yes frees them")
        }
    };
    Printable::message(&text)
}

/// Old runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PrunedRuns {
    /// Version of the schema.
    pub schema: u32,
    /// Days after which a run is old.
    pub days: u32,
    /// Whether the folders of the runs were removed (`--yes`).
    pub removed: bool,
    /// The runs, with their numbers before any was removed.
    pub runs: Vec<Run>,
}

impl PrunedRuns {
    /// The result for these runs, which are at least `days` days old.
    #[must_use]
    pub fn from_runs(days: u32, removed: bool, runs: Vec<Run>) -> PrunedRuns {
        PrunedRuns { schema: 1, days, removed, runs }
    }
}

impl Report for PrunedRuns {
    const FORMS: &'static [Form<PrunedRuns>] = &[
        Form {
            name: "table",
            about: "For people",
            file_name: "report-prune.txt",
            render: |pruned, _| runs_table(pruned),
        },
        Form {
            name: "json",
            about: "All that is known",
            file_name: "report-prune.json",
            render: |pruned, _| to_json(pruned),
        },
    ];
}

fn runs_table(pruned: &PrunedRuns) -> Printable {
    let mut text: String = pruned.runs.iter().map(|run| format!("{}\n", run.folder)).collect();
    let (count, days) = (pruned.runs.len(), pruned.days);
    let runs = if count == 1 { "run" } else { "runs" };
    let _ = match (pruned.removed, count) {
        (_, 0) => writeln!(text, "no run is at least {days} days old"),
        (true, _) => writeln!(text, "removed {count} {runs} at least {days} days old"),
        (false, _) => writeln!(text, "{count} {runs} at least {days} days old; --yes removes them"),
    };
    Printable::message(&text)
}
