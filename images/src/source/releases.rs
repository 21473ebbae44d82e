// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What upstream says is released: `latest` and `stable`, from its releases.json.

use super::{Asked, Resolved, Wanted, apt, of_release, upstream};
use crate::cache::Cache;
use crate::error::Error;
use crate::monitor::Monitor;
use crate::source::Candidate;
use crate::types::Request;
use crate::version::{Release, Series};

/// How many releases that no source has are passed over.
const TRIES: usize = 3;

/// The newest releases, newest first; candidates only if they count.
fn newest(text: &str, candidates: bool) -> Vec<Release> {
    #[derive(serde::Deserialize)]
    struct Releases {
        releases: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        version: String,
    }
    let Ok(Releases { releases }) = serde_json::from_str(text) else { return Vec::new() };
    // linux-next's is a date.
    let mut all: Vec<Release> =
        releases.iter().filter_map(|one| one.version.parse().ok()).collect();
    all.retain(|release| candidates || release.candidate.is_none());
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.dedup();
    all
}

/// Finds out which release `latest` or `stable` is, and where it can be had. Where upstream cannot be
/// reached, the newest that the packages offer stands in.
pub(super) fn resolve(
    cache: &Cache,
    request: &Request,
    asked: &Asked,
    refused: &[Candidate],
    monitor: &mut dyn Monitor,
) -> Result<Resolved, Error> {
    let candidates = matches!(asked, Asked::Latest);
    let name = if candidates { "latest" } else { "stable" };
    monitor.phase(&format!("looking for the {name} release"));
    if let Some(text) = upstream::releases(cache, monitor)? {
        let all = newest(&text, candidates);
        let Some(first) = all.first() else {
            return Err(Error::Machine(format!(
                "KERNEL={name}: upstream's releases.json names no release; name one, such as 6.12"
            )));
        };
        for release in all.iter().take(TRIES) {
            let found = of_release(cache, request, Wanted::Exact(*release), refused, monitor);
            match found {
                Ok(Resolved { candidate, stands_in: None }) => {
                    let stands_in = (release != first).then(|| {
                        format!(
                            "the {name} release, v{first}, cannot be had here; v{release} stands in \
                             for it"
                        )
                    });
                    return Ok(Resolved { candidate, stands_in });
                }
                Ok(_) => {}
                Err(error) if error.fault() == crate::Fault::Interrupted => return Err(error),
                Err(error) => monitor.note(&error.to_string()),
            }
        }
        return Err(Error::Machine(format!(
            "KERNEL={name}: it is v{first}, which no source has; give a git tree (LINUX=), or name \
             another release"
        )));
    }
    for series in offered(cache, monitor)? {
        let found = of_release(cache, request, Wanted::Newest(series), refused, monitor)?;
        let release = found.candidate.release();
        if !candidates && release.is_some_and(|release| release.candidate.is_some()) {
            continue;
        }
        let stands_in = Some(format!(
            "which release is the {name} one is not known, as upstream cannot be reached; {}, the \
             newest that the packages offer, stands in for it",
            found.candidate.version
        ));
        return Ok(Resolved { candidate: found.candidate, stands_in });
    }
    Err(Error::Machine(format!(
        "KERNEL={name}: neither upstream nor the distribution's packages can be reached; connect this \
         machine, set the proxy variables, or name a release that is in the cache (sudbox kernels)"
    )))
}

/// The series that packages have sources of, newest first.
fn offered(cache: &Cache, monitor: &mut dyn Monitor) -> Result<Vec<Series>, Error> {
    // The candidates are of one series; all series are listed whichever that is.
    let any = Series { major: 0, minor: 0 };
    let mut all = Vec::new();
    for source in [apt::system, apt::others] {
        all.extend(source(cache, any, monitor)?.unwrap_or_default().series);
    }
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.dedup();
    Ok(all)
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
