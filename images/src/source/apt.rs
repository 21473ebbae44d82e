// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Releases in the distribution's packages: `linux-source-X.Y`, and the source package `linux`.

use std::path::{Path, PathBuf};

use super::unpack::{self, Part};
use super::{Candidate, Query, ReleaseList, Source};
use crate::apt::{self, Suites};
use crate::ctx::Ctx;
use crate::error::{Error, SourceError};
use crate::version::Series;

/// The packages of the system's own suites.
pub(super) const SYSTEM_SUITES: Packages = Packages(Suites::System);

/// The packages of the distribution's other suites.
pub(super) const ALL_SUITES: Packages = Packages(Suites::All);

/// The source package of the kernel.
const SOURCE_PACKAGE: &str = "linux";

/// The packages of some of the distribution's suites.
pub(super) struct Packages(Suites);

/// The location of a release in the packages.
#[derive(serde::Serialize, serde::Deserialize)]
enum Locator {
    /// The tarball in a binary package `linux-source-X.Y`. `sha256` is that of the package.
    Binary { package: String, version: String, suites: Suites, sha256: String },
    /// The upstream tarball (`.orig.tar`) of the source package `linux`.
    Orig { version: String, file: String, sha256: String },
}

impl Source for Packages {
    fn name(&self) -> &'static str {
        "the distribution's packages"
    }

    fn locator_keys(&self) -> &'static [&'static str] {
        &["Binary", "Orig"]
    }

    fn list(&self, ctx: &mut Ctx<'_>, query: &Query<'_>) -> Result<Option<ReleaseList>, Error> {
        if !apt::refresh_lists(ctx, self.0)? {
            return Ok(None);
        }
        list_releases(ctx, query.series, self.0).map(Some)
    }

    fn complete(&self, ctx: &mut Ctx<'_>, candidate: &Candidate) -> Result<Candidate, Error> {
        let no_checksum =
            || SourceError::NoChecksum { what: format!("linux {}", candidate.version) };
        let locator = match candidate.locator()? {
            Locator::Binary { package, version, suites, .. } => {
                let wanted = [(package.clone(), version.clone())];
                let sha256 = apt::checksums(ctx, &wanted, suites)?.concat();
                Locator::Binary { package, version, suites, sha256 }
            }
            Locator::Orig { version, .. } => {
                let mut show = apt::command(ctx, "apt-cache", Suites::All);
                show.args(["showsrc", SOURCE_PACKAGE]);
                let text = ctx.capture(show)?.ok_or_else(no_checksum)?;
                let (sha256, file) = find_orig_tarball(&text, &version).ok_or_else(no_checksum)?;
                Locator::Orig { version, file, sha256 }
            }
        };
        Ok(Candidate::new(candidate.version.clone(), &locator))
    }

    fn fetch(
        &self,
        ctx: &mut Ctx<'_>,
        candidate: &Candidate,
        part: Part,
        folder: &Path,
    ) -> Result<PathBuf, Error> {
        let tarball = download_tarball(ctx, candidate.locator()?, folder)?;
        unpack::unpack_tarball(ctx, &candidate.version, &tarball, folder, part)
    }

    fn label(&self, candidate: &Candidate) -> Result<String, Error> {
        Ok(match candidate.locator()? {
            Locator::Binary { package, version, sha256, .. } => {
                format!("distribution package {package} {version}, sha256 {sha256}")
            }
            Locator::Orig { version, file, sha256 } => format!(
                "upstream part {file} of the distribution's source package linux {version}, sha256 \
                 {sha256}"
            ),
        })
    }

    fn content_id(&self, candidate: &Candidate) -> Result<String, Error> {
        let (Locator::Binary { sha256, .. } | Locator::Orig { sha256, .. }) =
            candidate.locator()?;
        Ok(super::content_id_of(candidate, &sha256))
    }

    fn location(&self, candidate: &Candidate) -> Result<String, Error> {
        Ok(match candidate.locator()? {
            Locator::Binary { package, version, .. } => format!("{package} {version}"),
            Locator::Orig { version, .. } => version,
        })
    }
}

