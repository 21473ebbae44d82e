// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A kernel from a user's source tree, which is read and never written.

use std::path::Path;

use crate::build::{Recipe, Source};
use crate::cache::Cache;
use crate::config::Configuration;
use crate::error::Error;
use crate::git;
use crate::mirror::Mirror;
use crate::monitor::Monitor;
use crate::patches::Patches;
use crate::toolchain;
use crate::types::{KernelImage, Request};

/// Mirrors the tree and builds from the mirror, with the patches that were asked for.
pub(crate) fn kernel(
    cache: &Cache,
    request: &Request,
    configuration: &Configuration,
    patches: &Patches,
    tree: &Path,
    monitor: &mut dyn Monitor,
) -> Result<KernelImage, Error> {
    let mirror = Mirror::of(cache, tree, request.arch, patches, monitor)?;
    let git = git::head(cache, tree).map_or_else(String::new, |head| format!(" (HEAD {head})"));
    let Mirror { state, patched, .. } = &mirror;
    let source = Source {
        id: format!("tree {} {patched}", state.digest),
        kconfig: format!("tree {} {patched}", state.kconfig),
        place: format!("tree {}", mirror.key),
        label: format!(
            "tree {}{git}, content sha256 {:.16}{}",
            tree.display(),
            state.digest,
            patches.label()
        ),
        stands_in: None,
        trimmed: false,
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
        return Ok(image);
    }
    let missing = request.toolchain.missing(cache.owner);
    if !missing.is_empty() {
        return Err(toolchain::refusal(&missing));
    }
    recipe.build(&mirror.src, monitor)
}

#[cfg(test)]
mod tests;
