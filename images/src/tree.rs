//! A kernel from a user's source tree, which is read and never written.

use std::path::{Path, PathBuf};

use crate::build::{Recipe, Source};
use crate::cache::{Cache, Held, Mode};
use crate::config::Configuration;
use crate::error::Context as _;
use crate::patches::Patches;
use crate::source::git;
use crate::{Arch, Error, KernelImage, Monitor, Request, mirror, process, toolchain};

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
    let git = git_head(cache, tree).map_or_else(String::new, |head| format!(" (HEAD {head})"));
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

/// The mirror of a source directory that must stay as it is, with patches. Nobody changes it while
/// this lives.
pub(crate) struct Mirror {
    /// What is built from.
    pub(crate) src: PathBuf,
    /// Names it.
    key: String,
    state: mirror::State,
    /// Names the content of what the patches touch.
    patched: String,
    _held: Held,
}

impl Mirror {
    /// Brings it up to date.
    pub(crate) fn of(
        cache: &Cache,
        tree: &Path,
        arch: Arch,
        patches: &Patches,
        monitor: &mut dyn Monitor,
    ) -> Result<Mirror, Error> {
        let key = key(tree, arch, patches);
        let held = cache.lock("trees", &key, Mode::Exclusive, monitor)?;
        let dir = cache.entry("trees", &key);
        // Before anything is copied that would be of no use.
        let applied = patches.apply(cache, tree, monitor)?;
        std::fs::create_dir_all(&dir).context("make", &dir)?;
        let state = mirror::sync(tree, &dir, arch, patches.files(), monitor)?;
        let src = dir.join("src");
        let patched = applied.put(&src)?;
        if state.changed > 0 {
            held.record_size(state.bytes);
        }
        Ok(Mirror { src, key, state, patched, _held: held })
    }
}

/// A name for the mirror that a person recognises.
fn key(tree: &Path, arch: Arch, patches: &Patches) -> String {
    use sha2::Digest as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut hasher = sha2::Sha256::new();
    hasher.update(tree.as_os_str().as_bytes());
    // What other architectures need is left out of a mirror.
    hasher.update(arch.name());
    hasher.update(patches.digest());
    format!("{}-{}", plain_name(tree), mirror::hex(&hasher.finalize()[..8]))
}

/// The name of a directory, as far as it can stand in one of the cache's.
pub(crate) fn plain_name(tree: &Path) -> String {
    let name = tree.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    name.chars().filter(plain).take(40).collect()
}

/// The commit that is checked out. `rev-parse` writes nothing, unlike `status` and `describe
/// --dirty`, which refresh the index.
fn git_head(cache: &Cache, tree: &Path) -> Option<String> {
    if !tree.join(".git").exists() {
        return None;
    }
    let mut git = git::command(cache, tree);
    git.args(["rev-parse", "--short=12", "--verify", "HEAD"]);
    process::output(git).map(|head| head.trim().to_owned())
}
