// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs of another architecture, from the distribution's packages for it: unpacked beside the
//! cache's other things of tests, not installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file to copy, and its place.
pub(super) type Copied = (PathBuf, PathBuf);

/// Downloads this package for that architecture, in Debian's words, with all that it needs, if that
/// was not done before. Returns the folder that is its `/`.
///
/// # Panics
/// If this is no Debian, or has no access to its packages.
pub(super) fn unpacked(package: &str, architecture: &str) -> PathBuf {
    let root = crate::cache().join("tests").join(format!("{package}-{architecture}"));
    if root.is_dir() {
        return root;
    }
    let above = root.parent().expect("a folder");
    fs::create_dir_all(above).expect("room for a directory");
    let dir = tempfile::tempdir_in(above).expect("a temporary directory");
    let at = |name: &str| dir.path().join(name);
    for folder in ["state/lists/partial", "archives/partial"] {
        fs::create_dir_all(at(folder)).expect("room for a directory");
    }
    // Nothing is installed there, so everything is downloaded; lists and packages of its own leave
    // this machine's as they are.
    fs::write(at("status"), "").expect("room for a file");
    let configuration = format!(
        "APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
         Dir::State \"{0}/state\";\nDir::State::status \"{0}/status\";\nDir::Cache \"{0}\";\n",
        dir.path().display()
    );
    fs::write(at("apt.conf"), configuration).expect("room for a file");
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        done(command.args(["-qq"]).args(arguments).env("APT_CONFIG", at("apt.conf")));
    };
    apt(&["update"]);
    apt(&["install", "--yes", "--no-install-recommends", "--download-only", package]);
    for archive in fs::read_dir(at("archives")).expect("what apt-get downloads").flatten() {
        if archive.path().extension().is_some_and(|extension| extension == "deb") {
            done(Command::new("dpkg-deb").arg("--extract").arg(archive.path()).arg(at("root")));
        }
    }
    // All at once, so that it is whole if it is there.
    fs::rename(at("root"), &root).expect("a folder of ours is moved");
    root
}

/// A program below `root` with the shared libraries that it needs, which stand in `/lib`, where the
/// loader looks too.
///
/// # Panics
/// If one is not there.
pub(super) fn program(root: &Path, name: &str, target: &str) -> Vec<Copied> {
    let triple = target.replace("-unknown", "");
    let folders = [format!("lib/{triple}"), format!("usr/lib/{triple}"), "lib".to_owned()];
    let find = |library: &str| {
        let mut all = folders.iter().map(|folder| root.join(folder).join(library));
        all.find(|path| path.is_file()).unwrap_or_else(|| panic!("{name} lacks {library}"))
    };
    let file = root.join("usr/bin").join(name);
    let mut left = vec![file.clone()];
    let mut found = BTreeMap::new();
    while let Some(file) = left.pop() {
        let output = Command::new("readelf").arg("-d").arg(&file).output().expect("readelf");
        // `0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]`
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some((_, library)) = line.split_once("Shared library: [") else { continue };
            let library = library.trim_end_matches(']');
            found.entry(library.to_owned()).or_insert_with(|| {
                let path = find(library);
                left.push(path.clone());
                path
            });
        }
    }
    let libraries = found.into_iter().map(|(name, path)| (path, Path::new("/lib").join(name)));
    libraries.chain([(file, Path::new("/usr/bin").join(name))]).collect()
}

fn done(command: &mut Command) {
    let status = command.status().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}");
}
