// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Releases in the upstream archive: tarballs and their published checksums.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Candidate, List, Origin};
use crate::cache::Cache;
use crate::error::Failure;
use crate::error::{Context as _, Error};
use crate::hash::sha256_of;
use crate::lock::Held;
use crate::monitor::Monitor;
use crate::process::Event;
use crate::version::{Release, Series};
use crate::{process, toolchain};

/// Where the archive is.
const ARCHIVE: &str = "https://cdn.kernel.org/pub/linux/kernel";

/// What is released; a mirror has it at its top.
const RELEASES: &str = "https://www.kernel.org/releases.json";

/// Names another place with the same layout; `file://` works too.
const MIRROR: &str = "SUDBOX_KERNEL_MIRROR";

/// curl(1)'s exit code for a file that is not there (with `--fail`, and for `file://`).
const NOT_FOUND: [i32; 2] = [22, 37];

/// curl(1)'s exit code if it cannot write the file.
const CANNOT_WRITE: i32 = 23;

/// The upstream archive, as this run knows it.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) base: String,
    /// It did not answer; it is not asked again.
    pub(crate) down: AtomicBool,
}

impl Default for Upstream {
    fn default() -> Upstream {
        let set = std::env::var(MIRROR).ok().filter(|base| !base.is_empty());
        let base = set.as_deref().unwrap_or(ARCHIVE).trim_end_matches('/').to_owned();
        Upstream { base, down: AtomicBool::new(false) }
    }
}

/// Upstream's releases.json; `None` if it cannot be reached, which is remembered.
pub(super) fn releases(cache: &Cache, monitor: &mut dyn Monitor) -> Result<Option<String>, Error> {
    let url = match cache.upstream.base.as_str() {
        ARCHIVE => RELEASES.to_owned(),
        mirror => format!("{mirror}/releases.json"),
    };
    ask(cache, &url, monitor).map(|asked| asked?.ok())
}

/// What a small file of upstream's says; `None` if upstream cannot be reached, which is remembered.
fn ask(
    cache: &Cache,
    url: &str,
    monitor: &mut dyn Monitor,
) -> Result<Option<Result<String, Failed>>, Error> {
    if cache.upstream.down.load(Ordering::Relaxed) || toolchain::find("curl").is_none() {
        return Ok(None);
    }
    let tmp = cache.temporary()?;
    let to = tmp.path().join("answer");
    match curl(cache, url, &to, 0, monitor)? {
        Ok(()) => Ok(Some(Ok(fs::read_to_string(&to).context("read", &to)?))),
        Err(failed) if failed.not_found => Ok(Some(Err(failed))),
        Err(Failed { said, .. }) => {
            cache.upstream.down.store(true, Ordering::Relaxed);
            monitor.note(&format!("the upstream archive cannot be reached ({said}); going on"));
            Ok(None)
        }
    }
}

fn folder(series: Series) -> String {
    format!("v{}.x", series.major)
}

/// What the archive has of a series; `None` if it cannot be reached, which is remembered.
pub(super) fn list(
    cache: &Cache,
    series: Series,
    monitor: &mut dyn Monitor,
) -> Result<Option<List>, Error> {
    let url = format!("{}/{}/sha256sums.asc", cache.upstream.base, folder(series));
    let text = match ask(cache, &url, monitor)? {
        Some(Ok(text)) => text,
        // The archive answers, and has no such folder.
        Some(Err(_)) => return Ok(Some(List::default())),
        None => return Ok(None),
    };
    Ok(Some(read_sums(&text, series)))
}

/// Reads `sha256sums.asc`: lines of checksum, two spaces and name, between lines of a signature.
fn read_sums(text: &str, series: Series) -> List {
    let mut list = List::default();
    for line in text.lines() {
        let Some((sha256, name)) = line.split_once("  ") else { continue };
        let Some(version) =
            name.strip_prefix("linux-").and_then(|rest| rest.strip_suffix(".tar.xz"))
        else {
            continue;
        };
        let Ok(release) = version.parse::<Release>() else { continue };
        if sha256.len() != 64 {
            continue;
        }
        list.series.push(release.series);
        if release.series == series {
            let path = format!("{}/{name}", folder(series));
            let origin = Origin::Upstream { path, sha256: sha256.to_owned() };
            list.candidates.push(Candidate { version: release.to_string(), origin });
        }
    }
    list
}

