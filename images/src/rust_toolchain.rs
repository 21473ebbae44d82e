// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A Rust compiler with the standard library of another architecture, unpacked from the distribution's
//! packages into the cache. It is used on machines without rustup, and nothing is installed.

use std::path::{Path, PathBuf};

use crate::apt::{self, Suites};
use crate::arch::Arch;
use crate::ctx::Ctx;
use crate::error::{Context as _, Error, SourceError};
use crate::lock::{EntryLock, Mode};
use crate::process;

/// Debian's package of a recent compiler, which Debian updates for its browsers.
const COMPILER: &str = "rustc-web";
/// The package of the compiler's standard library.
const LIBRARY: &str = "libstd-rust-web-dev";
/// Prefixes of the dependencies to unpack; every machine has the others.
const PARTS: [&str; 2] = ["libstd-rust-web", "libllvm"];

/// Unpacks the compiler into the cache, unless the cache has it. Returns its directory, and the lock
/// that keeps it in the cache. `bin/rustc` needs `lib` in LD_LIBRARY_PATH.
///
/// # Errors
/// [`SourceError::NoRustLibrary`] if the distribution's packages have no such compiler.
pub fn distribution_rust(
    ctx: &mut Ctx<'_>,
    arch: Arch,
    target: &str,
) -> Result<(PathBuf, EntryLock), Error> {
    let _acting = ctx.cache.owner.impersonate();
    let key = format!("rust-{}", arch.name());
    let place = ctx.entry("toolchains", &key);
    let held = ctx.lock("toolchains", &key, Mode::Exclusive)?;
    if place.is_dir() {
        return Ok((place, held));
    }
    let lacks = |why: &'static str| -> Error {
        SourceError::NoRustLibrary { target: target.to_owned(), why }.into()
    };
    if !apt::is_usable(ctx) {
        return Err(lacks("and rustup could not fetch it"));
    }
    let foreign = Suites::Foreign(arch);
    if !apt::refresh(ctx, foreign)? {
        return Err(lacks("and the distribution's packages cannot be reached"));
    }
    let theirs = apt::versions(ctx, LIBRARY, foreign)?;
    let ours = apt::versions(ctx, COMPILER, Suites::System)?;
    let release = |version: &str| version.split('-').next().map(str::to_owned);
    let both = ours
        .iter()
        .find_map(|own| Some((own, theirs.iter().find(|other| release(other) == release(own))?)));
    let Some((own, other)) = both else {
        return Err(lacks("and the distribution has none that fits its compiler"));
    };
    let tmp = ctx.cache.temporary()?;
    let mut wanted = vec![(COMPILER.to_owned(), own.clone())];
    let mut next = 0;
    while let Some((name, version)) = wanted.get(next).cloned() {
        next += 1;
        for (name, version) in apt::depends(ctx, &name, &version)? {
            let known = wanted.iter().any(|(other, _)| *other == name);
            if !known && PARTS.iter().any(|part| name.starts_with(part)) {
                wanted.push((name, version));
            }
        }
    }
    let content = tmp.path().join("content");
    let ours: Vec<(&str, &str)> = wanted.iter().map(|(name, v)| (&**name, &**v)).collect();
    for (packages, suites, to) in
        [(&ours[..], Suites::System, "ours"), (&[(LIBRARY, &**other)][..], foreign, "theirs")]
    {
        let to = tmp.path().join(to);
        std::fs::create_dir(&to).context("make", &to)?;
        for file in apt::fetch(ctx, packages, suites, &to)? {
            apt::unpack(ctx, &file, &content)?;
        }
    }
    let folder = content.join("usr");
    flatten(&folder)?;
    let mut try_it = ctx.command(folder.join("bin/rustc"));
    try_it.env("LD_LIBRARY_PATH", folder.join("lib")).arg("--version");
    if process::output(try_it).is_none() {
        return Err(lacks("and the distribution's compiler does not run here"));
    }
    std::fs::rename(&folder, &place).context("write", &place)?;
    Ok((place, held))
}

/// Moves the libraries from `lib/TRIPLET` to `lib`.
fn flatten(usr: &Path) -> Result<(), Error> {
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
