// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Releases in the upstream archive: tarballs, their published checksums and their maintainers'
//! signatures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::unpack::{self, Part};
use super::{Candidate, Query, ReleaseList, Source};
use crate::ctx::Ctx;
use crate::curl::Limits;
use crate::error::{Context as _, Error, SourceError};
use crate::hash::sha256_of;
use crate::lock::EntryLock;
use crate::net::UPSTREAM_ARCHIVE;
use crate::process::{self, Event};
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
        let archive = ctx.net.archive()?;
        let url = format!("{archive}/{}/sha256sums.asc", archive_folder(query.series));
        if ctx.net.keyring.is_some() && toolchain::find_program("gpgv").is_none() {
            ctx.monitor.note(
                "the upstream archive is not used, because gpgv, which checks its signatures, is not \
                 installed; looking in the other sources",
            );
            return Ok(None);
        }
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
        let (tarball, url) = download_tarball(ctx, &path, &sha256, folder)?;
        let Some(keyring) = ctx.net.keyring.clone() else {
            return unpack::unpack_tarball(ctx, &candidate.version, &tarball, folder, part);
        };
        check_signature(ctx, &url, &tarball, &keyring, folder)?;
        let tree = unpack::unpack_tarball(ctx, &candidate.version, &tarball, folder, part)?;
        // The signature does not cover the name of the tarball.
        if tree.file_name() != Some(format!("linux-{}", candidate.version).as_ref()) {
            let reason = "it is another release's".to_owned();
            return Err(SourceError::BadSignature { url, reason }.into());
        }
        Ok(tree)
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
    let url = match ctx.net.archive()? {
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
    match curl::download(ctx, url, &response_file, 0, TEXT_LIMITS)? {
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

/// Downloads a tarball into `folder` and checks its checksum. Returns its path and address.
fn download_tarball(
    ctx: &mut Ctx<'_>,
    path: &str,
    sha256: &str,
    folder: &Path,
) -> Result<(PathBuf, String), Error> {
    let tarball = folder.join(file_name(path));
    let url = format!("{}/{path}", ctx.net.archive()?);
    ctx.phase(&format!("downloading {url}"));
    if let Err(curl::FailedDownload { output, .. }) =
        curl::download(ctx, &url, &tarball, TARBALL_SIZE_ESTIMATE, TARBALL_LIMITS)?
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
    Ok((tarball, url))
}

/// Checks the signature of a tarball in `folder`, which `url` names, against the keys of `keyring`.
/// Upstream signs the decompressed archive, and publishes the signature as `linux-X.Y.tar.sign`.
///
/// # Errors
/// [`SourceError::BadSignature`] if there is no signature or it is of another file or key;
/// [`SourceError::Download`] if the signature cannot be downloaded, or without gpgv.
fn check_signature(
    ctx: &mut Ctx<'_>,
    url: &str,
    tarball: &Path,
    keyring: &[u8],
    folder: &Path,
) -> Result<(), Error> {
    let advice = "try again, or give a source tree";
    if toolchain::find_program("gpgv").is_none() {
        let output = "gpgv, which checks its signature, is not installed".to_owned();
        return Err(SourceError::Download { what: url.to_owned(), output, advice }.into());
    }
    let bad_signature = |reason: &str| {
        Error::from(SourceError::BadSignature { url: url.to_owned(), reason: reason.to_owned() })
    };
    let signature_url = format!("{}.sign", url.trim_end_matches(".xz"));
    let signature = folder.join("signature");
    match curl::download(ctx, &signature_url, &signature, 0, TEXT_LIMITS)? {
        Ok(()) => {}
        Err(failure) if failure.not_found => return Err(bad_signature("the archive has none")),
        Err(curl::FailedDownload { output, .. }) => {
            return Err(SourceError::Download { what: signature_url, output, advice }.into());
        }
    }
    ctx.phase(&format!("checking the signature of {}", file_name(url)));
    let keys = folder.join("keyring.gpg");
    fs::write(&keys, keyring).context("write", &keys)?;
    let mut xz = ctx.command("xz");
    xz.args(["-d", "-c", "-T0", "--"]).arg(tarball);
    // Of an archive that expands without end, gpgv sees this much, which is not what was signed.
    let mut head = ctx.command("head");
    head.args(["-c", MAX_ARCHIVE_SIZE]);
    let mut gpgv = ctx.command("gpgv");
    // Without --homedir, gpgv looks into the user's home.
    gpgv.arg("--homedir")
        .arg(folder)
        .arg("--keyring")
        .arg(&keys)
        .arg("--")
        .arg(&signature)
        .arg("-");
    let mut reason = "the signature cannot be checked".to_owned();
    let commands = vec![xz, head, gpgv];
    let statuses = process::run(commands, &EntryLock::default(), ctx.monitor, &mut |_, event| {
        if let Event::Line(line) = event
            && let Some(message) = line.strip_prefix("gpgv: ")
        {
            reason = message.trim().to_owned();
        }
    })?;
    if statuses.iter().all(ExitStatus::success) { Ok(()) } else { Err(bad_signature(&reason)) }
}

/// Limits of the downloads of lists and signatures. The longest list has 1.5 MB.
const TEXT_LIMITS: Limits = Limits { bytes: 16 << 20, seconds: 60 };

/// Limits of the download of a tarball.
const TARBALL_LIMITS: Limits = Limits { bytes: 500 << 20, seconds: 3600 };

/// Largest size of a decompressed archive, as head(1) takes it. Linux 6.12 has 1.5 GB.
const MAX_ARCHIVE_SIZE: &str = "8G";

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
