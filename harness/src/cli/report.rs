// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command line of `sudbox report`.

use super::completers;
use super::formats::form_parser;
use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;
use sudbox_report::Form;
use sudbox_report::history::History;
use sudbox_report::matrix::Matrix;
use sudbox_report::pruned::PrunedRuns;
use sudbox_report::runs::RunList;

/// `sudbox report`
#[derive(Debug, Subcommand)]
pub(crate) enum ReportVerb {
    /// List the runs that left a report, the newest first
    List(ListArgs),
    /// Print the report of an earlier run
    Show(ShowArgs),
    /// Print the outcomes of cases over time, and name flaky ones
    History(HistoryArgs),
    /// List old runs; --yes removes them
    Prune(PruneRunsArgs),
    /// Make one report of the parts of a matrix
    #[command(after_help = "\
Exits with 128 if a part is missing, else as `matrix` does.")]
    Merge(MergeArgs),
}

/// `sudbox report list`
#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    /// Form of the list
    #[arg(long, value_name = "FORMAT", value_parser = form_parser::<RunList>(), default_value = "table")]
    pub(crate) format: &'static Form<RunList>,
}

/// `sudbox report show`
#[derive(Args, Clone, Debug)]
pub(crate) struct ShowArgs {
    /// The run: its number in `report list`, or its folder; the newest if not given
    #[arg(value_name = "RUN", add = completers::run())]
    pub(crate) run: Option<String>,

    /// Form of the report, as `run`, `matrix` or `bench` have it
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: String,
}

/// `sudbox report history`
#[derive(Args, Clone, Debug)]
pub(crate) struct HistoryArgs {
    /// The cases: globs over ids, groups; separated by commas or spaces
    #[arg(value_name = "CASE", add = completers::cases())]
    pub(crate) cases: String,

    /// Form of the history
    #[arg(long, value_name = "FORMAT", value_parser = form_parser::<History>(), default_value = "table")]
    pub(crate) format: &'static Form<History>,
}

/// `sudbox report prune`
#[derive(Args, Clone, Debug)]
pub(crate) struct PruneRunsArgs {
    /// Form of the list
    #[arg(long, value_name = "FORMAT", value_parser = form_parser::<PrunedRuns>(), default_value = "table")]
    pub(crate) format: &'static Form<PrunedRuns>,

    /// Days after which a run is old; 0 means every run that has ended
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub(crate) days: u32,

    /// Remove them
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `sudbox report merge`
#[derive(Args, Clone, Debug)]
pub(crate) struct MergeArgs {
    /// Output files of `matrix --shard I/N --format json`, or folders with a matrix.json
    #[arg(value_name = "PART", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) parts: Vec<PathBuf>,

    /// Form of the report
    #[arg(long, value_name = "FORMAT", value_parser = form_parser::<Matrix>(), default_value = "table")]
    pub(crate) format: &'static Form<Matrix>,
}
