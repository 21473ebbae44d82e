// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fetches and builds a release or commit.

use std::path::{Path, PathBuf};

use super::latest::NewestRelease;
use super::search::{self, FoundRelease, SearchScope};
use super::unpack::Part;
use super::{Candidate, git, latest};
use crate::arch::Arch;
use crate::build::{BuildOptions, Recipe, SourceIdentity};
use crate::cache::{self, Cache};
use crate::ctx::Ctx;
use crate::error::{Context as _, Error, SourceError};
use crate::lock::{EntryLock, LockMode};
use crate::mirror::Mirror;
use crate::packages::Tool;
use crate::patches::Patches;
use crate::reference::WantedRelease;
use crate::types::{KernelImage, Request, Selftests};
use crate::{makefile, toolchain};

/// Maximum number of releases that are skipped because they cannot be downloaded.
const MAX_FAILED_DOWNLOADS: usize = 4;

/// A release or commit to build.
#[derive(Debug)]
pub(crate) struct ReleaseBuild {
    pub(crate) wanted: WantedRelease,
    /// `LINUX=`: the user's git tree.
    pub(crate) linux: Option<PathBuf>,
    /// `EXACT=`: whether to refuse any release other than the named one.
    is_exact: bool,
    pub(crate) options: BuildOptions,
    pub(crate) patches: Patches,
    /// The found release; `None` before the search.
    found: Option<FoundRelease>,
}

impl ReleaseBuild {
    pub(crate) fn new(
        wanted: WantedRelease,
        request: &Request,
        options: BuildOptions,
        patches: Patches,
    ) -> ReleaseBuild {
        let (linux, is_exact) = (request.linux.clone(), request.exact);
        ReleaseBuild { wanted, linux, is_exact, options, patches, found: None }
    }

    /// Finds the release, and returns its image if the cache has it. Returns `None` if this machine
    /// lacks the tools to find the release.
    ///
    /// # Errors
    /// If there is no such release.
    pub(crate) fn find_cached(&mut self, ctx: &mut Ctx<'_>) -> Result<Option<KernelImage>, Error> {
        if !self.can_search(ctx) {
            return Ok(None);
        }
        let found = self.find(ctx, &[])?;
        let image = self.find_image(ctx, &found)?;
        self.found = Some(found);
        Ok(image)
    }

    /// Whether this machine has the tools to find the release.
    fn can_search(&self, ctx: &Ctx<'_>) -> bool {
        let has_program = |program: &str| toolchain::find_program(program).is_some();
        let needs_git = self.linux.is_some() || matches!(self.wanted, WantedRelease::Commit(_));
        let needs_no_network = match self.wanted {
            WantedRelease::Commit(_) => true,
            WantedRelease::Version(version) => {
                search::read_record(ctx, self.options.arch, version).is_some()
            }
            WantedRelease::Latest | WantedRelease::Stable => false,
        };
        (!needs_git || has_program("git"))
            && (needs_no_network || has_program("curl") || has_program("apt-get"))
    }

    /// The missing tools for fetching and building.
    pub(crate) fn missing_tools(&self, cache: &Cache) -> Vec<Tool> {
        let mut missing = missing_tools(&self.wanted, self.linux.as_deref());
        if !self.patches.is_empty() {
            missing.extend(toolchain::missing_programs(&[toolchain::PATCH]));
        }
        missing.extend(self.options.toolchain.missing_tools(cache.owner));
        missing
    }

    /// Downloads, unpacks, patches and builds the release. If a release cannot be downloaded, tries
    /// the next best release.
    ///
    /// # Errors
    /// If no release can be downloaded, or the kernel does not build.
    pub(crate) fn execute(mut self, ctx: &mut Ctx<'_>) -> Result<KernelImage, Error> {
        let mut excluded = Vec::new();
        loop {
            let found = match self.found.take() {
                Some(found) => found,
                None => self.find(ctx, &excluded)?,
            };
            match self.build(ctx, &found) {
                Err(Error::Source(error @ SourceError::Download { .. }))
                    if excluded.len() < MAX_FAILED_DOWNLOADS =>
                {
                    // Package lists may name files that the mirror no longer has.
                    ctx.monitor.note(&format!("{error}; looking further"));
                    excluded.push(found.candidate);
                }
                result => return result,
            }
        }
    }

    /// Finds the release among all candidates that are not excluded. A note tells the user if the
    /// result is another release than the requested one.
    ///
    /// # Errors
    /// [`SourceError::NotExact`] if the result is another release and the request is exact.
    fn find(&self, ctx: &mut Ctx<'_>, excluded: &[Candidate]) -> Result<FoundRelease, Error> {
        let scope = SearchScope { arch: self.options.arch, linux: self.linux.as_deref(), excluded };
        let found = find(ctx, &scope, &self.wanted)?;
        if let Some(substitution_note) = &found.substitution_note {
            if self.is_exact {
                return Err(
                    SourceError::NotExact { substitution_note: substitution_note.clone() }.into()
                );
            }
            ctx.monitor.note(substitution_note);
        }
        Ok(found)
    }

    /// The image of a release, if the cache has it.
    fn find_image(
        &self,
        ctx: &mut Ctx<'_>,
        found: &FoundRelease,
    ) -> Result<Option<KernelImage>, Error> {
        let source = self.identity(found)?;
        let image = Recipe::new(ctx, &self.options, &source).find_cached(ctx)?;
        if image.is_some() {
            self.record_result(ctx, found)?;
        }
        Ok(image)
    }

