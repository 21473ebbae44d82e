// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds the newest release (`latest`), and the newest release that is not a release candidate
//! (`stable`), by upstream's releases.json.

use super::search::{self, FoundRelease, SearchScope};
use super::upstream;
use crate::ctx::Ctx;
use crate::error::{Error, Fault, SourceError};
use crate::version::{Release, Version};

/// The kind of newest release that the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewestRelease {
    /// `latest`: release candidates count too.
    Latest,
    /// `stable`: release candidates do not count.
    Stable,
}

impl NewestRelease {
    /// The name that the user types.
    fn name(self) -> &'static str {
        match self {
            NewestRelease::Latest => "latest",
            NewestRelease::Stable => "stable",
        }
    }

    /// Whether a release counts.
    fn accepts(self, release: &Release) -> bool {
        self == NewestRelease::Latest || release.candidate.is_none()
    }
}

/// Maximum number of releases to look for in the sources, newest first.
const MAX_TRIES: usize = 3;

/// The releases in a releases.json that count for `wanted`, newest first.
fn accepted_releases(text: &str, wanted: NewestRelease) -> Vec<Release> {
    #[derive(serde::Deserialize)]
    struct Releases {
        releases: Vec<ReleaseEntry>,
    }
    #[derive(serde::Deserialize)]
    struct ReleaseEntry {
        version: String,
    }
    let Ok(Releases { releases }) = serde_json::from_str(text) else { return Vec::new() };
    // The version of linux-next is a date, which does not parse.
    let mut accepted: Vec<Release> =
        releases.iter().filter_map(|entry| entry.version.parse().ok()).collect();
    accepted.retain(|release| wanted.accepts(release));
    accepted.sort_unstable_by(|first, second| second.cmp(first));
    accepted.dedup();
    accepted
}

/// Finds the newest release; if upstream cannot be reached, the newest release in the distribution's
/// packages.
///
/// # Errors
/// [`SourceError`] if no source has the release, or no source can be reached.
pub(super) fn find(
    ctx: &mut Ctx<'_>,
    scope: &SearchScope<'_>,
    wanted: NewestRelease,
) -> Result<FoundRelease, Error> {
    let name = wanted.name();
    ctx.phase(&format!("looking for the {name} release"));
    match upstream::download_releases_json(ctx)? {
        Some(text) => find_first(ctx, scope, name, &accepted_releases(&text, wanted)),
        None => find_in_packages(ctx, scope, wanted),
    }
}

/// Finds the first of these releases that a source has.
fn find_first(
    ctx: &mut Ctx<'_>,
    scope: &SearchScope<'_>,
    name: &'static str,
    releases: &[Release],
) -> Result<FoundRelease, Error> {
    let Some(newest) = releases.first() else {
        return Err(SourceError::NothingReleased { name }.into());
    };
    for release in releases.iter().take(MAX_TRIES) {
        match search::find_release(ctx, scope, Version::Exact(*release)) {
            Ok(FoundRelease { candidate, substitution_note: None }) => {
                let substitution_note = (release != newest).then(|| {
                    format!(
                        "the {name} release, v{newest}, cannot be had here; v{release} stands in \
                         for it"
                    )
                });
                return Ok(FoundRelease { candidate, substitution_note });
            }
            Ok(_) => {}
            Err(error) if error.fault() == Fault::Interrupted => return Err(error),
            Err(error) => ctx.monitor.note(&error.to_string()),
        }
    }
    Err(SourceError::NewestNowhere { name, release: *newest }.into())
}

/// Finds the newest release in the distribution's packages.
fn find_in_packages(
    ctx: &mut Ctx<'_>,
    scope: &SearchScope<'_>,
    wanted: NewestRelease,
) -> Result<FoundRelease, Error> {
    let name = wanted.name();
    for series in search::offered_series(ctx)? {
        let FoundRelease { candidate, .. } =
            search::find_release(ctx, scope, Version::Newest(series))?;
        if candidate.release().is_some_and(|release| !wanted.accepts(&release)) {
            continue;
        }
        let substitution_note = Some(format!(
            "which release is the {name} one is not known, as upstream cannot be reached; {}, the \
             newest that the packages offer, stands in for it",
            candidate.version
        ));
        return Ok(FoundRelease { candidate, substitution_note });
    }
    Err(SourceError::NewestUnknown { name }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_releases_of_releases_json_are_sorted_newest_first() {
        let text = r#"{"latest_stable": {"version": "7.3.4"}, "releases": [
            {"moniker": "mainline", "version": "7.4-rc2"},
            {"moniker": "stable", "version": "7.3.4", "iseol": false},
            {"moniker": "longterm", "version": "6.12.117"},
            {"moniker": "linux-next", "version": "next-20261120"}]}"#;
        let accepted = |wanted| -> Vec<String> {
            accepted_releases(text, wanted).iter().map(Release::to_string).collect()
        };
        assert_eq!(accepted(NewestRelease::Latest), ["7.4-rc2", "7.3.4", "6.12.117"]);
        assert_eq!(accepted(NewestRelease::Stable), ["7.3.4", "6.12.117"]);
        assert!(accepted_releases("<html>", NewestRelease::Latest).is_empty());
    }
}