/// Downloads a tarball and checks it.
pub(super) fn download(
    cache: &Cache,
    path: &str,
    sha256: &str,
    to: &Path,
    monitor: &mut dyn Monitor,
) -> Result<PathBuf, Failure> {
    let to = to.join(path.rsplit('/').next().unwrap_or(path));
    let url = format!("{}/{path}", cache.upstream.base);
    monitor.phase(&format!("downloading {url}"));
    if let Err(Failed { said, .. }) = curl(cache, &url, &to, TARBALL, monitor)? {
        return Err(Failure::Download(Error::Machine(format!(
            "cannot download {url}: {said}; try again, or give a source tree (KERNEL=directory)"
        ))));
    }
    let sum = sha256_of(&to)?;
    if sum != sha256 {
        // Not passed over: whoever can change a file can also make others unreachable.
        return Err(Failure::Other(Error::Machine(format!(
            "{url} is not what was published: its sha256 is {sum}, it should be {sha256}; somebody \
             between here and there changes files, use another network"
        ))));
    }
    Ok(to)
}

/// Bytes of a tarball, roughly: it is what a bar is drawn against.
const TARBALL: u64 = 150 << 20;

/// Why curl gave up.
struct Failed {
    not_found: bool,
    said: String,
}

fn curl(
    cache: &Cache,
    url: &str,
    to: &Path,
    expected: u64,
    monitor: &mut dyn Monitor,
) -> Result<Result<(), Failed>, Error> {
    let mut curl: Command = process::network_command("curl", cache.owner);
    // -q: no settings of the user's; a dead network must be noticed within seconds.
    curl.args(["-q", "--fail", "--silent", "--show-error", "--location"]);
    curl.args(["--proto", "=http,https,file", "--connect-timeout", "3"]);
    curl.args(["--speed-limit", "1000", "--speed-time", "4"]);
    curl.arg("--output").arg(to).arg("--").arg(url);
    let mut said = String::new();
    let statuses =
        process::run(vec![curl], &Held::default(), monitor, &mut |monitor, event| match event {
            Event::Line(line) => said = line.trim_start_matches("curl: ").to_owned(),
            Event::Tick if expected != 0 => {
                monitor.progress(fs::metadata(to).map_or(0, |meta| meta.len()), expected, "bytes");
            }
            Event::Tick => {}
        })?;
    let code = statuses.first().and_then(std::process::ExitStatus::code);
    if code == Some(0) {
        return Ok(Ok(()));
    }
    if code == Some(CANNOT_WRITE) {
        return Err(Error::DiskFull(format!("download {url}")));
    }
    // 22 is any answer from 400 on; a proxy that refuses is no archive that lacks a file.
    let not_found = code.is_some_and(|code| NOT_FOUND.contains(&code))
        && (code == Some(37) || said.contains("404"));
    Ok(Err(Failed { not_found, said }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_between_the_lines_of_a_signature() {
        let sum = "a".repeat(64);
        let text = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{sum}  linux-6.12.117.tar.xz\n\
             {sum}  linux-6.12.117.tar.gz\n{sum}  linux-6.12.tar.xz\n{sum}  linux-6.1.9.tar.xz\n\
             {sum}  patch-6.12.9.xz\n{sum}  ChangeLog-6.12.1\nshort  linux-6.12.5.tar.xz\n\
             -----BEGIN PGP SIGNATURE-----\n"
        );
        let list = read_sums(&text, "6.12".parse().unwrap());
        let versions: Vec<_> = list.candidates.iter().map(|c| c.version.as_str()).collect();
        assert_eq!(versions, ["6.12.117", "6.12"]);
        let Origin::Upstream { path, sha256 } = &list.candidates[0].origin else { panic!() };
        assert_eq!((path.as_str(), sha256), ("v6.x/linux-6.12.117.tar.xz", &sum));
        assert!(list.series.contains(&"6.1".parse().unwrap()));
    }
}
