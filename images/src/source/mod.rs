// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The sources that Linux releases are taken from: a git tree, the upstream archive, the
//! distribution's packages.
//!
//! A source is a file here and a row of [`SOURCES`] (docs/adding-a-kernel-source.md). It lists what
//! it has of a series; choosing a release is the same for all (search.rs), and so are caching and
//! building it (release.rs).

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

/// All sources, in the order in which they are asked.
const SOURCES: [&dyn Source; 4] = [&git::Git, &upstream::Upstream, &apt::SYSTEM, &apt::OTHERS];

/// A place that Linux releases can be had from.
trait Source: Sync {
    /// Its name in messages, such as `the upstream archive`.
    fn name(&self) -> &'static str;

    /// The keys of its locators. Records in users' caches hold them, so they never change.
    fn keys(&self) -> &'static [&'static str];

    /// Whether it is on this machine: it is asked at every run, and what it has is not recorded.
    fn is_local(&self) -> bool {
        false
    }

    /// Lists its releases of a series. `None` if it cannot be reached, or is not configured.
    ///
    /// # Errors
    /// If the caller interrupts, or the user named a place that is not such a source.
    fn list(&self, ctx: &mut Ctx<'_>, query: &Query<'_>) -> Result<Option<List>, Error>;

    /// Adds details that are too slow to look up for a whole list, such as the checksum.
    ///
    /// # Errors
    /// If the source does not say it.
    fn complete(&self, ctx: &mut Ctx<'_>, candidate: &Candidate) -> Result<Candidate, Error> {
        let _ = ctx;
        Ok(candidate.clone())
    }

    /// Downloads the release, checks it, and unpacks a part of it below the empty directory `to`.
    /// Returns the top of the unpacked tree.
    ///
    /// # Errors
    /// [`SourceError::Download`] if another release may be had in its place; others if not.
    fn fetch(
        &self,
        ctx: &mut Ctx<'_>,
        candidate: &Candidate,
        part: Part,
        to: &Path,
    ) -> Result<PathBuf, Error>;

    /// Describes the release and where it is from, with its checksum, in one line for the report.
    ///
    /// # Errors
    /// If the locator is damaged.
    fn label(&self, candidate: &Candidate) -> Result<String, Error>;

    /// Names the content: two candidates with the same identity have the same files.
    ///
    /// # Errors
    /// If the locator is damaged.
    fn id(&self, candidate: &Candidate) -> Result<String, Error>;

    /// Names the file or commit, without the checksum.
    ///
    /// # Errors
    /// If the locator is damaged.
    fn place(&self, candidate: &Candidate) -> Result<String, Error>;
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
struct List {
    /// Its releases of the series that was asked for. Of two with the same version the better one
    /// comes first.
    candidates: Vec<Candidate>,
    /// The series of all its releases.
    series: Vec<Series>,
}

/// A release that a source has. It is recorded in the cache as it is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Candidate {
    /// Its version, as [`Release`] writes it; of a commit, the name that the user typed.
    version: String,
    /// Its place in its source: an object with one key, which is one of [`Source::keys`].
    #[serde(rename = "origin")]
    locator: Value,
}

impl Candidate {
    fn new(version: String, locator: &impl Serialize) -> Candidate {
        // Locators are structs of texts, which serde_json can always write.
        let locator = serde_json::to_value(locator).unwrap_or_default();
        Candidate { version, locator }
    }

    /// The release; `None` for a commit.
    fn release(&self) -> Option<Release> {
        self.version.parse().ok()
    }

    /// The source that wrote the locator.
    fn source(&self) -> Result<&'static dyn Source, Error> {
        let is_its_own =
            |source: &&&dyn Source| source.keys().iter().any(|key| self.locator.get(key).is_some());
        SOURCES.iter().find(is_its_own).copied().ok_or_else(|| self.damaged())
    }

    /// The locator, as its source reads it.
    fn locator<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_value(self.locator.clone()).map_err(|_| self.damaged())
    }

    fn damaged(&self) -> Error {
        SourceError::DamagedRecord { version: self.version.clone() }.into()
    }

    fn id(&self) -> Result<String, Error> {
        self.source()?.id(self)
    }

    fn label(&self) -> Result<String, Error> {
        self.source()?.label(self)
    }

    /// Whether both are the same file or commit, whatever their checksums say.
    fn is_same_place(&self, other: &Candidate) -> bool {
        let place = |candidate: &Candidate| candidate.source()?.place(candidate);
        matches!((place(self), place(other)), (Ok(a), Ok(b)) if a == b)
    }
}

/// The identity of a release with this checksum.
fn id_of(candidate: &Candidate, sha256: &str) -> String {
    format!("{}-{sha256:.24}", candidate.version)
}

#[cfg(test)]
mod tests;
