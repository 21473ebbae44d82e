//! A kernel from a user's source tree, which is read and never written.

use std::path::Path;

use crate::build::{Recipe, Source};
use crate::cache::{Cache, Mode};
use crate::config::Configuration;
use crate::error::Context as _;
use crate::{Error, KernelImage, Monitor, Request, mirror, patches, process, toolchain};

/// Mirrors the tree and builds from the mirror.
pub(crate) fn kernel(
    cache: &Cache,
    request: &Request,
    configuration: &Configuration,
    tree: &Path,
    monitor: &mut dyn Monitor,
) -> Result<KernelImage, Error> {
    let git = git_head(cache, tree).map_or_else(String::new, |head| format!(" (HEAD {head})"));
    let label = format!("tree {}{git}", tree.display());
    from_directory(cache, request, configuration, &Given { tree, label, stands_in: None }, monitor)
}

/// A source directory that must stay as it is.
pub(crate) struct Given<'a> {
    pub(crate) tree: &'a Path,
    pub(crate) label: String,
    pub(crate) stands_in: Option<String>,
}

/// Builds from a mirror of a directory, with the patches that were asked for.
pub(crate) fn from_directory(
    cache: &Cache,
    request: &Request,
    configuration: &Configuration,
    given: &Given<'_>,
    monitor: &mut dyn Monitor,
) -> Result<KernelImage, Error> {
    let patches = patches::Patches::read(&request.patches)?;
    let key = key(given.tree, &patches);
    let held = cache.lock("trees", &key, Mode::Exclusive, monitor)?;
    let dir = cache.entry("trees", &key);
    std::fs::create_dir_all(&dir).context("make", &dir)?;
    let state = mirror::sync(given.tree, &dir, request.arch, patches.files(), monitor)?;
    let patched = patches.apply(cache, given.tree, &dir.join("src"), monitor)?;
    if state.changed > 0 {
        held.record_size(state.bytes);
    }
    let source = Source {
        id: format!("tree {} {patched}", state.digest),
        kconfig: format!("tree {} {patched}", state.kconfig),
        place: format!("tree {key}"),
        label: format!("{}, content sha256 {:.16}{}", given.label, state.digest, patches.label()),
        stands_in: given.stands_in.clone(),
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
    // `held` covers the build: nobody changes the mirror meanwhile.
    let image = recipe.build(&dir.join("src"), monitor);
    drop(held);
    image
}

/// A name for the mirror that a person recognises.
fn key(tree: &Path, patches: &patches::Patches) -> String {
    use sha2::Digest as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut hasher = sha2::Sha256::new();
    hasher.update(tree.as_os_str().as_bytes());
    hasher.update(patches.digest());
    let name: String = tree
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
        .take(40)
        .collect();
    format!("{name}-{}", mirror::hex(&hasher.finalize()[..8]))
}

/// The commit that is checked out. `rev-parse` writes nothing, unlike `status` and `describe
/// --dirty`, which refresh the index.
fn git_head(cache: &Cache, tree: &Path) -> Option<String> {
    if !tree.join(".git").exists() {
        return None;
    }
    let mut git = process::command("git", cache.owner);
    git.args(["-c", "safe.directory=*", "-C"]).arg(tree);
    git.args(["rev-parse", "--short=12", "--verify", "HEAD"]);
    process::output(git).map(|head| head.trim().to_owned())
}
