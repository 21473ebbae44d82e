// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The sources of Linux releases: a git tree, the upstream archive and the distribution's packages.
//!
//! Each source is a file of this directory and a row of [`SOURCES`]
//! (docs/adding-a-kernel-source.md). A source lists and fetches releases. The choice of a release
//! (search.rs), caching and building (release.rs) are the same for all sources.

mod apt;
mod git;
mod latest;
pub(crate) mod release;
mod search;
mod unpack;
mod upstream;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ctx::Ctx;
use crate::error::{Error, SourceError};
use crate::version::{Release, Series};
use unpack::Part;

/// All sources. The local ones are searched first, in this order; then the records of earlier runs, and
/// then the others, in this order.
const SOURCES: &[&dyn Source] = &[
    #[cfg(test)]
    &tests::UnreadableDisk,
    &git::GitTree,
    &upstream::Upstream,
    &apt::SYSTEM_SUITES,
    &apt::ALL_SUITES,
];

/// A source of Linux releases.
trait Source: Sync {
    /// Name for messages, such as `the upstream archive`.
    fn name(&self) -> &'static str;

    /// The keys of the source's locators ([`Candidate::locator`]). These keys never change, because
    /// records in users' caches contain them.
    fn locator_keys(&self) -> &'static [&'static str];

    /// Whether the source is on this machine. A local source is searched at every run, and its
    /// releases are not recorded.
    fn is_local(&self) -> bool {
        false
    }

    /// Lists the source's releases of a series. `None` if the source cannot be reached or is not
    /// configured.
    ///
    /// # Errors
    /// If the caller interrupts, or the source that the user named cannot be used.
    fn list(&self, ctx: &mut Ctx<'_>, query: &Query<'_>) -> Result<Option<ReleaseList>, Error>;

    /// Adds the details of a candidate, such as the checksum, that [`Source::list`] leaves out
    /// because the look-up for a whole list takes too long.
    ///
    /// # Errors
    /// If the source does not have these details.
    fn complete(&self, ctx: &mut Ctx<'_>, candidate: &Candidate) -> Result<Candidate, Error> {
        let _ = ctx;
        Ok(candidate.clone())
    }

    /// Downloads and checks a release, and unpacks a part of it below the empty directory `folder`.
    /// Returns the root of the unpacked tree.
    ///
    /// # Errors
    /// [`SourceError::Download`] if another release may be tried instead; any other error is final.
    fn fetch(
        &self,
        ctx: &mut Ctx<'_>,
        candidate: &Candidate,
        part: Part,
        folder: &Path,
    ) -> Result<PathBuf, Error>;

    /// The release's origin and checksum, in one line for the report.
    ///
    /// # Errors
    /// If the locator is damaged.
    fn label(&self, candidate: &Candidate) -> Result<String, Error>;

    /// Identity of the content, part of cache keys: candidates with equal ids have the same files.
    ///
    /// # Errors
    /// If the locator is damaged.
    fn content_id(&self, candidate: &Candidate) -> Result<String, Error>;

    /// Identity of the file or commit in the source, without the checksum.
    ///
    /// # Errors
    /// If the locator is damaged.
    fn location(&self, candidate: &Candidate) -> Result<String, Error>;
}

/// A query to a source.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    /// The series whose releases are wanted.
    series: Series,
    /// `LINUX=`: the user's git tree.
    linux: Option<&'a Path>,
}

/// The releases of a source.
#[derive(Debug, Default)]
struct ReleaseList {
    /// Releases of the queried series. Of two releases with the same version, the preferred one
    /// comes first.
    candidates: Vec<Candidate>,
    /// All series of which the source has releases.
    series: Vec<Series>,
}

/// A release in a source. The cache records this structure.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Candidate {
    /// The version, as [`Release`] prints it; for a commit, the name that the user typed.
    version: String,
    /// The location in the source: a JSON object with one key, which is one of
    /// [`Source::locator_keys`].
    #[serde(rename = "origin")]
    locator: Value,
}

impl Candidate {
    fn new(version: String, locator: &impl Serialize) -> Candidate {
        // Locators consist of strings, so serialising them cannot fail.
        let locator = serde_json::to_value(locator).unwrap_or_default();
        Candidate { version, locator }
    }

    /// The version as a release; `None` for a commit.
    fn release(&self) -> Option<Release> {
        self.version.parse().ok()
    }

    /// The source that this candidate is from.
    fn source(&self) -> Result<&'static dyn Source, Error> {
        let has_locator_key = |source: &&&dyn Source| {
            source.locator_keys().iter().any(|key| self.locator.get(key).is_some())
        };
        SOURCES.iter().find(has_locator_key).copied().ok_or_else(|| self.damaged_record())
    }

    /// The locator as the source's own type.
    fn locator<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_value(self.locator.clone()).map_err(|_| self.damaged_record())
    }

    fn damaged_record(&self) -> Error {
        SourceError::DamagedRecord { version: self.version.clone() }.into()
    }

    fn content_id(&self) -> Result<String, Error> {
        self.source()?.content_id(self)
    }

    fn label(&self) -> Result<String, Error> {
        self.source()?.label(self)
    }

    /// Whether both candidates are the same file or commit. Does not compare checksums.
    fn has_same_location(&self, other: &Candidate) -> bool {
        let location = |candidate: &Candidate| candidate.source()?.location(candidate);
        matches!((location(self), location(other)), (Ok(first), Ok(second)) if first == second)
    }
}

/// The content id of a release with this checksum: version, and first digits of the checksum.
fn content_id_of(candidate: &Candidate, sha256: &str) -> String {
    format!("{}-{sha256:.24}", candidate.version)
}

#[cfg(test)]
mod tests;