    /// Unpacks, patches and builds a found release, unless the cache has its image.
    fn build(&self, ctx: &mut Ctx<'_>, found: &FoundRelease) -> Result<KernelImage, Error> {
        if let Some(image) = self.find_image(ctx, found)? {
            return Ok(image);
        }
        let arch = self.options.arch;
        let key = self.key(found)?;
        // The lock keeps the source in the cache until the image is built.
        let _lock = unpack(ctx, Part::Build(arch), &key, &found.candidate)?;
        self.record_result(ctx, found)?;
        let tree = ctx.entry_path("sources", &key);
        let source = self.identity(found)?;
        let recipe = Recipe::new(ctx, &self.options, &source);
        if self.patches.is_empty() {
            return recipe.build(ctx, &tree);
        }
        let mirror = Mirror::update(ctx, &tree, arch, &self.patches)?;
        recipe.build(ctx, &mirror.src)
    }

    /// Records the source of the release after a successful download, except for `latest` and
    /// `stable`, which change.
    fn record_result(&self, ctx: &Ctx<'_>, found: &FoundRelease) -> Result<(), Error> {
        match self.wanted {
            WantedRelease::Version(version) => {
                search::record_result(ctx, self.options.arch, version, found)
            }
            _ => Ok(()),
        }
    }

    /// Key of the unpacked source in the cache.
    fn key(&self, found: &FoundRelease) -> Result<String, Error> {
        Ok(format!("{}-{}", found.candidate.content_id()?, self.options.arch.name()))
    }

    fn identity(&self, found: &FoundRelease) -> Result<SourceIdentity, Error> {
        let key = self.key(found)?;
        let identity = match self.patches.is_empty() {
            true => format!("release {key}"),
            false => format!("release {key} {}", self.patches.digest()),
        };
        Ok(SourceIdentity {
            content: identity.clone(),
            kconfig: identity.clone(),
            directory: identity,
            label: found.candidate.label()? + &self.patches.label(),
            substitution_note: found.substitution_note.clone(),
            lacks_left_out_files: true,
        })
    }
}

/// The missing tools for finding and unpacking a release.
pub(crate) fn missing_tools(wanted: &WantedRelease, linux: Option<&Path>) -> Vec<Tool> {
    if let WantedRelease::Commit(_) = wanted {
        return toolchain::missing_programs(&[toolchain::TAR, toolchain::GIT]);
    }
    let mut missing = toolchain::missing_programs(&[toolchain::TAR, toolchain::XZ]);
    if toolchain::find_program("apt-get").is_none() {
        missing.extend(toolchain::missing_programs(&[toolchain::CURL, toolchain::GPGV]));
    }
    if linux.is_some() {
        missing.extend(toolchain::missing_programs(&[toolchain::GIT]));
    }
    missing
}

/// Unpacks only the selftests of a release.
///
/// # Errors
/// If there is no such release, or it cannot be downloaded.
pub(crate) fn selftests(
    ctx: &mut Ctx<'_>,
    wanted: &WantedRelease,
    linux: Option<&Path>,
    arch: Arch,
) -> Result<Selftests, Error> {
    let found = find(ctx, &SearchScope { arch, linux, excluded: &[] }, wanted)?;
    let key = found.candidate.content_id()?;
    let lock = unpack(ctx, Part::Selftests, &key, &found.candidate)?;
    if let WantedRelease::Version(version) = wanted {
        search::record_result(ctx, arch, *version, &found)?;
    }
    Ok(Selftests { tree: ctx.entry_path("selftests", &key), lock })
}

/// Finds the requested release or commit, and its source.
fn find(
    ctx: &mut Ctx<'_>,
    scope: &SearchScope<'_>,
    wanted: &WantedRelease,
) -> Result<FoundRelease, Error> {
    match wanted {
        WantedRelease::Version(version) => search::find_release(ctx, scope, *version),
        WantedRelease::Latest => latest::find(ctx, scope, NewestRelease::Latest),
        WantedRelease::Stable => latest::find(ctx, scope, NewestRelease::Stable),
        WantedRelease::Commit(name) => {
            let candidate = git::commit(ctx, scope.linux.unwrap_or(Path::new(".")), name)?;
            Ok(FoundRelease { candidate, substitution_note: None })
        }
    }
}

/// Fetches a part of a release into the cache, unless the cache has it. Returns the lock that keeps
/// this part in the cache.
fn unpack(
    ctx: &mut Ctx<'_>,
    part: Part,
    key: &str,
    candidate: &Candidate,
) -> Result<EntryLock, Error> {
    let folder = part.folder();
    let entry_path = ctx.entry_path(folder, key);
    let lock = ctx.lock(folder, key, LockMode::Shared)?;
    if entry_path.is_dir() {
        return Ok(lock);
    }
    drop(lock);
    let lock = ctx.lock(folder, key, LockMode::Exclusive)?;
    if !entry_path.is_dir() {
        let tmp = ctx.cache.temporary_directory()?;
        let source = candidate.source()?;
        let tree = source.fetch(ctx, candidate, part, tmp.path())?;
        if let Part::Build(_) = part {
            let label = candidate.label()?;
            makefile::tree_release(&tree).map_err(|reason| {
                // The user names a local source, so it may be any git repository.
                SourceError::NotLinux { label, reason, named_by_user: source.is_local() }
            })?;
        }
        std::fs::rename(&tree, &entry_path).context("write", &entry_path)?;
        lock.record_size(cache::disk_usage(&entry_path));
    }
    drop(lock);
    // A shared lock lets other builds use the source too.
    let lock = ctx.lock(folder, key, LockMode::Shared)?;
    if entry_path.is_dir() {
        return Ok(lock);
    }
    Err(Error::Vanished { item: "the source that was just unpacked", directory: entry_path })
}
