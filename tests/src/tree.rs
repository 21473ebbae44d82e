// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel trees that tests break: one for each series, because every tree costs a build.

use crate::faults::files_of;
use crate::{cache, locked, root, run, sudbox, sudbox_run};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// The pinned series, whose tree most tests share.
pub const PINNED: &str = "6.12";

/// Series and architecture of a kernel: `6.12` is x86-64's, `6.12-riscv64` that of riscv64.
#[must_use]
pub fn series_and_arch(kernel: &str) -> (&str, &str) {
    kernel.split_once('-').unwrap_or((kernel, "x86_64"))
}

/// What make wants for an architecture that is not this machine's.
fn make_arguments(arch: &str) -> &'static [&'static str] {
    match arch {
        "riscv64" => &["ARCH=riscv", "CROSS_COMPILE=riscv64-linux-gnu-"],
        "s390x" => &["ARCH=s390", "CROSS_COMPILE=s390x-linux-gnu-"],
        "aarch64" => &["ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-"],
        _ => &[],
    }
}

/// The patch that makes an architecture's pinned kernel, if there is one: it is part of the tree, so
/// that it can be broken too.
fn pinned_patch(arch: &str) -> Option<PathBuf> {
    let patches = root().join("kernel-config/patches");
    (arch == "aarch64").then(|| patches.join("aarch64/6.12-sud.patch"))
}

/// The unpacked source of a kernel, which a run has put into the cache.
///
/// # Panics
/// If it is not there.
pub(crate) fn source(kernel: &str) -> PathBuf {
    static FETCHED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let (series, arch) = series_and_arch(kernel);
    if locked(&FETCHED).insert(kernel.to_owned()) {
        let _ = run(sudbox_run(&[series, "--arch", arch, "--cases", "boot"])).expect(0);
    }
    let (version, level) = series.split_once('.').expect("a series");
    let sources = cache().join("sources");
    let found = fs::read_dir(&sources)
        .unwrap_or_else(|error| panic!("{}: {error}", sources.display()))
        .flatten()
        .map(|entry| entry.path())
        // Beside it may be what other architectures are built from.
        .filter(|path| path.to_string_lossy().ends_with(&format!("-{arch}")))
        .find(|path| {
            fs::read_to_string(path.join("Makefile")).is_ok_and(|makefile| {
                makefile.contains(&format!("VERSION = {version}\nPATCHLEVEL = {level}\n"))
            })
        });
    found.unwrap_or_else(|| panic!("no source of {kernel} in {}", sources.display()))
}

/// Waits for a place of the tests in the cache: beside the sources, so that links can be made, and
/// kept for the next clone. It is the caller's until the lock is dropped.
///
/// # Panics
/// If it cannot be had.
pub(crate) fn held(name: &str) -> (PathBuf, fs::File) {
    let path = cache().join("tests").join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory in the cache");
    let lock = fs::File::create(beside(&path, "lock")).expect("a lock");
    lock.lock().expect("the lock");
    (path, lock)
}

/// A file of ours beside such a place.
pub(crate) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(format!(".{what}"));
    path.into()
}

/// Applies a patch to what is in a folder.
///
/// # Errors
/// It does not apply.
pub(crate) fn apply(patch: &Path, folder: &Path) -> Result<(), String> {
    // patch(1) writes a new file and renames it.
    let output = Command::new("patch")
        .args(["--strip=1", "--force", "--no-backup-if-mismatch", "--reject-file=-"])
        .arg("--input")
        .arg(patch)
        .current_dir(folder)
        .output()
        .expect("patch is installed");
    if !output.status.success() {
        return Err(format!("does not apply: {}", String::from_utf8_lossy(&output.stdout)));
    }
    Ok(())
}

/// A kernel tree that tests change, as somebody would have it who has begun a build in it. Held by
/// one test at a time; a new holder gets it as released, with its patches applied.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    arch: String,
    source: PathBuf,
    _lock: fs::File,
}

