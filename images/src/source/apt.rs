//! Releases in the distribution's packages: `linux-source-X.Y`, and the source package `linux`.
//!
//! The system's own suites are asked as they are configured. Other suites (backports, newer
//! releases) are asked through a private apt root in the cache; the address of the mirror and the
//! key are those of the system, whose configuration and lists stay untouched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, SystemTime};

use super::{Candidate, Failure, List, Origin, apt_sources};
use crate::cache::{Cache, Held, Mode, write_whole};
use crate::error::{Context as _, is_full_disk};
use crate::process::{self, Event};
use crate::version::{Release, Series};
use crate::{Error, Monitor, toolchain};

/// Whose suites a package is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Suites {
    /// The system's.
    System,
    /// Those of the private root.
    Others,
}

/// How long the private root's lists count as fresh.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// The source package of the kernel.
const SOURCE: &str = "linux";

fn is_usable(cache: &Cache) -> bool {
    cache.distribution && ["apt-get", "dpkg-deb"].iter().all(|tool| toolchain::find(tool).is_some())
}

/// What the system's suites have; `None` if this is no such system.
pub(super) fn system(
    cache: &Cache,
    series: Series,
    monitor: &mut dyn Monitor,
) -> Result<Option<List>, Error> {
    if !is_usable(cache) {
        return Ok(None);
    }
    list(cache, series, Suites::System, monitor).map(Some)
}

/// What other suites have; `None` if this is no such system or they cannot be reached.
pub(super) fn others(
    cache: &Cache,
    series: Series,
    monitor: &mut dyn Monitor,
) -> Result<Option<List>, Error> {
    if !is_usable(cache) {
        return Ok(None);
    }
    if !refresh(cache, monitor)? {
        return Ok(None);
    }
    list(cache, series, Suites::Others, monitor).map(Some)
}

fn list(
    cache: &Cache,
    series: Series,
    suites: Suites,
    monitor: &mut dyn Monitor,
) -> Result<List, Error> {
    let package = format!("linux-source-{series}");
    let mut list = List::default();
    let mut madison = apt(cache, "apt-cache", suites);
    madison.args(["madison", &package, SOURCE]);
    let text = process::capture(madison, monitor)?.unwrap_or_default();
    let (mut binaries, mut sources) = (Vec::new(), Vec::new());
    for (name, version, kind) in text.lines().filter_map(madison_line) {
        let Some(release) = upstream_version(version) else { continue };
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
    let mut names = apt(cache, "apt-cache", suites);
    names.args(["pkgnames", "linux-source-"]);
    let names = process::capture(names, monitor)?.unwrap_or_default();
    let of_name = |name: &str| name.strip_prefix("linux-source-")?.parse::<Series>().ok();
    list.series.extend(names.lines().filter_map(of_name));
    Ok(list)
}

/// Package, version and kind of index of a line of `apt-cache madison`.
fn madison_line(line: &str) -> Option<(&str, &str, &str)> {
    let mut columns = line.split('|').map(str::trim);
    let (name, version) = (columns.next()?, columns.next()?);
    Some((name, version, columns.next()?.rsplit(' ').next()?))
}

/// The kernel's version in a package's: `6.12.117-1~deb12u1`, `7.3~rc7-1~exp1`.
fn upstream_version(version: &str) -> Option<Release> {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let upstream = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    upstream.replace("~rc", "-rc").parse().ok()
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
            let mut show = apt(cache, "apt-cache", *suites);
            show.arg("show").arg(format!("{package}={version}"));
            let text = process::capture(show, monitor)?.ok_or_else(unknown)?;
            let sum = text.lines().find_map(|line| line.strip_prefix("SHA256: "));
            *sha256 = sum.ok_or_else(unknown)?.trim().to_owned();
        }
        Origin::Orig { version, file, sha256 } => {
            let mut show = apt(cache, "apt-cache", Suites::Others);
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
    let (mut get, what) = match &candidate.origin {
        Origin::Binary { package, version, suites, .. } => {
            let mut get = apt(cache, "apt-get", *suites);
            get.arg("download").arg(format!("{package}={version}"));
            (get, format!("{package} {version}"))
        }
        Origin::Orig { version, .. } => {
            let mut get = apt(cache, "apt-get", Suites::Others);
            get.args(["source", "--download-only", "--tar-only"]);
            get.arg(format!("{SOURCE}={version}"));
            (get, format!("the source of {SOURCE} {version}"))
        }
        Origin::Git { .. } | Origin::Upstream { .. } => {
            return Err(Error::Machine("apt has no such source".into()).into());
        }
    };
    let folder = to.join("packages");
    fs::create_dir(&folder).context("make", &folder)?;
    get.current_dir(&folder);
    monitor.phase(&format!("downloading {what}"));
    let failed = run(get, monitor, &mut |monitor| {
        monitor.progress(crate::cache::disk_usage(&folder), PACKAGE, "bytes");
    })?;
    if let Some(said) = failed {
        if is_full_disk(&said) {
            return Err(Error::DiskFull(format!("download {what}")).into());
        }
        let error = Error::Machine(format!(
            "cannot download {what}: {said}; try again (after apt-get update, if the list of \
             packages is old)"
        ));
        // What fails apt's own check is not passed over, as it may be an attack.
        return Err(if said.contains("Hash Sum mismatch") {
            Failure::Other(error)
        } else {
            Failure::Download(error)
        });
    }
    if let Origin::Orig { file, .. } = &candidate.origin {
        return Ok(folder.join(file));
    }
    let package = first_file(&folder, ".deb")?;
    let content = to.join("content");
    let mut extract = process::command("dpkg-deb", cache.owner);
    extract.arg("-x").arg(&package).arg(&content);
    if let Some(said) = run(extract, monitor, &mut |_| {})? {
        return Err(if is_full_disk(&said) {
            Error::DiskFull("unpack the kernel's source".into())
        } else {
            Error::Machine(format!("cannot unpack {}: {said}", package.display()))
        }
        .into());
    }
    Ok(first_file(&content.join("usr/src"), ".tar.xz")?)
}

/// Bytes of a package, roughly: it is what a bar is drawn against.
const PACKAGE: u64 = 150 << 20;

fn first_file(folder: &Path, end: &str) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(folder).context("read", folder)?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.find(|path| path.to_string_lossy().ends_with(end)).ok_or_else(|| {
        Error::Machine(format!("the package holds no {end} file; it is not what it was"))
    })
}

