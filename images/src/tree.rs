// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Builds a kernel from a user's source tree. The build only reads the tree.

use std::path::PathBuf;

use crate::build::{BuildOptions, Recipe, SourceIdentity};
use crate::cache::Cache;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::mirror::Mirror;
use crate::packages::Tool;
use crate::patches::Patches;
use crate::types::KernelImage;
use crate::{git, toolchain};

/// A build of a user's source tree.
#[derive(Debug)]
pub(crate) struct TreeBuild {
    pub(crate) tree: PathBuf,
    pub(crate) options: BuildOptions,
    pub(crate) patches: Patches,
    /// The updated mirror of the tree; `None` before the update.
    mirror: Option<Mirror>,
}

impl TreeBuild {
    pub(crate) fn new(tree: PathBuf, options: BuildOptions, patches: Patches) -> TreeBuild {
        TreeBuild { tree, options, patches, mirror: None }
    }

    /// Updates the mirror, and returns the image if the cache has it. Does nothing and returns
    /// `None` if this machine lacks the tool for patching.
    ///
    /// # Errors
    /// If the tree cannot be read, or a patch does not apply.
    pub(crate) fn find_cached(&mut self, ctx: &mut Ctx<'_>) -> Result<Option<KernelImage>, Error> {
        if !toolchain::missing_programs(self.patch_programs()).is_empty() {
            return Ok(None);
        }
        let mirror = Mirror::update(ctx, &self.tree, self.options.arch, &self.patches)?;
        let source = self.source_identity(ctx, &mirror);
        self.mirror = Some(mirror);
        Recipe::new(ctx, &self.options, &source).find_cached(ctx)
    }

    /// The programs for patching: `patch`, or none without patches.
    fn patch_programs(&self) -> &'static [(&'static str, crate::packages::Packages)] {
        if self.patches.is_empty() { &[] } else { &[toolchain::PATCH] }
    }

    /// The missing tools for patching and building.
    pub(crate) fn missing_tools(&self, cache: &Cache) -> Vec<Tool> {
        let mut missing = toolchain::missing_programs(self.patch_programs());
        missing.extend(self.options.toolchain.missing_tools(cache.owner));
        missing
    }

    /// Builds the kernel from the mirror.
    ///
    /// # Errors
    /// If the kernel does not build.
    pub(crate) fn execute(mut self, ctx: &mut Ctx<'_>) -> Result<KernelImage, Error> {
        let mirror = match self.mirror.take() {
            Some(mirror) => mirror,
            None => Mirror::update(ctx, &self.tree, self.options.arch, &self.patches)?,
        };
        let source = self.source_identity(ctx, &mirror);
        Recipe::new(ctx, &self.options, &source).build(ctx, &mirror.src)
    }

    fn source_identity(&self, ctx: &Ctx<'_>, mirror: &Mirror) -> SourceIdentity {
        let tree = self.tree.as_path();
        let commit = git::head(ctx.cache, tree);
        let head = commit.map_or_else(String::new, |commit| format!(" (HEAD {commit})"));
        let Mirror { state, patch_digest, .. } = mirror;
        SourceIdentity {
            content: format!("tree {} {patch_digest}", state.digest),
            kconfig: format!("tree {} {patch_digest}", state.kconfig),
            directory: format!("tree {}", mirror.key),
            label: format!(
                "tree {}{head}, content sha256 {:.16}{}",
                tree.display(),
                state.digest,
                self.patches.label()
            ),
            substitution_note: None,
            lacks_left_out_files: false,
        }
    }
}

#[cfg(test)]
mod tests;
