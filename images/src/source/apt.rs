// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Releases in the distribution's packages: `linux-source-X.Y`, and the source package `linux`.

use std::path::{Path, PathBuf};

use super::{Candidate, List, Origin};
use crate::apt::{self, Suites};
use crate::cache::Cache;
use crate::error::Error;
use crate::error::Failure;
use crate::monitor::Monitor;
use crate::process;
use crate::version::Series;

/// The source package of the kernel.
const SOURCE: &str = "linux";

/// What the system's suites have; `None` if this is no such system.
pub(super) fn system(
    cache: &Cache,
    series: Series,
    monitor: &mut dyn Monitor,
) -> Result<Option<List>, Error> {
    of_series(cache, series, Suites::System, monitor)
}

/// What other suites have; `None` if this is no such system or they cannot be reached.
pub(super) fn others(
    cache: &Cache,
    series: Series,
    monitor: &mut dyn Monitor,
) -> Result<Option<List>, Error> {
    of_series(cache, series, Suites::Others, monitor)
}

fn of_series(
    cache: &Cache,
    series: Series,
    suites: Suites,
    monitor: &mut dyn Monitor,
) -> Result<Option<List>, Error> {
    let there = apt::refresh(cache, suites, monitor)?;
    there.then(|| list(cache, series, suites, monitor)).transpose()
}

fn list(
    cache: &Cache,
    series: Series,
    suites: Suites,
    monitor: &mut dyn Monitor,
) -> Result<List, Error> {
    let package = format!("linux-source-{series}");
    let mut list = List::default();
    let mut madison = apt::command(cache, "apt-cache", suites);
    madison.args(["madison", &package, SOURCE]);
    let text = process::capture(madison, monitor)?.unwrap_or_default();
    let (mut binaries, mut sources) = (Vec::new(), Vec::new());
    for (name, version, kind) in text.lines().filter_map(apt::madison_line) {
        let Some(release) = apt::upstream_version(version) else { continue };
        list.series.push(release.series);
        if release.series != series {
            continue;
        }
        let candidate = |origin| Candidate { version: release.to_string(), origin };
        match (kind, suites) {
            ("Packages", _) if name == package => binaries.push(candidate(Origin::Binary {
                package: package.clone(),
                version: version.to_owned(),
                suites,
                sha256: String::new(),
            })),
            // The system's own sources may lack deb-src; the private root has it always.
            ("Sources", Suites::Others) if name == SOURCE => {
                sources.push(candidate(Origin::Orig {
                    version: version.to_owned(),
                    file: String::new(),
                    sha256: String::new(),
                }));
            }
            _ => {}
        }
    }
    // The ready package first: it is one file, and what the distribution's users run.
    list.candidates = binaries;
    list.candidates.extend(sources);
    let mut names = apt::command(cache, "apt-cache", suites);
    names.args(["pkgnames", "linux-source-"]);
    let names = process::capture(names, monitor)?.unwrap_or_default();
    let of_name = |name: &str| name.strip_prefix("linux-source-")?.parse::<Series>().ok();
    list.series.extend(names.lines().filter_map(of_name));
    Ok(list)
}

/// Finds out the checksum, and the file's name.
pub(super) fn complete(
    cache: &Cache,
    candidate: &Candidate,
    monitor: &mut dyn Monitor,
) -> Result<Candidate, Error> {
    let mut complete = candidate.clone();
    let unknown =
        || Error::Machine(format!("apt does not know the checksum of linux {}", candidate.version));
    match &mut complete.origin {
        Origin::Binary { package, version, suites, sha256 } => {
            let named = [(package.clone(), version.clone())];
            *sha256 = apt::checksums(cache, &named, *suites, monitor)?.concat();
        }
        Origin::Orig { version, file, sha256 } => {
            let mut show = apt::command(cache, "apt-cache", Suites::Others);
            show.args(["showsrc", SOURCE]);
            let text = process::capture(show, monitor)?.ok_or_else(unknown)?;
            (*sha256, *file) = orig_of(&text, version).ok_or_else(unknown)?;
        }
        Origin::Git { .. } | Origin::Upstream { .. } => {}
    }
    Ok(complete)
}

/// Checksum and name of the upstream tarball in the records of `apt-cache showsrc`.
fn orig_of(text: &str, version: &str) -> Option<(String, String)> {
    let record = text
        .split("\n\n")
        .find(|record| record.lines().any(|line| line == format!("Version: {version}")))?;
    let mut lines =
        record.lines().skip_while(|line| !line.starts_with("Checksums-Sha256:")).skip(1);
    lines.by_ref().take_while(|line| line.starts_with(' ')).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (sum, name) = (fields.next()?, fields.nth(1)?);
        name.contains(".orig.tar.").then(|| (sum.to_owned(), name.to_owned()))
    })
}

/// Downloads the package and gives back the tarball in it. apt checks what it downloads.
pub(super) fn download(
    cache: &Cache,
    candidate: &Candidate,
    to: &Path,
    monitor: &mut dyn Monitor,
) -> Result<PathBuf, Failure> {
    let package = match &candidate.origin {
        Origin::Binary { package, version, suites, .. } => {
            apt::fetch(cache, &[(package, version)], *suites, to, monitor)?.remove(0)
        }
        Origin::Orig { version, file, .. } => {
            let mut get = apt::command(cache, "apt-get", Suites::Others);
            get.args(["source", "--download-only", "--tar-only"]);
            get.arg(format!("{SOURCE}={version}"));
            let what = format!("the source of {SOURCE} {version}");
            return Ok(apt::into_folder(get, &what, to, monitor)?.join(file));
        }
        Origin::Git { .. } | Origin::Upstream { .. } => {
            return Err(Error::Machine("apt has no such source".into()).into());
        }
    };
    let content = to.join("content");
    apt::unpack(cache, &package, &content, monitor)?;
    Ok(apt::first_file(&content.join("usr/src"), "", ".tar.xz")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_part_is_found_by_its_version() {
        let text = "Package: linux\nVersion: 6.5.1-1\nChecksums-Sha256:\n aa 1 linux_6.5.1.orig.tar.xz\n\
                    \nPackage: linux\nVersion: 6.5.10-1\nFiles:\n 99 1 linux_6.5.10.orig.tar.xz\n\
                    Checksums-Sha256:\n bb 5 linux_6.5.10-1.dsc\n cc 7 linux_6.5.10.orig.tar.xz\nHomepage: x\n";
        let found = orig_of(text, "6.5.10-1").unwrap();
        assert_eq!(found, ("cc".to_owned(), "linux_6.5.10.orig.tar.xz".to_owned()));
        assert_eq!(orig_of(text, "6.5.2-1"), None);
    }
}