/// Runs a command; if it fails, gives back what it said.
fn run(
    command: Command,
    monitor: &mut dyn Monitor,
    tick: &mut dyn FnMut(&mut dyn Monitor),
) -> Result<Option<String>, Error> {
    let mut said = Vec::new();
    let statuses = process::run(
        vec![command],
        &Held::default(),
        monitor,
        &mut |monitor, event| match event {
            Event::Line(line) if line.starts_with("E: ") || line.starts_with("dpkg-deb: ") => {
                said.push(line.to_owned());
            }
            Event::Line(_) => {}
            Event::Tick => tick(monitor),
        },
    )?;
    Ok((!statuses.iter().all(ExitStatus::success)).then(|| said.join("; ")))
}

/// An apt program on these suites.
fn apt(cache: &Cache, program: &str, suites: Suites) -> Command {
    let mut command = process::network_command(program, cache.owner);
    // As root, apt would hand the download to a user who may not look into the cache.
    command.args(["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2"]);
    command.args(["-o", "Acquire::http::Timeout=15", "-o", "Acquire::https::Timeout=15"]);
    if suites == Suites::Others {
        let root = cache.root().join("apt");
        let set = |name: &str, path: &str| format!("{name}={}", root.join(path).display());
        for option in [
            set("Dir::Etc::SourceList", "sources.list"),
            "Dir::Etc::SourceParts=/dev/null".into(),
            // Pinning of the system's would hide what is wanted here.
            "Dir::Etc::Preferences=/dev/null".into(),
            "Dir::Etc::PreferencesParts=/dev/null".into(),
            set("Dir::State::Lists", "lists"),
            set("Dir::Cache", "cache"),
            // What others have hooked into an update of the system is no part of this one.
            "APT::Update::Post-Invoke-Success::=true".into(),
            "Acquire::Languages=none".into(),
            "Acquire::AllowReleaseInfoChange=true".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".into(),
        ] {
            command.arg("-o").arg(option);
        }
    }
    command
}

/// Sees to it that the private root has lists of today; `false` if there are none.
fn refresh(cache: &Cache, monitor: &mut dyn Monitor) -> Result<bool, Error> {
    let root = cache.root().join("apt");
    let _held = cache.lock("apt", "lists", Mode::Exclusive, monitor)?;
    let Some(text) = apt_sources::private_list_from(Path::new("/etc")) else { return Ok(false) };
    let list = root.join("sources.list");
    let stamp = root.join("updated");
    let fresh = fs::metadata(&stamp)
        .and_then(|meta| meta.modified())
        .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age < FRESH));
    if fresh && fs::read_to_string(&list).is_ok_and(|old| old == text) {
        return Ok(true);
    }
    for folder in ["lists/partial", "cache/archives/partial"] {
        let path = root.join(folder);
        fs::create_dir_all(&path).context("make", &path)?;
    }
    write_whole(&cache.root().join("tmp"), &list, text.as_bytes())?;
    monitor.phase("reading what other suites of the distribution have");
    let mut update = apt(cache, "apt-get", Suites::Others);
    update.arg("update");
    // One suite that a mirror lacks fails the whole; what counts is whether lists are there.
    let failed = run(update, monitor, &mut |_| {})?;
    let lists = fs::read_dir(root.join("lists")).into_iter().flatten().flatten();
    // Their names may go on, such as with .lz4.
    let any = lists.filter(|e| e.file_name().to_string_lossy().contains("_Packages")).count() > 0;
    if !any {
        let said = failed.unwrap_or_default();
        monitor.note(&format!("the distribution's packages cannot be reached ({said})"));
    } else {
        // A suite that the mirror lacks today it will lack in an hour.
        fs::write(&stamp, "").context("write", &stamp)?;
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_versions_are_the_kernels() {
        let version = |text: &str| upstream_version(text).map(|release| release.to_string());
        assert_eq!(version("6.12.117-1~deb12u1").as_deref(), Some("6.12.117"));
        assert_eq!(version("7.3~rc7-1~exp1").as_deref(), Some("7.3-rc7"));
        assert_eq!(version("1:6.1.5-2").as_deref(), Some("6.1.5"));
        assert_eq!(version("6.12").as_deref(), Some("6.12"));
        assert_eq!(version("4+nmu1"), None);
    }

    #[test]
    fn madison_is_read() {
        let line =
            "linux-source-7.2 | 7.2.13-1 | http://mirror.example/debian sid/main amd64 Packages";
        assert_eq!(madison_line(line), Some(("linux-source-7.2", "7.2.13-1", "Packages")));
        assert_eq!(madison_line("nothing"), None);
    }

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
