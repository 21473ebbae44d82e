// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox report history`: the outcomes of cases over time.

use crate::cli::HistoryArgs;
use crate::failure::Failure;
use crate::output::{self, archive};
use crate::selection;
use sudbox_images::Cache;
use sudbox_report::history::History;

/// Prints the history and returns the exit code.
pub(crate) fn history(args: &HistoryArgs) -> anyhow::Result<u8> {
    let words = args.cases.split([',', ' ']).filter(|word| !word.is_empty());
    let matchers = words.map(selection::case_matcher).collect::<anyhow::Result<Vec<_>>>()?;
    let entries = archive::read_record(&archive::runs_folder(&Cache::open()?));
    let history = History::from_entries(&entries, |id| matchers.iter().any(|matches| matches(id)));
    // A case that has not run yet has an empty history; a name that is no case is an error.
    if history.cases.is_empty() && selection::parse_selection(&args.cases).is_err() {
        return Err(Failure::usage(format!(
            "no case is called `{}`, and no run had one: `sudbox run --list` shows the cases",
            args.cases
        )));
    }
    output::print(&(args.format.render)(&history, output::screen()))?;
    Ok(0)
}
