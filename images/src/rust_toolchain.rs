// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unpacks a Rust compiler, with the standard library of another architecture, from the
//! distribution's packages into the cache. Machines without rustup need this compiler. sudbox
//! installs no package.

use std::path::{Path, PathBuf};

use crate::apt::{self, Suites};
use crate::arch::Arch;
use crate::command;
use crate::ctx::Ctx;
use crate::error::{Context as _, Error, SourceError};
use crate::lock::{EntryLock, LockMode};

/// Debian's package of a recent compiler, which Debian updates in stable releases for its browsers.
const COMPILER_PACKAGE: &str = "rustc-web";
/// The package of the compiler's standard library.
const LIBRARY_PACKAGE: &str = "libstd-rust-web-dev";
/// Prefixes of the dependencies to unpack. The other dependencies are installed on every machine.
const UNPACKED_DEPENDENCIES: [&str; 2] = ["libstd-rust-web", "libllvm"];

/// Unpacks the compiler into the cache, unless the cache has the compiler. Returns the compiler's
/// directory, and the lock that keeps it in the cache. `bin/rustc` needs the directory `lib` in
/// LD_LIBRARY_PATH.
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
    let lock = ctx.lock("toolchains", &key, LockMode::Exclusive)?;
    if destination.is_dir() {
        return Ok((destination, lock));
    }
    let no_library = |reason: &'static str| -> Error {
        SourceError::NoRustLibrary { target: target.to_owned(), reason }.into()
    };
    if !apt::is_usable(ctx) {
        return Err(no_library("and rustup could not fetch it"));
    }
    let foreign_suites = Suites::Foreign(arch);
    if !apt::refresh_lists(ctx, foreign_suites)? {
        return Err(no_library("and the distribution's packages cannot be reached"));
    }
    let library_versions = apt::list_versions(ctx, LIBRARY_PACKAGE, foreign_suites)?;
    let compiler_versions = apt::list_versions(ctx, COMPILER_PACKAGE, Suites::System)?;
    let release = |version: &str| version.split('-').next().map(str::to_owned);
    let matching_versions = compiler_versions.iter().find_map(|compiler| {
        let library = library_versions.iter().find(|library| release(library) == release(compiler));
        Some((compiler, library?))
    });
    let Some((compiler_version, library_version)) = matching_versions else {
        return Err(no_library("and the distribution has none that fits its compiler"));
    };
    let tmp = ctx.cache.temporary_directory()?;
    let mut wanted = vec![(COMPILER_PACKAGE.to_owned(), compiler_version.clone())];
    let mut next_index = 0;
    while let Some((name, version)) = wanted.get(next_index).cloned() {
        next_index += 1;
        for (name, version) in apt::dependencies(ctx, &name, &version)? {
            let is_wanted = wanted.iter().any(|(other, _)| *other == name);
            if !is_wanted && UNPACKED_DEPENDENCIES.iter().any(|part| name.starts_with(part)) {
                wanted.push((name, version));
            }
        }
    }
    let content = tmp.path().join("content");
    let compiler_packages: Vec<(&str, &str)> =
        wanted.iter().map(|(name, version)| (&**name, &**version)).collect();
    for (packages, suites, folder) in [
        (&compiler_packages[..], Suites::System, "compiler"),
        (&[(LIBRARY_PACKAGE, &**library_version)][..], foreign_suites, "library"),
    ] {
        let folder = tmp.path().join(folder);
        std::fs::create_dir(&folder).context("make", &folder)?;
        for file in apt::fetch(ctx, packages, suites, &folder)? {
            apt::unpack(ctx, &file, &content)?;
        }
    }
    let folder = content.join("usr");
    move_libraries_up(&folder)?;
    let mut version_check = ctx.command(folder.join("bin/rustc"));
    version_check.env("LD_LIBRARY_PATH", folder.join("lib")).arg("--version");
    if command::stdout_of(version_check).is_none() {
        return Err(no_library("and the distribution's compiler does not run here"));
    }
    std::fs::rename(&folder, &destination).context("write", &destination)?;
    Ok((destination, lock))
}

/// Moves the libraries of the host from `lib/TRIPLET` to `lib`, where LD_LIBRARY_PATH points.
fn move_libraries_up(usr: &Path) -> Result<(), Error> {
    let lib = usr.join("lib");
    for folder in std::fs::read_dir(&lib).context("read", &lib)?.flatten() {
        let is_host_folder =
            folder.file_name().to_string_lossy().starts_with(std::env::consts::ARCH);
        for file in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            if is_host_folder && !file.path().is_dir() {
                let moved = lib.join(file.file_name());
                std::fs::rename(file.path(), &moved).context("write", &moved)?;
            }
        }
    }
    Ok(())
}
