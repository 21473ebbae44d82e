// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds the newest release (`latest`) and the newest one that is not a release candidate (`stable`),
//! by upstream's releases.json.

use super::search::{self, Found, Scope};
use super::upstream;
use crate::ctx::Ctx;
use crate::error::{Error, Fault, SourceError};
use crate::version::{Release, Version};

/// Maximum number of releases to try, newest first.
const MAX_TRIES: usize = 3;

/// The releases in a releases.json, newest first, with release candidates if `candidates` is set.
fn newest(text: &str, candidates: bool) -> Vec<Release> {
    #[derive(serde::Deserialize)]
    struct Releases {
        releases: Vec<ReleaseEntry>,
    }
    #[derive(serde::Deserialize)]
    struct ReleaseEntry {
        version: String,
    }
    let Ok(Releases { releases }) = serde_json::from_str(text) else { return Vec::new() };
    // linux-next is left out: its version is a date.
    let mut all: Vec<Release> =
        releases.iter().filter_map(|one| one.version.parse().ok()).collect();
    all.retain(|release| candidates || release.candidate.is_none());
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.dedup();
    all
}

/// Finds the newest release, including release candidates if `candidates` is set. If upstream cannot
/// be reached, the newest release in the distribution's packages stands in for it.
///
/// # Errors
/// [`SourceError`] if no source has it, or none can be reached.
pub(super) fn find(ctx: &mut Ctx<'_>, scope: &Scope<'_>, candidates: bool) -> Result<Found, Error> {
    let name = if candidates { "latest" } else { "stable" };
    ctx.phase(&format!("looking for the {name} release"));
    match upstream::releases(ctx)? {
        Some(text) => find_first(ctx, scope, name, &newest(&text, candidates)),
        None => find_in_packages(ctx, scope, name, candidates),
    }
}

/// Finds the first of these releases that a source has.
fn find_first(
    ctx: &mut Ctx<'_>,
    scope: &Scope<'_>,
    name: &'static str,
    releases: &[Release],
) -> Result<Found, Error> {
    let Some(first) = releases.first() else {
        return Err(SourceError::NothingReleased { name }.into());
    };
    for release in releases.iter().take(MAX_TRIES) {
        match search::find(ctx, scope, Version::Exact(*release)) {
            Ok(Found { candidate, stands_in: None }) => {
                let stands_in = (release != first).then(|| {
                    format!(
                        "the {name} release, v{first}, cannot be had here; v{release} stands in \
                         for it"
                    )
                });
                return Ok(Found { candidate, stands_in });
            }
            Ok(_) => {}
            Err(error) if error.fault() == Fault::Interrupted => return Err(error),
            Err(error) => ctx.monitor.note(&error.to_string()),
        }
    }
    Err(SourceError::NewestNowhere { name, release: *first }.into())
}

/// Finds the newest release in the distribution's packages.
fn find_in_packages(
    ctx: &mut Ctx<'_>,
    scope: &Scope<'_>,
    name: &'static str,
    candidates: bool,
) -> Result<Found, Error> {
    for series in search::offered_series(ctx)? {
        let Found { candidate, .. } = search::find(ctx, scope, Version::Newest(series))?;
        if !candidates && candidate.release().is_some_and(|release| release.candidate.is_some()) {
            continue;
        }
        let stands_in = Some(format!(
            "which release is the {name} one is not known, as upstream cannot be reached; {}, the \
             newest that the packages offer, stands in for it",
            candidate.version
        ));
        return Ok(Found { candidate, stands_in });
    }
    Err(SourceError::NewestUnknown { name }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_read() {
        let text = r#"{"latest_stable": {"version": "7.3.4"}, "releases": [
            {"moniker": "mainline", "version": "7.4-rc2"},
            {"moniker": "stable", "version": "7.3.4", "iseol": false},
            {"moniker": "longterm", "version": "6.12.117"},
            {"moniker": "linux-next", "version": "next-20261120"}]}"#;
        let written = |candidates| -> Vec<String> {
            newest(text, candidates).iter().map(Release::to_string).collect()
        };
        assert_eq!(written(true), ["7.4-rc2", "7.3.4", "6.12.117"]);
        assert_eq!(written(false), ["7.3.4", "6.12.117"]);
        assert!(newest("<html>", true).is_empty());
    }
}
