// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Finds the source of a release: a git tree, upstream, the distribution; in this order.
//!
//! What was found is remembered, with where it was from, so that the next run asks nobody. That
//! holds for a series too: `6.12` stays the release it was first found to be, until the cache
//! goes. Each source lists what it has of a series; choosing is the same for all.

mod apt;
mod git;
mod releases;
mod unpack;
mod upstream;

pub(crate) use upstream::Upstream;

use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::build::{Recipe, Source};
use crate::cache::Cache;
use crate::config::Configuration;
use crate::error::{Context as _, Error, Failure};
use crate::lock::{Held, Mode};
use crate::makefile;
use crate::mirror::Mirror;
use crate::monitor::Monitor;
use crate::patches::Patches;
use crate::paths::expand_home;
use crate::reference::ACCEPTED;
use crate::types::{KernelImage, Request, Selftests};
use crate::version::{Release, Series};
use crate::{cache, toolchain};

/// A release that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This one; another of its series stands in if it cannot be had.
    Exact(Release),
    /// The newest of the series.
    Newest(Series),
}

impl Wanted {
    fn series(self) -> Series {
        match self {
            Wanted::Exact(release) => release.series,
            Wanted::Newest(series) => series,
        }
    }

    /// As a person types it.
    fn typed(self) -> String {
        match self {
            Wanted::Exact(release) => format!("v{release}"),
            Wanted::Newest(series) => series.to_string(),
        }
    }
}

/// What a build from source is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Release(Wanted),
    /// The newest release, candidates included.
    Latest,
    /// The newest that is no candidate.
    Stable,
    /// A commit of the git tree in `LINUX=`.
    Commit(String),
}

/// A release that a source has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Candidate {
    /// Its version, as [`Release`] writes it.
    version: String,
    origin: Origin,
}

/// Where a release can be had, exactly.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Origin {
    /// A commit of a git tree.
    Git { repository: PathBuf, tag: String, tree: String },
    /// A tarball of the upstream archive.
    Upstream { path: String, sha256: String },
    /// A `linux-source-X.Y` package.
    Binary { package: String, version: String, suites: crate::apt::Suites, sha256: String },
    /// The upstream part of a `linux` source package.
    Orig { version: String, file: String, sha256: String },
}

impl Candidate {
    fn release(&self) -> Option<Release> {
        self.version.parse().ok()
    }

    /// Whether it is the same, but for the checksum that is filled in later.
    fn is(&self, other: &Candidate) -> bool {
        let place = |c: &Candidate| match &c.origin {
            Origin::Git { tag: place, .. } | Origin::Upstream { path: place, .. } => place.clone(),
            Origin::Binary { package, version, .. } => format!("{package} {version}"),
            Origin::Orig { version, .. } => version.clone(),
        };
        place(self) == place(other)
    }

    /// Names the content.
    fn id(&self) -> String {
        match &self.origin {
            Origin::Git { tree, .. } => format!("git-{tree}"),
            Origin::Upstream { sha256, .. }
            | Origin::Binary { sha256, .. }
            | Origin::Orig { sha256, .. } => format!("{}-{sha256:.24}", self.version),
        }
    }

    fn label(&self) -> String {
        match &self.origin {
            Origin::Git { repository, tag, tree } => {
                format!("git {} {tag}, tree {tree}", repository.display())
            }
            Origin::Upstream { path, sha256 } => {
                let file = path.rsplit('/').next().unwrap_or(path);
                format!("upstream {file}, sha256 {sha256}")
            }
            Origin::Binary { package, version, sha256, .. } => {
                format!("distribution package {package} {version}, sha256 {sha256}")
            }
            Origin::Orig { version, file, sha256 } => format!(
                "upstream part {file} of the distribution's source package linux {version}, sha256 \
                 {sha256}"
            ),
        }
    }
}

/// Among what a source has, what is wanted.
fn choose(wanted: Wanted, candidates: &[Candidate]) -> Option<&Candidate> {
    match wanted {
        Wanted::Exact(release) => candidates.iter().find(|c| c.release() == Some(release)),
        Wanted::Newest(series) => newest(series, candidates),
    }
}