impl Tree {
    /// Waits for the tree of the pinned kernel and applies these patches of `tests/faults/`.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn with(patches: &[&str]) -> Tree {
        let tree = Tree::of(PINNED);
        for patch in patches {
            tree.apply(patch);
        }
        tree
    }

    /// Waits for the tree of a kernel such as `7.3` or `6.12-riscv64`.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn of(kernel: &str) -> Tree {
        let source = source(kernel);
        let arch = series_and_arch(kernel).1.to_owned();
        let (path, lock) = held(&format!("tree-{kernel}"));
        let tree = Tree { path, arch, source, _lock: lock };
        tree.make();
        tree.reset();
        tree
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is, as an argument.
    ///
    /// # Panics
    /// If it is not UTF-8.
    #[must_use]
    pub fn argument(&self) -> &str {
        self.path.to_str().expect("a UTF-8 path")
    }

    /// The architecture that it is for.
    #[must_use]
    pub fn arch(&self) -> &str {
        &self.arch
    }

    fn changed(&self) -> PathBuf {
        beside(&self.path, "changed")
    }

    /// Copies the source, if the tree is not a copy of it yet, and begins a build in it with a
    /// configuration that is not ours.
    fn make(&self) {
        let mark = beside(&self.path, "copy-of");
        let source = self.source.to_str().expect("a UTF-8 path");
        if fs::read_to_string(&mark).is_ok_and(|text| text == source) {
            return;
        }
        // Hard links where they can be had: whoever changes a file replaces it.
        let copied = ["-al", "-a"].iter().any(|how| {
            let _ = fs::remove_dir_all(&self.path);
            let mut copy = Command::new("cp");
            copy.arg(how).arg(&self.source).arg(&self.path).stderr(Stdio::null());
            copy.status().is_ok_and(|status| status.success())
        });
        assert!(copied, "copying {source} failed");
        // What sudbox builds in its own copies is not part of a person's tree.
        for entry in fs::read_dir(&self.path).expect("the copy").flatten() {
            if entry.file_name().to_string_lossy().starts_with("sudbox-") {
                fs::remove_dir_all(entry.path()).expect("a directory of ours");
            }
        }
        for target in ["allnoconfig", "scripts_basic", "prepare0"] {
            let status = Command::new("make")
                .arg("-C")
                .arg(&self.path)
                .args(["-j2", target])
                .args(make_arguments(&self.arch))
                .env_remove("MAKEFLAGS")
                .stdout(Stdio::null())
                .status()
                .expect("make is installed");
            assert!(status.success(), "make {target}");
        }
        fs::write(&mark, source).expect("a mark");
    }

    /// Puts every file that a holder changed back.
    ///
    /// # Panics
    /// If one cannot be read or written.
    pub fn reset(&self) {
        let _ = fs::remove_dir_all(self.path.join(".git"));
        for name in fs::read_to_string(self.changed()).unwrap_or_default().lines() {
            let Ok(original) = fs::read(self.source.join(name)) else {
                let _ = fs::remove_file(self.path.join(name));
                continue;
            };
            let now = fs::read(self.path.join(name)).unwrap_or_default();
            if now != original {
                self.put(name, &original);
            }
        }
        let _ = fs::remove_file(self.changed());
        if let Some(patch) = pinned_patch(&self.arch) {
            self.try_apply_file(&patch).unwrap_or_else(|why| panic!("{}: {why}", patch.display()));
        }
    }

    /// Notes that a file is changed, before it is.
    fn note(&self, name: &str) {
        use std::io::Write as _;
        let mut list =
            fs::OpenOptions::new().append(true).create(true).open(self.changed()).expect("a list");
        writeln!(list, "{name}").expect("a list");
    }

    fn put(&self, name: &str, contents: &[u8]) {
        // A new file, never a write into one that may be hard-linked to the cache's.
        let path = self.path.join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, contents).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Applies a patch of `tests/faults/`.
    ///
    /// # Panics
    /// If it does not apply.
    pub fn apply(&self, patch: &str) {
        self.try_apply(patch).unwrap_or_else(|why| panic!("{patch}: {why}"));
    }

    /// Applies a patch of `tests/faults/`.
    ///
    /// # Errors
    /// It does not apply, or changes nothing.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn try_apply(&self, patch: &str) -> Result<(), String> {
        self.try_apply_file(&root().join("tests/faults").join(patch))
    }

    /// Applies a patch file, wherever it lies.
    ///
    /// # Errors
    /// It does not apply, or changes nothing.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn try_apply_file(&self, file: &Path) -> Result<(), String> {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let names: Vec<&str> = files_of(&text).collect();
        let read = || -> Vec<Option<String>> {
            names.iter().map(|name| fs::read_to_string(self.path.join(name)).ok()).collect()
        };
        for name in &names {
            self.note(name);
        }
        let before = read();
        apply(file, &self.path)?;
        if before.iter().zip(read()).any(|(before, after)| *before == after) {
            return Err("changes nothing in a file that it names".into());
        }
        Ok(())
    }

    /// Changes the text of one file.
    ///
    /// # Panics
    /// If the file cannot be read or written, or does not change.
    pub fn edit(&self, name: &str, change: impl FnOnce(&str) -> String) {
        let text = fs::read_to_string(self.path.join(name)).expect("a file of the tree");
        let changed = change(&text);
        assert_ne!(text, changed, "{name} does not change");
        self.note(name);
        self.put(name, changed.as_bytes());
    }

    /// Adds the selftests of dispatch, which a source in the cache is without. Who builds a kernel
    /// does not look at them.
    ///
    /// # Panics
    /// If they cannot be had.
    pub fn add_selftests(&self, series: &str) {
        let mut command = sudbox();
        command.args(["kselftest", series]);
        let _ = run(command).expect(0);
        // A release's selftests are for any architecture, its source for one.
        let source = self.source.file_name().expect("a name").to_string_lossy();
        let from = fs::read_dir(cache().join("selftests"))
            .expect("selftests in the cache")
            .flatten()
            .find(|entry| source.starts_with(&*entry.file_name().to_string_lossy()))
            .unwrap_or_else(|| panic!("no selftests of {source} in the cache"));
        let from = from.path().join("tools/testing");
        let to = self.path.join("tools");
        let _ = fs::remove_dir_all(to.join("testing"));
        let copied = Command::new("cp").arg("-a").arg(&from).arg(&to).status();
        assert!(copied.is_ok_and(|status| status.success()), "copying {} failed", from.display());
    }

    /// Adds a comment that no run before had, so that there is something to build.
    ///
    /// # Panics
    /// If the file cannot be read or written.
    pub fn freshen(&self, name: &str) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("a clock").as_nanos();
        self.edit(name, |text| format!("{text}\n/* {now} */\n"));
    }
}
