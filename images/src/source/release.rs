// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fetches and builds a release or commit.

use std::path::{Path, PathBuf};

use super::search::{self, Found, Scope};
use super::unpack::Part;
use super::{Candidate, git, latest};
use crate::arch::Arch;
use crate::build::{Options, Recipe, SourceIdentity};
use crate::cache::{self, Cache};
use crate::ctx::Ctx;
use crate::error::{Context as _, Error, SourceError};
use crate::lock::{EntryLock, Mode};
use crate::mirror::Mirror;
use crate::packages::Tool;
use crate::patches::Patches;
use crate::reference::Wanted;
use crate::types::{KernelImage, Request, Selftests};
use crate::{makefile, toolchain};

/// Maximum number of releases to skip because they cannot be downloaded.
const RETRIES: usize = 4;

/// A release or commit to build.
#[derive(Debug)]
pub(crate) struct ReleaseBuild {
    pub(crate) wanted: Wanted,
    /// `LINUX=`: the user's git tree.
    pub(crate) linux: Option<PathBuf>,
    /// `EXACT=`: refuse a release that would stand in for the one that is named.
    exact: bool,
    pub(crate) options: Options,
    pub(crate) patches: Patches,
    /// The release, after it was found.
    found: Option<Found>,
}

impl ReleaseBuild {
    pub(crate) fn new(
        wanted: Wanted,
        request: &Request,
        options: Options,
        patches: Patches,
    ) -> ReleaseBuild {
        let (linux, exact) = (request.linux.clone(), request.exact);
        ReleaseBuild { wanted, linux, exact, options, patches, found: None }
    }

    /// The image, if the cache has it. Finds the release first; `None` if this machine lacks the tools
    /// for that.
    ///
    /// # Errors
    /// If there is no such release.
    pub(crate) fn cached(&mut self, ctx: &mut Ctx<'_>) -> Result<Option<KernelImage>, Error> {
        if !self.can_search(ctx) {
            return Ok(None);
        }
        let found = self.find(ctx, &[])?;
        let image = self.image_of(ctx, &found)?;
        self.found = Some(found);
        Ok(image)
    }

    /// Whether this machine has the tools to find the release.
    fn can_search(&self, ctx: &Ctx<'_>) -> bool {
        let has = |program: &str| toolchain::find(program).is_some();
        let needs_git = self.linux.is_some() || matches!(self.wanted, Wanted::Commit(_));
        let is_known = match self.wanted {
            Wanted::Commit(_) => true,
            Wanted::Version(version) => search::recorded(ctx, self.options.arch, version).is_some(),
            Wanted::Latest | Wanted::Stable => false,
        };
        (!needs_git || has("git")) && (is_known || has("curl") || has("apt-get"))
    }

    /// The missing tools for fetching and building.
    pub(crate) fn missing_tools(&self, cache: &Cache) -> Vec<Tool> {
        let mut missing = missing_tools(&self.wanted, self.linux.as_deref());
        if !self.patches.is_empty() {
            missing.extend(toolchain::absent(&[toolchain::PATCH]));
        }
        missing.extend(self.options.toolchain.missing(cache.owner));
        missing
    }

    /// Downloads, unpacks, patches and builds the release. If it cannot be downloaded, tries the next
    /// best one.
    ///
    /// # Errors
    /// If no release can be downloaded, or the kernel does not build.
    pub(crate) fn run(mut self, ctx: &mut Ctx<'_>) -> Result<KernelImage, Error> {
        let mut refused = Vec::new();
        loop {
            let found = match self.found.take() {
                Some(found) => found,
                None => self.find(ctx, &refused)?,
            };
            match self.build(ctx, &found) {
                Err(Error::Source(error @ SourceError::Download { .. }))
                    if refused.len() < RETRIES =>
                {
                    // Package lists may name files that the mirror no longer has.
                    ctx.monitor.note(&format!("{error}; looking further"));
                    refused.push(found.candidate);
                }
                built => return built,
            }
        }
    }

    /// Finds the release, except for the refused ones. Reports it if another release stands in.
    ///
    /// # Errors
    /// [`SourceError::NotExact`] if another release stands in and the request is exact.
    fn find(&self, ctx: &mut Ctx<'_>, refused: &[Candidate]) -> Result<Found, Error> {
        let scope = Scope { arch: self.options.arch, linux: self.linux.as_deref(), refused };
        let found = find(ctx, &scope, &self.wanted)?;
        if let Some(stands_in) = &found.stands_in {
            if self.exact {
                return Err(SourceError::NotExact { stands_in: stands_in.clone() }.into());
            }
            ctx.monitor.note(stands_in);
        }
        Ok(found)
    }

    /// The image of a release, if the cache has it.
    fn image_of(&self, ctx: &mut Ctx<'_>, found: &Found) -> Result<Option<KernelImage>, Error> {
        let source = self.identity(found)?;
        let image = Recipe::new(ctx, &self.options, &source).cached(ctx)?;
        if image.is_some() {
            self.remember(ctx, found)?;
        }
        Ok(image)
    }