/// The newest release of a series; a release candidate only if there is no release. Of equals the
/// first: a source lists the better one first.
fn newest(series: Series, candidates: &[Candidate]) -> Option<&Candidate> {
    let of_series =
        |candidate: &&Candidate| candidate.release().is_some_and(|r| r.series == series);
    let rank = |candidate: &Candidate| candidate.release().map(|r| (r.candidate.is_none(), r));
    let newer = |a, b| if rank(b) > rank(a) { b } else { a };
    candidates.iter().filter(of_series).reduce(newer)
}

/// The release nearest to one that is not there.
fn nearest(release: Release, candidates: &[Candidate]) -> Option<&Candidate> {
    candidates
        .iter()
        .filter_map(|c| Some((c.release()?, c)))
        .filter(|(other, _)| other.series == release.series)
        .min_by_key(|(other, _)| {
            (other.candidate.is_some() != release.candidate.is_some(), other.distance(&release))
        })
        .map(|(_, candidate)| candidate)
}

/// What was found for a reference.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Resolved {
    candidate: Candidate,
    stands_in: Option<String>,
}

/// Finds and builds a release.
pub(crate) fn kernel(
    cache: &Cache,
    request: &Request,
    configuration: &Configuration,
    patches: &Patches,
    asked: &Asked,
    monitor: &mut dyn Monitor,
) -> Result<KernelImage, Error> {
    let mut refused = Vec::new();
    loop {
        let resolved = resolve(cache, request, asked, &refused, monitor)?;
        match of(cache, request, configuration, patches, asked, &resolved, monitor) {
            Err(Failure::Download(error)) if refused.len() < RETRIES => {
                // Lists of packages name files that are gone; the next best may be there.
                monitor.note(&format!("{error}; looking further"));
                refused.push(resolved.candidate);
            }
            Err(failure) => return Err(failure.into()),
            Ok(image) => return Ok(image),
        }
    }
}

/// Finds the selftests of a release.
pub(crate) fn selftests(
    cache: &Cache,
    request: &Request,
    asked: &Asked,
    monitor: &mut dyn Monitor,
) -> Result<Selftests, Error> {
    let resolved = resolve(cache, request, asked, &[], monitor)?;
    let candidate = &resolved.candidate;
    let key = candidate.id();
    let held = unpacked(cache, Part::Selftests, &key, candidate, monitor)?;
    remember(cache, request, asked, &resolved)?;
    Ok(Selftests { tree: cache.entry("selftests", &key), held })
}

/// What of a source is unpacked.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// What a build for this architecture reads.
    Build(Arch),
    /// The selftests of dispatch.
    Selftests,
}

impl Part {
    /// The cache's folder for it.
    fn folder(self) -> &'static str {
        match self {
            Part::Build(_) => "sources",
            Part::Selftests => "selftests",
        }
    }
}

/// How many releases that cannot be downloaded are passed over.
const RETRIES: usize = 4;

/// Builds what was found.
fn of(
    cache: &Cache,
    request: &Request,
    configuration: &Configuration,
    patches: &Patches,
    asked: &Asked,
    resolved: &Resolved,
    monitor: &mut dyn Monitor,
) -> Result<KernelImage, Failure> {
    let Resolved { candidate, stands_in } = resolved.clone();
    let key = format!("{}-{}", candidate.id(), request.arch.name());
    let name = match patches.is_empty() {
        true => format!("release {key}"),
        false => format!("release {key} {}", patches.digest()),
    };
    let source = Source {
        id: name.clone(),
        kconfig: name.clone(),
        place: name,
        label: candidate.label() + &patches.label(),
        stands_in,
        trimmed: true,
    };
    let compiler = request.toolchain.identity(cache.owner);
    let recipe = Recipe {
        cache,
        arch: request.arch,
        configuration,
        toolchain: &request.toolchain,
        compiler: compiler.as_deref(),
        source: &source,
    };
    if let Some(image) = recipe.cached(monitor)? {
        remember(cache, request, asked, resolved)?;
        return Ok(image);
    }
    // Before anything is downloaded.
    let missing = crate::missing_tools(cache, request)?;
    if !missing.is_empty() {
        return Err(toolchain::refusal(&missing).into());
    }
    let held = unpacked(cache, Part::Build(request.arch), &key, &candidate, monitor)?;
    remember(cache, request, asked, resolved)?;
    let tree = cache.entry("sources", &key);
    let image = if patches.is_empty() {
        recipe.build(&tree, monitor)
    } else {
        let mirror = Mirror::of(cache, &tree, request.arch, patches, monitor)?;
        recipe.build(&mirror.src, monitor)
    };
    drop(held);
    Ok(image?)
}

