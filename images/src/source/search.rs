// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds the release for a version, and the source that has it.
//!
//! The cache records the result, so that the next run needs no network. For a series such as
//! `6.12`, the recorded release stays the result until the user removes the record.

use std::path::Path;

use super::{Candidate, Query, ReleaseList, SOURCES, Source};
use crate::arch::Arch;
use crate::ctx::Ctx;
use crate::error::{Error, SourceError};
use crate::version::{Release, Series, Version};

/// Parameters of [`find_release`].
#[derive(Clone, Copy, Debug)]
pub(super) struct SearchScope<'a> {
    /// The kernel's architecture; each has its own records.
    pub(super) arch: Arch,
    /// `LINUX=`: the user's git tree.
    pub(super) linux: Option<&'a Path>,
    /// Releases that could not be downloaded.
    pub(super) excluded: &'a [Candidate],
}

/// A release that was found. The cache records this structure.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct FoundRelease {
    pub(super) candidate: Candidate,
    /// A note for the user if this is not the requested release.
    #[serde(rename = "stands_in")]
    pub(super) substitution_note: Option<String>,
}

/// Finds a release in a local source, in the records, or in the other sources.
///
/// # Errors
/// [`SourceError`] if no source has a release of the series, or none can be reached.
pub(super) fn find_release(
    ctx: &mut Ctx<'_>,
    scope: &SearchScope<'_>,
    version: Version,
) -> Result<FoundRelease, Error> {
    let query = Query { series: version.series(), linux: scope.linux };
    let mut candidates = Vec::new();
    for source in SOURCES.iter().filter(|source| source.is_local()) {
        let Some(list) = list_releases(ctx, scope, *source, &query)? else { continue };
        if let Some(candidate) = matching_candidate(version, &list.candidates) {
            return Ok(FoundRelease {
                candidate: source.complete(ctx, candidate)?,
                substitution_note: None,
            });
        }
        candidates.extend(list.candidates);
    }
    match read_record(ctx, scope.arch, version) {
        Some(found) if !scope.excluded.contains(&found.candidate) => Ok(found),
        _ => find_remote_release(ctx, scope, version, candidates),
    }
}

/// Finds a release in the sources that are not on this machine. `candidates` are those of the local
/// sources.
fn find_remote_release(
    ctx: &mut Ctx<'_>,
    scope: &SearchScope<'_>,
    version: Version,
    mut candidates: Vec<Candidate>,
) -> Result<FoundRelease, Error> {
    ctx.phase(&format!("looking for linux {version}"));
    let query = Query { series: version.series(), linux: scope.linux };
    let mut offered_series: Vec<Series> = Vec::new();
    for source in SOURCES.iter().filter(|source| !source.is_local()) {
        let Some(list) = list_releases(ctx, scope, *source, &query)? else { continue };
        if let Some(candidate) = matching_candidate(version, &list.candidates) {
            return Ok(FoundRelease {
                candidate: source.complete(ctx, candidate)?,
                substitution_note: None,
            });
        }
        candidates.extend(list.candidates);
        offered_series.extend(list.series);
    }
    if let Version::Exact(release) = version
        && let Some(candidate) = nearest(release, &candidates)
    {
        let substitution_note = Some(format!(
            "v{release} cannot be had here; {}, the nearest of its series, stands in for it",
            candidate.version
        ));
        return Ok(FoundRelease {
            candidate: candidate.source()?.complete(ctx, candidate)?,
            substitution_note,
        });
    }
    offered_series.sort_unstable();
    offered_series.dedup();
    if offered_series.is_empty() {
        let sources = remote_source_names().join(" nor ");
        return Err(SourceError::Unreachable { version, sources }.into());
    }
    let offers: Vec<String> = offered_series.iter().map(Series::to_string).collect();
    Err(SourceError::NoSuchSeries { version, offers: offers.join(", ") }.into())
}