    fn build(&self, ctx: &mut Ctx<'_>, found: &Found) -> Result<KernelImage, Error> {
        if let Some(image) = self.image_of(ctx, found)? {
            return Ok(image);
        }
        let arch = self.options.arch;
        let key = self.key(found)?;
        // The lock keeps the source in the cache until the image is built.
        let _held = unpack(ctx, Part::Build(arch), &key, &found.candidate)?;
        self.remember(ctx, found)?;
        let tree = ctx.entry("sources", &key);
        let source = self.identity(found)?;
        let recipe = Recipe::new(ctx, &self.options, &source);
        if self.patches.is_empty() {
            return recipe.build(ctx, &tree);
        }
        let mirror = Mirror::of(ctx, &tree, arch, &self.patches)?;
        recipe.build(ctx, &mirror.src)
    }

    /// Records where the release is, after it was fetched successfully. `latest` and `stable` are not
    /// recorded, because they change.
    fn remember(&self, ctx: &Ctx<'_>, found: &Found) -> Result<(), Error> {
        match self.wanted {
            Wanted::Version(version) => search::remember(ctx, self.options.arch, version, found),
            _ => Ok(()),
        }
    }

    /// Key of the unpacked source in the cache.
    fn key(&self, found: &Found) -> Result<String, Error> {
        Ok(format!("{}-{}", found.candidate.id()?, self.options.arch.name()))
    }

    fn identity(&self, found: &Found) -> Result<SourceIdentity, Error> {
        let key = self.key(found)?;
        let name = match self.patches.is_empty() {
            true => format!("release {key}"),
            false => format!("release {key} {}", self.patches.digest()),
        };
        Ok(SourceIdentity {
            content: name.clone(),
            kconfig: name.clone(),
            directory: name,
            label: found.candidate.label()? + &self.patches.label(),
            stands_in: found.stands_in.clone(),
            trimmed: true,
        })
    }
}

/// The missing tools for finding and unpacking a release.
pub(crate) fn missing_tools(wanted: &Wanted, linux: Option<&Path>) -> Vec<Tool> {
    if let Wanted::Commit(_) = wanted {
        return toolchain::absent(&[toolchain::TAR, toolchain::GIT]);
    }
    let mut missing = toolchain::absent(&[toolchain::TAR, toolchain::XZ]);
    if toolchain::find("apt-get").is_none() {
        missing.extend(toolchain::absent(&[toolchain::CURL]));
    }
    if linux.is_some() {
        missing.extend(toolchain::absent(&[toolchain::GIT]));
    }
    missing
}

/// Unpacks only the selftests of a release.
///
/// # Errors
/// If there is no such release, or it cannot be downloaded.
pub(crate) fn selftests(
    ctx: &mut Ctx<'_>,
    wanted: &Wanted,
    linux: Option<&Path>,
    arch: Arch,
) -> Result<Selftests, Error> {
    let found = find(ctx, &Scope { arch, linux, refused: &[] }, wanted)?;
    let key = found.candidate.id()?;
    let held = unpack(ctx, Part::Selftests, &key, &found.candidate)?;
    if let Wanted::Version(version) = wanted {
        search::remember(ctx, arch, *version, &found)?;
    }
    Ok(Selftests { tree: ctx.entry("selftests", &key), held })
}

/// Finds the requested release or commit, and its source.
fn find(ctx: &mut Ctx<'_>, scope: &Scope<'_>, wanted: &Wanted) -> Result<Found, Error> {
    match wanted {
        Wanted::Version(version) => search::find(ctx, scope, *version),
        Wanted::Latest => latest::find(ctx, scope, true),
        Wanted::Stable => latest::find(ctx, scope, false),
        Wanted::Commit(name) => {
            let candidate = git::commit(ctx, scope.linux.unwrap_or(Path::new(".")), name)?;
            Ok(Found { candidate, stands_in: None })
        }
    }
}

/// Fetches a part of a release into the cache, unless the cache has it. Returns the lock that keeps
/// it in the cache.
fn unpack(
    ctx: &mut Ctx<'_>,
    part: Part,
    key: &str,
    candidate: &Candidate,
) -> Result<EntryLock, Error> {
    let folder = part.folder();
    let place = ctx.entry(folder, key);
    let held = ctx.lock(folder, key, Mode::Shared)?;
    if place.is_dir() {
        return Ok(held);
    }
    drop(held);
    let held = ctx.lock(folder, key, Mode::Exclusive)?;
    if !place.is_dir() {
        let tmp = ctx.cache.temporary()?;
        let source = candidate.source()?;
        let tree = source.fetch(ctx, candidate, part, tmp.path())?;
        if let Part::Build(_) = part {
            let label = candidate.label()?;
            makefile::tree_release(&tree).map_err(|why| {
                // The user names a local source, so it may be any git repository.
                SourceError::NotLinux { label, why, named_by_user: source.is_local() }
            })?;
        }
        std::fs::rename(&tree, &place).context("write", &place)?;
        held.record_size(cache::disk_usage(&place));
    }
    drop(held);
    // A shared lock lets other builds use the source too.
    let held = ctx.lock(folder, key, Mode::Shared)?;
    if place.is_dir() {
        return Ok(held);
    }
    Err(Error::Vanished { what: "the source that was just unpacked", place })
}