/// Finds out what it is and where it can be had.
fn resolve(
    cache: &Cache,
    request: &Request,
    asked: &Asked,
    refused: &[Candidate],
    monitor: &mut dyn Monitor,
) -> Result<Resolved, Error> {
    match asked {
        Asked::Release(wanted) => of_release(cache, request, *wanted, refused, monitor),
        Asked::Latest | Asked::Stable => releases::resolve(cache, request, asked, refused, monitor),
        Asked::Commit(name) => {
            let linux = request.linux.as_deref().unwrap_or(Path::new("."));
            let candidate = git::commit(cache, &expand_home(linux), name)?;
            Ok(Resolved { candidate, stands_in: None })
        }
    }
}

/// Finds out which release it is and where it can be had, or remembers it.
fn of_release(
    cache: &Cache,
    request: &Request,
    wanted: Wanted,
    refused: &[Candidate],
    monitor: &mut dyn Monitor,
) -> Result<Resolved, Error> {
    let mut seen = Vec::new();
    // A git tree is asked every time: it is here, it answers at once, and it changes.
    if let Some(linux) = &request.linux {
        let list = git::list(cache, &expand_home(linux), wanted.series())?;
        if let Some(candidate) = choose(wanted, &list) {
            return Ok(Resolved { candidate: candidate.clone(), stands_in: None });
        }
        seen.extend(list);
    }
    match cache.read::<Resolved>("resolved", &record(request, wanted)) {
        Some(resolved) if !refused.contains(&resolved.candidate) => Ok(resolved),
        _ => search(cache, wanted, seen, refused, monitor),
    }
}

/// The name under which it is remembered what a reference is.
fn record(request: &Request, wanted: Wanted) -> String {
    format!("{}-{}", request.arch.name(), wanted.typed())
}

/// Remembers what was found, once it has proved to be there. What is the newest changes.
fn remember(
    cache: &Cache,
    request: &Request,
    asked: &Asked,
    resolved: &Resolved,
) -> Result<(), Error> {
    let Asked::Release(wanted) = asked else { return Ok(()) };
    let record = record(request, *wanted);
    let is_git = matches!(resolved.candidate.origin, Origin::Git { .. });
    if is_git || cache.read::<Resolved>("resolved", &record).as_ref() == Some(resolved) {
        return Ok(());
    }
    cache.write("resolved", &record, resolved)
}