/// Lists a source's releases of a series that are not excluded; `None` as [`Source::list`].
fn list_releases(
    ctx: &mut Ctx<'_>,
    scope: &SearchScope<'_>,
    source: &dyn Source,
    query: &Query<'_>,
) -> Result<Option<ReleaseList>, Error> {
    let Some(mut list) = source.list(ctx, query)? else { return Ok(None) };
    list.candidates.retain(|candidate| {
        !scope.excluded.iter().any(|excluded| excluded.has_same_location(candidate))
    });
    Ok(Some(list))
}

/// The names of the sources that are not on this machine.
fn remote_source_names() -> Vec<&'static str> {
    let mut names: Vec<_> =
        SOURCES.iter().filter(|source| !source.is_local()).map(|source| source.name()).collect();
    names.dedup();
    names
}

/// The series that the distribution's packages have, newest first.
///
/// # Errors
/// If the caller interrupts.
pub(super) fn offered_series(ctx: &mut Ctx<'_>) -> Result<Vec<Series>, Error> {
    // No source has candidates of series 0.0. The packages then still list all their series.
    let query = Query { series: Series { major: 0, minor: 0 }, linux: None };
    let mut series = Vec::new();
    for source in SOURCES {
        series.extend(source.list(ctx, &query)?.unwrap_or_default().series);
    }
    series.sort_unstable_by(|first, second| second.cmp(first));
    series.dedup();
    Ok(series)
}

/// Key of a version's record in the cache's folder `resolved`.
fn record_key(arch: Arch, version: Version) -> String {
    format!("{}-{version}", arch.name())
}

/// The release that an earlier run recorded; `None` if no run recorded one or the record is
/// damaged.
pub(super) fn read_record(ctx: &Ctx<'_>, arch: Arch, version: Version) -> Option<FoundRelease> {
    let found: FoundRelease = ctx.cache.read_record("resolved", &record_key(arch, version))?;
    found.candidate.content_id().is_ok().then_some(found)
}

/// Records the result of a search.
///
/// # Errors
/// If the record cannot be written.
pub(super) fn record_result(
    ctx: &Ctx<'_>,
    arch: Arch,
    version: Version,
    found: &FoundRelease,
) -> Result<(), Error> {
    let is_recorded = read_record(ctx, arch, version).as_ref() == Some(found);
    if found.candidate.source()?.is_local() || is_recorded {
        return Ok(());
    }
    ctx.cache.write_record("resolved", &record_key(arch, version), found)
}

/// The candidate for a version: the exact release, or the newest release of the series.
pub(super) fn matching_candidate(version: Version, candidates: &[Candidate]) -> Option<&Candidate> {
    match version {
        Version::Exact(release) => {
            candidates.iter().find(|candidate| candidate.release() == Some(release))
        }
        Version::Newest(series) => newest(series, candidates),
    }
}

/// The newest candidate of a series. Release candidates (-rc) count only if the series has no final
/// release. Of two candidates with equal versions, the first is returned.
pub(super) fn newest(series: Series, candidates: &[Candidate]) -> Option<&Candidate> {
    let is_in_series = |candidate: &&Candidate| {
        candidate.release().is_some_and(|release| release.series == series)
    };
    let rank = |candidate: &Candidate| {
        candidate.release().map(|release| (release.candidate.is_none(), release))
    };
    let newer = |first, second| if rank(second) > rank(first) { second } else { first };
    candidates.iter().filter(is_in_series).reduce(newer)
}

/// The candidate of the same series that is nearest to `release`, by the number of point releases
/// between them. Final releases are nearer to a final release than release candidates.
pub(super) fn nearest(release: Release, candidates: &[Candidate]) -> Option<&Candidate> {
    candidates
        .iter()
        .filter_map(|candidate| Some((candidate.release()?, candidate)))
        .filter(|(other, _)| other.series == release.series)
        .min_by_key(|(other, _)| {
            (other.candidate.is_some() != release.candidate.is_some(), other.distance(&release))
        })
        .map(|(_, candidate)| candidate)
}
