// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs for another architecture from Debian packages, which are unpacked into the tests' part of
//! the cache and not installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file on the host, and its path in level 1.
pub(super) type FileCopy = (PathBuf, PathBuf);

/// Downloads and unpacks a package and its dependencies for an architecture (Debian's name), unless
/// the cache has them. Returns the folder that corresponds to `/`.
///
/// # Panics
/// If apt-get or dpkg-deb fails.
pub(super) fn unpack_package(package: &str, architecture: &str) -> PathBuf {
    let root = crate::cache_dir().join("tests").join(format!("{package}-{architecture}"));
    if root.is_dir() {
        return root;
    }
    let parent = root.parent().expect("a folder");
    fs::create_dir_all(parent).expect("space for a directory");
    let dir = tempfile::tempdir_in(parent).expect("a temporary directory");
    let temporary_path = |name: &str| dir.path().join(name);
    for folder in ["state/lists/partial", "archives/partial"] {
        fs::create_dir_all(temporary_path(folder)).expect("space for a directory");
    }
    // With an empty status file, apt downloads every dependency. With this folder as state and cache,
    // apt does not change those of the machine.
    fs::write(temporary_path("status"), "").expect("room for a file");
    let configuration = format!(
        "APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
         Dir::State \"{0}/state\";\nDir::State::status \"{0}/status\";\nDir::Cache \"{0}\";\n",
        dir.path().display()
    );
    fs::write(temporary_path("apt.conf"), configuration).expect("room for a file");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        run_checked(
            command.args(["-qq"]).args(arguments).env("APT_CONFIG", temporary_path("apt.conf")),
        );
    };
    apt(&["update"]);
    apt(&["install", "--yes", "--no-install-recommends", "--download-only", package]);
    for archive in
        fs::read_dir(temporary_path("archives")).expect("the downloaded packages").flatten()
    {
        if archive.path().extension().is_some_and(|extension| extension == "deb") {
            run_checked(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(archive.path())
                    .arg(temporary_path("root")),
            );
        }
    }
    // The rename is atomic: a folder in the cache is complete.
    fs::rename(temporary_path("root"), &root).expect("the folder can be moved");
    root
}

/// The files of a program below `root`: the program and the shared libraries that it needs. In level 1
/// the libraries are in `/lib`, a default directory of the loader.
///
/// # Panics
/// If a library is missing.
pub(super) fn program_files(root: &Path, name: &str, target: &str) -> Vec<FileCopy> {
    let triple = target.replace("-unknown", "");
    let folders = [format!("lib/{triple}"), format!("usr/lib/{triple}"), "lib".to_owned()];
    let find = |library: &str| {
        let mut paths = folders.iter().map(|folder| root.join(folder).join(library));
        paths.find(|path| path.is_file()).unwrap_or_else(|| panic!("{name} lacks {library}"))
    };
    let file = root.join("usr/bin").join(name);
    let mut remaining = vec![file.clone()];
    let mut found = BTreeMap::new();
    while let Some(file) = remaining.pop() {
        let output = Command::new("readelf").arg("-d").arg(&file).output().expect("readelf");
        // `0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]`
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some((_, library)) = line.split_once("Shared library: [") else { continue };
            let library = library.trim_end_matches(']');
            found.entry(library.to_owned()).or_insert_with(|| {
                let path = find(library);
                remaining.push(path.clone());
                path
            });
        }
    }
    let libraries = found.into_iter().map(|(name, path)| (path, Path::new("/lib").join(name)));
    libraries.chain([(file, Path::new("/usr/bin").join(name))]).collect()
}

/// Runs a command and panics unless it succeeds.
fn run_checked(command: &mut Command) {
    let status = command.status().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}");
}