fn search(
    cache: &Cache,
    wanted: Wanted,
    mut seen: Vec<Candidate>,
    refused: &[Candidate],
    monitor: &mut dyn Monitor,
) -> Result<Resolved, Error> {
    monitor.phase(&format!("looking for linux {}", wanted.typed()));
    let mut offers = Vec::new();
    for source in [upstream::list, apt::system, apt::others] {
        let Some(mut list) = source(cache, wanted.series(), monitor)? else { continue };
        list.candidates.retain(|c| !refused.iter().any(|r| r.is(c)));
        if let Some(candidate) = choose(wanted, &list.candidates) {
            return Ok(Resolved {
                candidate: complete(cache, candidate, monitor)?,
                stands_in: None,
            });
        }
        seen.extend(list.candidates);
        offers.extend(list.series);
    }
    if let Wanted::Exact(release) = wanted
        && let Some(candidate) = nearest(release, &seen)
    {
        let stands_in = Some(format!(
            "v{release} cannot be had here; {}, the nearest of its series, stands in for it",
            candidate.version
        ));
        return Ok(Resolved { candidate: complete(cache, candidate, monitor)?, stands_in });
    }
    let typed = wanted.typed();
    offers.sort_unstable();
    offers.dedup();
    if offers.is_empty() {
        return Err(Error::Machine(format!(
            "no source of linux {typed} can be reached: neither the upstream archive nor the \
             distribution's packages; connect this machine, set the proxy variables, or give a \
             source tree (KERNEL=directory or LINUX=git tree)"
        )));
    }
    let offers: Vec<String> = offers.iter().map(Series::to_string).collect();
    Err(Error::Input(format!(
        "KERNEL={typed}: no source has a release of this series; on offer: {}; {}",
        offers.join(", "),
        ACCEPTED
    )))
}

/// What a source has.
#[derive(Debug, Default)]
struct List {
    /// Of the series asked for.
    candidates: Vec<Candidate>,
    /// All series it has releases of.
    series: Vec<Series>,
}

/// Fills in the checksum, which costs a call and so is not asked for all candidates.
fn complete(
    cache: &Cache,
    candidate: &Candidate,
    monitor: &mut dyn Monitor,
) -> Result<Candidate, Error> {
    match &candidate.origin {
        Origin::Git { .. } | Origin::Upstream { .. } => Ok(candidate.clone()),
        Origin::Binary { .. } | Origin::Orig { .. } => apt::complete(cache, candidate, monitor),
    }
}

/// Sees to it that the source is unpacked; gives back what keeps it in the cache.
fn unpacked(
    cache: &Cache,
    part: Part,
    key: &str,
    candidate: &Candidate,
    monitor: &mut dyn Monitor,
) -> Result<Held, Failure> {
    let folder = part.folder();
    let place = cache.entry(folder, key);
    let held = cache.lock(folder, key, Mode::Shared, monitor)?;
    if place.is_dir() {
        return Ok(held);
    }
    drop(held);
    let held = cache.lock(folder, key, Mode::Exclusive, monitor)?;
    if !place.is_dir() {
        let tmp = cache.temporary()?;
        let archive = match &candidate.origin {
            Origin::Git { repository, tree, .. } => {
                unpack::git(cache, repository, tree, tmp.path(), part, monitor)?;
                None
            }
            Origin::Upstream { path, sha256 } => {
                Some(upstream::download(cache, path, sha256, tmp.path(), monitor)?)
            }
            Origin::Binary { .. } | Origin::Orig { .. } => {
                Some(apt::download(cache, candidate, tmp.path(), monitor)?)
            }
        };
        let top = tmp.path().join("unpacked");
        if let Some(archive) = archive {
            monitor.phase(&format!("unpacking linux {}", candidate.version));
            unpack::tar(cache, &archive, &top, part, monitor)?;
        }
        let tree = unpack::only_folder(&top)?;
        if let Part::Build(_) = part {
            makefile::tree_release(&tree).map_err(|what| {
                let message = format!("{}: {what}", candidate.label());
                match candidate.origin {
                    // Any repository can be given.
                    Origin::Git { .. } => Error::Input(message),
                    _ => Error::Machine(message),
                }
            })?;
        }
        std::fs::rename(&tree, &place).context("write", &place)?;
        held.record_size(cache::disk_usage(&place));
    }
    drop(held);
    // Shared from here on, so that other builds may use it too.
    let held = cache.lock(folder, key, Mode::Shared, monitor)?;
    if place.is_dir() {
        return Ok(held);
    }
    Err(Error::Machine(format!(
        "the source in {} was removed as soon as it was unpacked; is something else cleaning it?",
        place.display()
    ))
    .into())
}

#[cfg(test)]
mod tests;
