// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The cases of a bisection.

use super::differences::BisectedCases;
use crate::cli::BisectArgs;
use crate::failure::Failure;
use crate::selection::{self, Selection};
use crate::{measure, recordings};
use sudbox_images::Arch;

/// The cases that the arguments select.
pub(super) fn requested_cases(args: &BisectArgs) -> anyhow::Result<Selection> {
    match &args.bench {
        Some(name) => measure::select_benchmarks(name),
        None => selection::parse_selection(args.cases.as_deref().unwrap_or_default()),
    }
}

/// The selected cases whose observations are recorded.
///
/// # Errors
/// If there are none.
pub(super) fn requested_recorded_cases(args: &BisectArgs, arch: Arch) -> anyhow::Result<Selection> {
    let mut selection = requested_cases(args)?.for_arch(arch)?;
    selection.cases.retain(|case| recordings::is_recorded(case));
    if selection.cases.is_empty() {
        return Err(Failure::usage(
            "--changed compares what cases observe, and none of these cases is recorded: name \
             `compare`, or leave out --cases",
        ));
    }
    Ok(selection)
}

/// Adds `boot/reaches-init` to a selection.
pub(super) fn with_boot(selection: Selection) -> Selection {
    Selection { includes_boot: true, ..selection }
}

/// The bisected cases and `boot/reaches-init`; `None` if only the build is bisected.
pub(super) fn bisected_selection(
    bisected: &BisectedCases,
    args: &BisectArgs,
) -> anyhow::Result<Option<Selection>> {
    if bisected.is_build_only() {
        return Ok(None);
    }
    let selection = match &args.bench {
        Some(_) => requested_cases(args)?,
        None => selection::parse_selection(&bisected.case_ids())?,
    };
    Ok(Some(with_boot(selection)))
}
