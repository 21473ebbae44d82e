// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Queries and downloads packages of the distribution with apt.
//!
//! sudbox queries the configured suites by the system's package lists, and other suites (backports,
//! newer releases) by a private apt root in the cache, which uses the system's mirror and keys.
//! sudbox does not change the system's configuration and lists.

mod sources_list;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, SystemTime};

use crate::arch::{self, Arch};
use crate::cache::write_atomically;
use crate::command;
use crate::ctx::Ctx;
use crate::error::{Context as _, Error, SourceError, is_full_disk};
use crate::lock::{EntryLock, LockMode};
use crate::monitor::Monitor;
use crate::process::{self, Event};
use crate::toolchain;
use crate::version::Release;
use sources_list::ListContents;

/// The suites to query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Suites {
    /// The suites that the system is configured for.
    System,
    /// All suites of the distribution, through a private root.
    #[serde(rename = "Others")]
    All,
    /// Released suites for another architecture, through a private root.
    #[serde(skip)]
    Foreign(Arch),
}

impl Suites {
    /// The folder of the private root in the cache.
    fn folder(self) -> Option<String> {
        match self {
            Suites::System => None,
            Suites::All => Some("apt".to_owned()),
            Suites::Foreign(arch) => Some(format!("apt-{}", arch::facts(arch).debian_arch)),
        }
    }
}

/// Age at which the lists of a private root are fetched again.
const LISTS_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Whether apt is installed and may be used.
pub(crate) fn is_usable(ctx: &Ctx<'_>) -> bool {
    ctx.net.may_use_apt
        && ["apt-get", "dpkg-deb"].iter().all(|tool| toolchain::find_program(tool).is_some())
}

/// Parses a line of `apt-cache madison` into package, version and kind of index.
pub(crate) fn parse_madison(line: &str) -> Option<(&str, &str, &str)> {
    let mut columns = line.split('|').map(str::trim);
    let (name, version) = (columns.next()?, columns.next()?);
    Some((name, version, columns.next()?.rsplit(' ').next()?))
}

/// The kernel release in a package version such as `6.12.117-1~deb12u1` or `7.3~rc7-1~exp1`.
pub(crate) fn upstream_version(version: &str) -> Option<Release> {
    let version = version.split_once(':').map_or(version, |(_, after_epoch)| after_epoch);
    let upstream = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    upstream.replace("~rc", "-rc").parse().ok()
}

/// The SHA-256 checksums of packages (name, version), from the lists.
pub(crate) fn checksums(
    ctx: &mut Ctx<'_>,
    packages: &[(String, String)],
    suites: Suites,
) -> Result<Vec<String>, Error> {
    let mut show = command(ctx, "apt-cache", suites);
    show.arg("show").args(packages.iter().map(|(name, version)| format!("{name}={version}")));
    let text = ctx.capture(show)?.unwrap_or_default();
    let checksum_of = |(name, version): &(String, String)| {
        let has_line = |record: &&str, wanted: String| record.lines().any(|line| line == wanted);
        let mut records = text.split("\n\n");
        let record = records.find(|record| {
            has_line(record, format!("Package: {name}"))
                && has_line(record, format!("Version: {version}"))
        });
        let sum =
            record.and_then(|record| record.lines().find_map(|line| line.strip_prefix("SHA256: ")));
        sum.map(|sum| sum.trim().to_owned())
            .ok_or_else(|| SourceError::NoChecksum { what: format!("{name} {version}") }.into())
    };
    packages.iter().map(checksum_of).collect()
}

/// Unpacks the files of a package into a directory.
pub(crate) fn unpack(ctx: &mut Ctx<'_>, package: &Path, folder: &Path) -> Result<(), Error> {
    let mut extract = ctx.command("dpkg-deb");
    extract.arg("-x").arg(package).arg(folder);
    match run_to_end(ctx, extract, &mut |_| {})? {
        None => Ok(()),
        Some(errors) if is_full_disk(&errors) => Err(Error::DiskFull("unpack a package".into())),
        Some(errors) => {
            let what = package.display().to_string();
            Err(SourceError::CannotUnpack { what, output: errors }.into())
        }
    }
}

/// Downloads packages (name, version) into a new folder below `parent`, and returns their paths. apt
/// checks the packages against the signed lists.
pub(crate) fn fetch(
    ctx: &mut Ctx<'_>,
    packages: &[(&str, &str)],
    suites: Suites,
    parent: &Path,
) -> Result<Vec<PathBuf>, Error> {
    let mut download = command(ctx, "apt-get", suites);
    download.arg("download");
    download.args(packages.iter().map(|(package, version)| format!("{package}={version}")));
    let (package, version) = packages.first().copied().unwrap_or_default();
    let folder = download_below(ctx, download, &format!("{package} {version}"), parent)?;
    let find_package =
        |(package, _): &(&str, &str)| find_file(&folder, &format!("{package}_"), ".deb");
    packages.iter().map(find_package).collect()
}