/// Lists the releases of a series in the packages, without checksums, which
/// [`Source::complete`] adds.
fn list_releases(ctx: &mut Ctx<'_>, series: Series, suites: Suites) -> Result<ReleaseList, Error> {
    let package = format!("linux-source-{series}");
    let mut list = ReleaseList::default();
    let mut madison = apt::command(ctx, "apt-cache", suites);
    madison.args(["madison", &package, SOURCE_PACKAGE]);
    let text = ctx.capture(madison)?.unwrap_or_default();
    let (mut binary_packages, mut source_packages) = (Vec::new(), Vec::new());
    for (name, version, index_kind) in text.lines().filter_map(apt::parse_madison) {
        let Some(release) = apt::upstream_version(version) else { continue };
        list.series.push(release.series);
        if release.series != series {
            continue;
        }
        let candidate = |locator| Candidate::new(release.to_string(), &locator);
        let (version, sha256) = (version.to_owned(), String::new());
        match (index_kind, suites) {
            ("Packages", _) if name == package => {
                let package = package.clone();
                binary_packages.push(candidate(Locator::Binary {
                    package,
                    version,
                    suites,
                    sha256,
                }));
            }
            // Source packages are listed only from the private root, because the configuration of
            // the system may lack deb-src.
            ("Sources", Suites::All) if name == SOURCE_PACKAGE => {
                source_packages.push(candidate(Locator::Orig {
                    version,
                    file: String::new(),
                    sha256,
                }));
            }
            _ => {}
        }
    }
    // Binary packages are preferred: users of the distribution build kernels from these packages.
    list.candidates = binary_packages;
    list.candidates.extend(source_packages);
    let mut names = apt::command(ctx, "apt-cache", suites);
    names.args(["pkgnames", "linux-source-"]);
    let names = ctx.capture(names)?.unwrap_or_default();
    let series_of = |name: &str| name.strip_prefix("linux-source-")?.parse::<Series>().ok();
    list.series.extend(names.lines().filter_map(series_of));
    Ok(list)
}

/// Checksum and name of the upstream tarball in the records of `apt-cache showsrc`.
fn find_orig_tarball(text: &str, version: &str) -> Option<(String, String)> {
    let record = text
        .split("\n\n")
        .find(|record| record.lines().any(|line| line == format!("Version: {version}")))?;
    let mut lines =
        record.lines().skip_while(|line| !line.starts_with("Checksums-Sha256:")).skip(1);
    lines.by_ref().take_while(|line| line.starts_with(' ')).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (checksum, name) = (fields.next()?, fields.nth(1)?);
        name.contains(".orig.tar.").then(|| (checksum.to_owned(), name.to_owned()))
    })
}

/// Downloads a package and returns the path of its tarball. apt checks the checksums.
fn download_tarball(ctx: &mut Ctx<'_>, locator: Locator, folder: &Path) -> Result<PathBuf, Error> {
    match locator {
        Locator::Binary { package, version, suites, .. } => {
            let package = apt::fetch(ctx, &[(&package, &version)], suites, folder)?.remove(0);
            let content = folder.join("content");
            apt::unpack(ctx, &package, &content)?;
            apt::find_file(&content.join("usr/src"), "", ".tar.xz")
        }
        Locator::Orig { version, file, .. } => {
            let mut download = apt::command(ctx, "apt-get", Suites::All);
            download.args(["source", "--download-only", "--tar-only"]);
            download.arg(format!("{SOURCE_PACKAGE}={version}"));
            let name = format!("the source of {SOURCE_PACKAGE} {version}");
            Ok(apt::download_below(ctx, download, &name, folder)?.join(file))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_tarball_is_found_by_the_version_of_its_record() {
        let text = "Package: linux\nVersion: 6.5.1-1\nChecksums-Sha256:\n aa 1 linux_6.5.1.orig.tar.xz\n\
                    \nPackage: linux\nVersion: 6.5.10-1\nFiles:\n 99 1 linux_6.5.10.orig.tar.xz\n\
                    Checksums-Sha256:\n bb 5 linux_6.5.10-1.dsc\n cc 7 linux_6.5.10.orig.tar.xz\nHomepage: x\n";
        let (checksum, name) = find_orig_tarball(text, "6.5.10-1").unwrap();
        assert_eq!((&*checksum, &*name), ("cc", "linux_6.5.10.orig.tar.xz"));
        assert_eq!(find_orig_tarball(text, "6.5.2-1"), None);
    }
}
