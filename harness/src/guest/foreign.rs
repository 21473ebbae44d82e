// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Builds guest-init for another architecture from the embedded sources, and caches it.
//!
//! The build needs a Rust compiler with the standard library of that architecture. The first of
//! these is used: the compiler on `PATH`; the same compiler after rustup fetched the library; the
//! compiler of the distribution, which is unpacked into the cache. The build also needs a cross C
//! compiler as linker.

use crate::arch::{self, Target};
use crate::failure::Failure;
use crate::output::progress::Progress;
use crate::setup;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use sudbox_images::{Arch, Cache, Ctx, EntryLock, LockMode, Monitor as _, Tool, status_and_lines};

/// Name of the folder of the cache with the guest-inits of other architectures.
const CACHE_FOLDER: &str = "guests";

// Defines SOURCES, SOURCES_DIGEST and RUSTFLAGS; written by build.rs.
include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// The `members` line of the workspace's manifest.
const WORKSPACE_MEMBERS: &str = r#"members = ["protocol", "confinement", "guest-init", "vmm", "images", "report", "harness", "tests"]"#;

/// The `members` line of a workspace with the two embedded crates.
const EMBEDDED_MEMBERS: &str = r#"members = ["protocol", "guest-init"]"#;

/// Returns guest-init for an architecture, from the cache or built now.
///
/// # Errors
/// If guest-init cannot be built.
pub(super) fn guest_init(arch: Arch, progress: &mut Progress) -> anyhow::Result<Vec<u8>> {
    let cache = Cache::open()?;
    let target = arch::target_of(arch);
    let (key, path) = (cache_key(arch), cached_path(&cache, arch));
    let shared_lock = cache.lock(CACHE_FOLDER, &key, LockMode::Shared, progress)?;
    if let Ok(program) = std::fs::read(&path) {
        return Ok(program);
    }
    drop(shared_lock);
    // Another thread or process may have built guest-init before this thread got the lock.
    let _exclusive_lock = cache.lock(CACHE_FOLDER, &key, LockMode::Exclusive, progress)?;
    if let Ok(program) = std::fs::read(&path) {
        return Ok(program);
    }
    let (rust_variables, _toolchain_lock) = rust_toolchain(&cache, arch, target, progress)?;
    progress.phase(&format!("building guest-init for {}", arch.name()));
    let program = build_guest_init(&cache, target, &rust_variables, progress)?;
    cache.write_file(CACHE_FOLDER, &key, &program)?;
    Ok(program)
}

fn cache_key(arch: Arch) -> String {
    format!("{SOURCES_DIGEST:016x}-{}", arch.name())
}

/// The path of guest-init in the cache.
fn cached_path(cache: &Cache, arch: Arch) -> PathBuf {
    cache.root().join(CACHE_FOLDER).join(cache_key(arch))
}

/// Checks that guest-init can be built, and installs a missing linker, unless guest-init is in the
/// cache.
///
/// # Errors
/// If something is missing and cannot be installed.
pub(super) fn install_requirements(arch: Arch, progress: &mut Progress) -> anyhow::Result<()> {
    if cached_path(&Cache::open()?, arch).is_file() {
        return Ok(());
    }
    let target = arch::target_of(arch);
    if !has_static_linker(target) {
        let name = format!("{} with a static C library", target.linker);
        setup::install(&[Tool { name, packages: target.linker_packages }], progress)?;
    }
    if !sudbox_images::is_on_path("cargo") {
        return Err(Failure::machine(format!(
            "the init of {} guests is built with Rust, and cargo is missing: install rustup or your \
             distribution's cargo",
            arch.name()
        )));
    }
    Ok(())
}