/// Runs an apt command that downloads into the working directory, in a new folder below `parent`.
/// `name` names the download in messages.
pub(crate) fn download_below(
    ctx: &mut Ctx<'_>,
    mut download: Command,
    name: &str,
    parent: &Path,
) -> Result<PathBuf, Error> {
    let folder = parent.join("packages");
    fs::create_dir(&folder).context("make", &folder)?;
    download.current_dir(&folder);
    ctx.phase(&format!("downloading {name}"));
    let Some(output) = run_to_end(ctx, download, &mut |monitor| {
        monitor.progress(crate::cache::disk_usage(&folder), PACKAGE_SIZE_ESTIMATE, "bytes");
    })?
    else {
        return Ok(folder);
    };
    if is_full_disk(&output) {
        return Err(Error::DiskFull(format!("download {name}")));
    }
    // A wrong checksum is a final error, because the package may be an attack.
    if output.contains("Hash Sum mismatch") {
        return Err(SourceError::TamperedPackage { what: name.to_owned(), output }.into());
    }
    let advice = "try again (after apt-get update, if the list of packages is old)";
    Err(SourceError::Download { what: name.to_owned(), output, advice }.into())
}

/// The versions of a package, newest first.
pub(crate) fn list_versions(
    ctx: &mut Ctx<'_>,
    package: &str,
    suites: Suites,
) -> Result<Vec<String>, Error> {
    let mut madison = command(ctx, "apt-cache", suites);
    madison.args(["madison", package]);
    let text = ctx.capture(madison)?.unwrap_or_default();
    Ok(text.lines().filter_map(parse_madison).map(|(_, version, _)| version.to_owned()).collect())
}

/// The dependencies of a package in the system's suites: names and versions. If the package
/// requires no particular version, the version is the newest one.
pub(crate) fn dependencies(
    ctx: &mut Ctx<'_>,
    package: &str,
    version: &str,
) -> Result<Vec<(String, String)>, Error> {
    let mut show = command(ctx, "apt-cache", Suites::System);
    show.args(["show", "--no-all-versions"]).arg(format!("{package}={version}"));
    let text = ctx.capture(show)?.unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
    let mut dependencies = Vec::new();
    for word in line.split(',') {
        let mut words = word.split_whitespace();
        let (name, relation) = (words.next().unwrap_or_default(), words.next());
        let version = match (relation, words.next()) {
            (Some("(="), Some(version)) => Some(version.trim_end_matches(')').to_owned()),
            _ => list_versions(ctx, name, Suites::System)?.into_iter().next(),
        };
        dependencies.extend(version.map(|version| (name.to_owned(), version)));
    }
    Ok(dependencies)
}

/// Estimated size of a package in bytes, for the progress bar.
const PACKAGE_SIZE_ESTIMATE: u64 = 150 << 20;

/// Finds a file of a folder whose name begins with `prefix` and ends with `suffix`.
///
/// # Errors
/// [`SourceError::NotInPackage`] if there is no such file.
pub(crate) fn find_file(folder: &Path, prefix: &str, suffix: &str) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(folder).context("read", folder)?;
    let matches = |entry: &fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with(prefix) && name.ends_with(suffix)
    };
    let path = entries.flatten().find(matches).map(|entry| entry.path());
    path.ok_or_else(|| SourceError::NotInPackage { wanted: format!("{prefix}*{suffix}") }.into())
}

/// Runs a command. Returns its error messages if it fails, `None` if it succeeds. Calls `on_tick`
/// every 0.2 s without output while the command runs.
fn run_to_end(
    ctx: &mut Ctx<'_>,
    command: Command,
    on_tick: &mut dyn FnMut(&mut dyn Monitor),
) -> Result<Option<String>, Error> {
    let mut output = Vec::new();
    let statuses =
        process::run(vec![command], &EntryLock::default(), ctx.monitor, &mut |monitor, event| {
            match event {
                Event::Line(line) if line.starts_with("E: ") || line.starts_with("dpkg-deb: ") => {
                    output.push(line.to_owned());
                }
                Event::Line(_) => {}
                Event::Tick => on_tick(monitor),
            }
        })?;
    Ok((!statuses.iter().all(ExitStatus::success)).then(|| output.join("; ")))
}

