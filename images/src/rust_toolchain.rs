// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unpacks a Rust compiler, with the standard library of another architecture, from the
//! distribution's packages into the cache. For machines without rustup; nothing is installed.

use std::path::{Path, PathBuf};

use crate::apt::{self, Suites};
use crate::arch::Arch;
use crate::ctx::Ctx;
use crate::error::{Context as _, Error, SourceError};
use crate::lock::{EntryLock, LockMode};
use crate::process;

/// Debian's package of a recent compiler, which Debian updates for its browsers.
const COMPILER_PACKAGE: &str = "rustc-web";
/// The package of the compiler's standard library.
const LIBRARY_PACKAGE: &str = "libstd-rust-web-dev";
/// Prefixes of the dependencies to unpack. Every machine has the other dependencies.
const UNPACKED_DEPENDENCIES: [&str; 2] = ["libstd-rust-web", "libllvm"];

/// Unpacks the compiler into the cache, unless the cache has it. Returns its directory, and the
/// lock that keeps it in the cache. `bin/rustc` needs `lib` in LD_LIBRARY_PATH.
///
/// # Errors
/// [`SourceError::NoRustLibrary`] if the distribution's packages have no such compiler.
pub fn distribution_rust(
    ctx: &mut Ctx<'_>,
    arch: Arch,
    target: &str,
) -> Result<(PathBuf, EntryLock), Error> {
    let _impersonation = ctx.cache.owner.impersonate();
    let key = format!("rust-{}", arch.name());
    let destination = ctx.entry_path("toolchains", &key);
    let held = ctx.lock("toolchains", &key, LockMode::Exclusive)?;
    if destination.is_dir() {
        return Ok((destination, held));
    }
    let no_library = |why: &'static str| -> Error {
        SourceError::NoRustLibrary { target: target.to_owned(), why }.into()
    };
    if !apt::is_usable(ctx) {
        return Err(no_library("and rustup could not fetch it"));
    }
    let foreign = Suites::Foreign(arch);
    if !apt::refresh_lists(ctx, foreign)? {
        return Err(no_library("and the distribution's packages cannot be reached"));
    }
    let library_versions = apt::list_versions(ctx, LIBRARY_PACKAGE, foreign)?;
    let compiler_versions = apt::list_versions(ctx, COMPILER_PACKAGE, Suites::System)?;
    let release = |version: &str| version.split('-').next().map(str::to_owned);
    let matching = compiler_versions.iter().find_map(|own| {
        Some((own, library_versions.iter().find(|other| release(other) == release(own))?))
    });
    let Some((own, other)) = matching else {
        return Err(no_library("and the distribution has none that fits its compiler"));
    };
    let tmp = ctx.cache.temporary_directory()?;
    let mut wanted = vec![(COMPILER_PACKAGE.to_owned(), own.clone())];
    let mut next_index = 0;
    while let Some((name, version)) = wanted.get(next_index).cloned() {
        next_index += 1;
        for (name, version) in apt::dependencies(ctx, &name, &version)? {
            let known = wanted.iter().any(|(other, _)| *other == name);
            if !known && UNPACKED_DEPENDENCIES.iter().any(|part| name.starts_with(part)) {
                wanted.push((name, version));
            }
        }
    }
    let content = tmp.path().join("content");
    let compiler_versions: Vec<(&str, &str)> =
        wanted.iter().map(|(name, v)| (&**name, &**v)).collect();
    for (packages, suites, to) in [
        (&compiler_versions[..], Suites::System, "ours"),
        (&[(LIBRARY_PACKAGE, &**other)][..], foreign, "theirs"),
    ] {
        let to = tmp.path().join(to);
        std::fs::create_dir(&to).context("make", &to)?;
        for file in apt::fetch(ctx, packages, suites, &to)? {
            apt::unpack(ctx, &file, &content)?;
        }
    }
    let folder = content.join("usr");
    move_libraries_up(&folder)?;
    let mut version_check = ctx.command(folder.join("bin/rustc"));
    version_check.env("LD_LIBRARY_PATH", folder.join("lib")).arg("--version");
    if process::stdout_of(version_check).is_none() {
        return Err(no_library("and the distribution's compiler does not run here"));
    }
    std::fs::rename(&folder, &destination).context("write", &destination)?;
    Ok((destination, held))
}

/// Moves the libraries from `lib/TRIPLET` to `lib`.
fn move_libraries_up(usr: &Path) -> Result<(), Error> {
    let lib = usr.join("lib");
    for folder in std::fs::read_dir(&lib).context("read", &lib)?.flatten() {
        let is_ours = folder.file_name().to_string_lossy().starts_with(std::env::consts::ARCH);
        for file in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            if is_ours && !file.path().is_dir() {
                let to = lib.join(file.file_name());
                std::fs::rename(file.path(), &to).context("write", &to)?;
            }
        }
    }
    Ok(())
}