/// Environment variables that select a Rust compiler for cargo.
type EnvVars = Vec<(&'static str, OsString)>;

/// Finds or fetches a Rust compiler with the standard library of the target. Returns the variables
/// that select the compiler, and a lock that keeps a compiler in the cache from being removed.
fn rust_toolchain(
    cache: &Cache,
    arch: Arch,
    target: &Target,
    progress: &mut Progress,
) -> anyhow::Result<(EnvVars, EntryLock)> {
    if has_standard_library(target) {
        return Ok(Default::default());
    }
    if sudbox_images::is_on_path("rustup") {
        progress.phase(&format!("fetching Rust's standard library for {}", target.rust_target));
        let mut rustup = Command::new("rustup");
        rustup.args(["target", "add", target.rust_target]).env("RUSTUP_MAX_RETRIES", "0");
        rustup.stdin(Stdio::null());
        let (status, _) = status_and_lines(rustup, &EntryLock::default(), progress)?;
        if status.success() && has_standard_library(target) {
            return Ok(Default::default());
        }
    }
    let (root, lock) =
        sudbox_images::distribution_rust(&mut Ctx::new(cache, progress), arch, target.rust_target)?;
    let libraries = root.join("lib");
    let variables =
        vec![("RUSTC", root.join("bin/rustc").into()), ("LD_LIBRARY_PATH", libraries.into())];
    Ok((variables, lock))
}

/// Whether this machine's compiler has the target's standard library.
fn has_standard_library(target: &Target) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target.rust_target]).stderr(Stdio::null());
    let Ok(output) = rustc.output() else { return false };
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let mut files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

/// Whether the linker exists and finds a static C library.
fn has_static_linker(target: &Target) -> bool {
    let mut linker = Command::new(target.linker);
    linker.args(["-print-file-name=libc.a"]).stderr(Stdio::null());
    // The linker prints the path of a file that it finds, and only the name of any other file.
    linker.output().is_ok_and(|output| output.stdout.contains(&b'/'))
}

fn build_guest_init(
    cache: &Cache,
    target: &Target,
    rust_variables: &EnvVars,
    progress: &mut Progress,
) -> anyhow::Result<Vec<u8>> {
    let build_failure =
        |reason: String| Failure::machine(format!("guest-init cannot be built: {reason}"));
    let folder = tempfile::tempdir_in(cache.root().join("tmp"))?;
    for (path, text) in SOURCES {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
        std::fs::write(path, text.replace(WORKSPACE_MEMBERS, EMBEDDED_MEMBERS))?;
    }
    let mut cargo = Command::new("cargo");
    // The lock file lists crates that are not embedded, so cargo rewrites the file. No version
    // changes.
    cargo.args(["build", "--quiet", "--profile", "guest", "--bin", "guest-init", "--target"]);
    cargo.arg(target.rust_target).current_dir(folder.path()).stdin(Stdio::null());
    // Variables of a cargo or make that runs sudbox must not change this build.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_") && !name.starts_with("CARGO_HOME")
            || name.starts_with("RUSTC")
            || name.starts_with("RUSTFLAGS")
            || name.starts_with("MAKE")
            || name == "MFLAGS"
        {
            cargo.env_remove(&*name);
        }
    }
    let target_in_capitals = target.rust_target.to_uppercase().replace('-', "_");
    cargo.env(format!("CARGO_TARGET_{target_in_capitals}_LINKER"), target.linker);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS);
    cargo.env("CARGO_TARGET_DIR", folder.path().join("target"));
    cargo.envs(rust_variables.iter().map(|(name, value)| (name, value)));
    let (status, lines) = status_and_lines(cargo, &EntryLock::default(), progress)?;
    if !status.success() {
        let error = lines.iter().find(|line| line.starts_with("error")).cloned();
        return Err(build_failure(error.unwrap_or_else(|| lines.join("\n")).trim().to_owned()));
    }
    let binary = folder.path().join("target").join(target.rust_target).join("guest/guest-init");
    std::fs::read(&binary).map_err(|error| build_failure(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_are_those_of_the_two_crates() {
        let has = |name: &str| SOURCES.iter().any(|(path, _)| *path == name);
        for path in ["Cargo.toml", "Cargo.lock", "guest-init/src/main.rs", "protocol/src/lib.rs"] {
            assert!(has(path), "{path}");
        }
        let (_, manifest) = SOURCES.iter().find(|(path, _)| *path == "Cargo.toml").unwrap();
        assert!(manifest.contains(WORKSPACE_MEMBERS), "the workspace's members have changed");
        for arch in Arch::ALL {
            assert!(has(&format!("guest-init/src/arch/{}/mod.rs", arch.name())));
        }
    }
}