/// A command of apt (such as `apt-get`) that uses these suites.
pub(crate) fn command(ctx: &Ctx<'_>, program: &str, suites: Suites) -> Command {
    let mut command = command::with_network(program, ctx.cache.owner);
    // As root, apt would download as user _apt, who cannot write to the cache.
    command.args(["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2"]);
    command.args(["-o", "Acquire::http::Timeout=15", "-o", "Acquire::https::Timeout=15"]);
    if let Some(folder) = suites.folder() {
        let root = ctx.cache.root().join(folder);
        let path_option = |name: &str, path: &str| format!("{name}={}", root.join(path).display());
        for option in [
            path_option("Dir::Etc::SourceList", "sources.list"),
            "Dir::Etc::SourceParts=/dev/null".into(),
            // The system's pinning (apt_preferences(5)) would hide packages.
            "Dir::Etc::Preferences=/dev/null".into(),
            "Dir::Etc::PreferencesParts=/dev/null".into(),
            path_option("Dir::State::Lists", "lists"),
            path_option("Dir::Cache", "cache"),
            // Enable the cache of parsed lists, which container images disable.
            "Dir::Cache::pkgcache=pkgcache.bin".into(),
            "Dir::Cache::srcpkgcache=".into(),
            // Disable the system's hooks after an update.
            "APT::Update::Post-Invoke-Success::=true".into(),
            "Acquire::Languages=none".into(),
            "Acquire::AllowReleaseInfoChange=true".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".into(),
        ] {
            command.arg("-o").arg(option);
        }
    }
    if let Suites::Foreign(arch) = suites {
        for name in ["APT::Architecture", "APT::Architectures"] {
            command.arg("-o").arg(format!("{name}={}", arch::facts(arch).debian_arch));
        }
    }
    command
}

/// Fetches the package lists of a private root, unless they are recent. Returns `false` if apt is
/// not installed or no list can be fetched.
pub(crate) fn refresh_lists(ctx: &mut Ctx<'_>, suites: Suites) -> Result<bool, Error> {
    if !is_usable(ctx) {
        return Ok(false);
    }
    let Some(folder) = suites.folder() else { return Ok(true) };
    let root = ctx.cache.root().join(&folder);
    let _lock = ctx.lock(&folder, "lists", LockMode::Exclusive)?;
    let contents = match suites {
        Suites::Foreign(_) => ListContents::ReleasedBinaries,
        Suites::System | Suites::All => ListContents::All,
    };
    let Some(text) = sources_list::private_list(Path::new("/"), contents) else { return Ok(false) };
    let list = root.join("sources.list");
    let update_time_path = root.join("updated");
    let is_recent =
        fs::metadata(&update_time_path).and_then(|metadata| metadata.modified()).is_ok_and(
            |time| SystemTime::now().duration_since(time).is_ok_and(|age| age < LISTS_MAX_AGE),
        );
    if is_recent && fs::read_to_string(&list).is_ok_and(|old| old == text) {
        return Ok(true);
    }
    for folder in ["lists/partial", "cache/archives/partial"] {
        let path = root.join(folder);
        fs::create_dir_all(&path).context("make", &path)?;
    }
    write_atomically(&ctx.cache.root().join("tmp"), &list, text.as_bytes())?;
    ctx.phase("reading what other suites of the distribution have");
    let mut update = command(ctx, "apt-get", suites);
    update.arg("update");
    // If the mirror lacks one suite, apt-get fails, but fetches the lists of the other suites.
    let errors = run_to_end(ctx, update, &mut |_| {})?;
    let lists = fs::read_dir(root.join("lists")).into_iter().flatten().flatten();
    // The files may be compressed: names may end in .lz4.
    let has_lists =
        lists.filter(|entry| entry.file_name().to_string_lossy().contains("_Packages")).count() > 0;
    if !has_lists {
        let output = errors.unwrap_or_default();
        ctx.monitor.note(&format!("the distribution's packages cannot be reached ({output})"));
    } else {
        // Record the time also after errors, so that a missing suite is not requested at every run.
        fs::write(&update_time_path, "").context("write", &update_time_path)?;
    }
    Ok(has_lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_release_is_parsed_from_a_package_version() {
        let version = |text: &str| upstream_version(text).map(|release| release.to_string());
        assert_eq!(version("6.12.117-1~deb12u1").as_deref(), Some("6.12.117"));
        assert_eq!(version("7.3~rc7-1~exp1").as_deref(), Some("7.3-rc7"));
        assert_eq!(version("1:6.1.5-2").as_deref(), Some("6.1.5"));
        assert_eq!(version("6.12").as_deref(), Some("6.12"));
        assert_eq!(version("4+nmu1"), None);
    }

    #[test]
    fn lines_of_madison_are_parsed() {
        let line =
            "linux-source-7.2 | 7.2.13-1 | http://mirror.example/debian sid/main amd64 Packages";
        assert_eq!(parse_madison(line), Some(("linux-source-7.2", "7.2.13-1", "Packages")));
        assert_eq!(parse_madison("nothing"), None);
    }
}
