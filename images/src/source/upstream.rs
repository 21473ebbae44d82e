// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Releases in the upstream archive: tarballs and their published checksums.

use std::fs;
use std::path::{Path, PathBuf};

use super::unpack::{self, Part};
use super::{Candidate, Query, ReleaseList, Source};
use crate::ctx::Ctx;
use crate::error::{Context as _, Error, SourceError};
use crate::hash::sha256_of;
use crate::net::UPSTREAM_ARCHIVE;
use crate::version::{Release, Series};
use crate::{curl, toolchain};

/// Address of the list of current releases. A mirror has the list at its root.
const RELEASES_JSON: &str = "https://www.kernel.org/releases.json";

/// The upstream archive.
pub(super) struct Upstream;

/// The location of a release in the archive.
#[derive(serde::Serialize, serde::Deserialize)]
enum Locator {
    Upstream {
        /// Path of the tarball, relative to the archive's root.
        path: String,
        sha256: String,
    },
}

impl Source for Upstream {
    fn name(&self) -> &'static str {
        "the upstream archive"
    }

    fn locator_keys(&self) -> &'static [&'static str] {
        &["Upstream"]
    }

    fn list(&self, ctx: &mut Ctx<'_>, query: &Query<'_>) -> Result<Option<ReleaseList>, Error> {
        let url = format!("{}/{}/sha256sums.asc", ctx.net.archive, archive_folder(query.series));
        Ok(match download_text(ctx, &url)? {
            Response::Text(text) => Some(parse_checksums(&text, query.series)),
            // The archive has no releases with this major number.
            Response::NotFound => Some(ReleaseList::default()),
            Response::Unreachable => None,
        })
    }

    fn fetch(
        &self,
        ctx: &mut Ctx<'_>,
        candidate: &Candidate,
        part: Part,
        folder: &Path,
    ) -> Result<PathBuf, Error> {
        let Locator::Upstream { path, sha256 } = candidate.locator()?;
        let tarball = download_tarball(ctx, &path, &sha256, folder)?;
        unpack::unpack_tarball(ctx, &candidate.version, &tarball, folder, part)
    }

    fn label(&self, candidate: &Candidate) -> Result<String, Error> {
        let Locator::Upstream { path, sha256 } = candidate.locator()?;
        Ok(format!("upstream {}, sha256 {sha256}", file_name(&path)))
    }

    fn content_id(&self, candidate: &Candidate) -> Result<String, Error> {
        let Locator::Upstream { sha256, .. } = candidate.locator()?;
        Ok(super::content_id_of(candidate, &sha256))
    }

    fn location(&self, candidate: &Candidate) -> Result<String, Error> {
        let Locator::Upstream { path, .. } = candidate.locator()?;
        Ok(path)
    }
}

/// Downloads upstream's releases.json; `None` if the download fails.
pub(super) fn download_releases_json(ctx: &mut Ctx<'_>) -> Result<Option<String>, Error> {
    let url = match ctx.net.archive.as_str() {
        UPSTREAM_ARCHIVE => RELEASES_JSON.to_owned(),
        mirror => format!("{mirror}/releases.json"),
    };
    Ok(match download_text(ctx, &url)? {
        Response::Text(text) => Some(text),
        Response::NotFound | Response::Unreachable => None,
    })
}

/// The result of a request to the archive.
enum Response {
    Text(String),
    /// The archive does not have the file.
    NotFound,
    /// The archive cannot be reached.
    Unreachable,
}

/// Downloads a small text file. After a failure, the archive is not contacted again.
fn download_text(ctx: &mut Ctx<'_>, url: &str) -> Result<Response, Error> {
    if ctx.net.archive_is_down() || toolchain::find_program("curl").is_none() {
        return Ok(Response::Unreachable);
    }
    let tmp = ctx.cache.temporary_directory()?;
    let response_file = tmp.path().join("response");
    match curl::download(ctx, url, &response_file, 0)? {
        Ok(()) => {
            Ok(Response::Text(fs::read_to_string(&response_file).context("read", &response_file)?))
        }
        Err(failure) if failure.not_found => Ok(Response::NotFound),
        Err(curl::FailedDownload { output, .. }) => {
            ctx.net.mark_archive_down();
            ctx.monitor.note(&format!(
                "the upstream archive cannot be reached ({output}); looking in the other sources"
            ));
            Ok(Response::Unreachable)
        }
    }
}

/// The last part of a path in the archive.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The archive's folder with the releases of a series.
fn archive_folder(series: Series) -> String {
    format!("v{}.x", series.major)
}

/// Parses `sha256sums.asc`: lines with checksum, two spaces and file name, between the lines of a
/// PGP signature.
fn parse_checksums(text: &str, series: Series) -> ReleaseList {
    let mut list = ReleaseList::default();
    for line in text.lines() {
        let Some((sha256, name)) = line.split_once("  ") else { continue };
        let Some(version) =
            name.strip_prefix("linux-").and_then(|name| name.strip_suffix(".tar.xz"))
        else {
            continue;
        };
        let Ok(release) = version.parse::<Release>() else { continue };
        if sha256.len() != 64 {
            continue;
        }
        list.series.push(release.series);
        if release.series == series {
            let path = format!("{}/{name}", archive_folder(series));
            let locator = Locator::Upstream { path, sha256: sha256.to_owned() };
            list.candidates.push(Candidate::new(release.to_string(), &locator));
        }
    }
    list
}

/// Downloads a tarball into `folder`, checks its checksum, and returns its path.
fn download_tarball(
    ctx: &mut Ctx<'_>,
    path: &str,
    sha256: &str,
    folder: &Path,
) -> Result<PathBuf, Error> {
    let tarball = folder.join(file_name(path));
    let url = format!("{}/{path}", ctx.net.archive);
    ctx.phase(&format!("downloading {url}"));
    if let Err(curl::FailedDownload { output, .. }) =
        curl::download(ctx, &url, &tarball, TARBALL_SIZE_ESTIMATE)?
    {
        let advice = "try again, or give a source tree";
        return Err(SourceError::Download { what: url, output, advice }.into());
    }
    let actual = sha256_of(&tarball)?;
    if actual != sha256 {
        // Fail instead of trying another source: an attacker who can change a file can also block
        // the other sources.
        let published = sha256.to_owned();
        return Err(SourceError::Tampered { url, actual, published }.into());
    }
    Ok(tarball)
}

/// Estimated size of a tarball in bytes, for the progress bar.
const TARBALL_SIZE_ESTIMATE: u64 = 150 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_parsed_between_the_lines_of_a_signature() {
        let sum = "a".repeat(64);
        let text = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{sum}  linux-6.12.117.tar.xz\n\
             {sum}  linux-6.12.117.tar.gz\n{sum}  linux-6.12.tar.xz\n{sum}  linux-6.1.9.tar.xz\n\
             {sum}  patch-6.12.9.xz\n{sum}  ChangeLog-6.12.1\nshort  linux-6.12.5.tar.xz\n\
             -----BEGIN PGP SIGNATURE-----\n"
        );
        let list = parse_checksums(&text, "6.12".parse().unwrap());
        let versions: Vec<_> =
            list.candidates.iter().map(|candidate| candidate.version.as_str()).collect();
        assert_eq!(versions, ["6.12.117", "6.12"]);
        let Locator::Upstream { path, sha256 } = list.candidates[0].locator().unwrap();
        assert_eq!((path.as_str(), sha256), ("v6.x/linux-6.12.117.tar.xz", sum));
        assert!(list.series.contains(&"6.1".parse().unwrap()));
    }
}
