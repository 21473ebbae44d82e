// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernel trees that tests modify. The tests share one tree per series, because each tree costs a build.

use crate::faults::changed_files;
use crate::{cache_dir, lock, root, run, sudbox, sudbox_run};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use sudbox_protocol::Arch;
use tempfile::TempDir;

/// The pinned series; most tests share its tree.
pub const PINNED_SERIES: &str = "6.12";

/// A replacement of text in one file of a kernel's source.
#[derive(Clone, Copy, Debug)]
pub struct SourceEdit {
    /// The file, relative to the source.
    pub file: &'static str,
    /// The text that is replaced.
    pub before: &'static str,
    /// The text in its place.
    pub after: &'static str,
}

/// An edit that every 64-bit signal frame shows, and that no case names: a reserved word is cleared, on which
/// the stack had other bytes.
pub const FRAME_WRITE: SourceEdit = SourceEdit {
    file: "arch/x86/kernel/signal_64.c",
    before: "\tunsafe_put_user(fpstate, (unsigned long __user *)&sc->fpstate, Efault);\n",
    after: "\tunsafe_put_user(fpstate, (unsigned long __user *)&sc->fpstate, Efault);\n\
            \tunsafe_put_user(0UL, &sc->reserved1[0], Efault);\n",
};

/// Splits a kernel's name into series and architecture: `6.12` is for x86-64, `6.12-riscv64` for
/// riscv64.
#[must_use]
pub fn series_and_arch(kernel: &str) -> (&str, &str) {
    kernel.split_once('-').unwrap_or((kernel, "x86_64"))
}

/// The arguments of make for cross-compiling to an architecture.
fn make_arguments(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::X86_64 => &[],
        Arch::Riscv64 => &["ARCH=riscv", "CROSS_COMPILE=riscv64-linux-gnu-"],
        Arch::Aarch64 => &["ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-"],
        Arch::S390x => &["ARCH=s390", "CROSS_COMPILE=s390x-linux-gnu-"],
    }
}

/// The patch that adds dispatch to the pinned kernel of an architecture. The tree contains the patched
/// code, so that faults can break that code too.
fn pinned_patch(arch: &str) -> Option<PathBuf> {
    let patches = root().join("kernel-config/patches");
    (arch == "aarch64").then(|| patches.join("aarch64/6.12-sud.patch"))
}

/// The unpacked source of a kernel in the cache. Runs sudbox once per kernel to fetch it.
///
/// # Panics
/// If the run fails or the source is not in the cache.
pub(crate) fn fetch_source(kernel: &str) -> PathBuf {
    static FETCHED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let (series, arch) = series_and_arch(kernel);
    if lock(&FETCHED).insert(kernel.to_owned()) {
        let _ = run(sudbox_run(&[series, "--arch", arch, "--cases", "boot"])).expect_code(0);
    }
    cached_source(series, arch)
        .or_else(|| {
            // The source was pruned while the image stayed. A build of a patched tree fetches the
            // source again.
            let folder = TempDir::new().expect("a temporary folder");
            let patch = folder.path().join("new-file.patch");
            fs::write(&patch, PATCH_WITHOUT_EFFECT).expect("the folder is writable");
            let patch = patch.to_str().expect("a path in UTF-8");
            let arguments = [series, "--arch", arch, "--cases", "boot", "--patches", patch];
            let _ = run(sudbox_run(&arguments)).expect_code(0);
            cached_source(series, arch)
        })
        .unwrap_or_else(|| panic!("no source of {kernel} in the cache"))
}

/// A patch that changes nothing that is compiled.
const PATCH_WITHOUT_EFFECT: &str = "--- /dev/null\n+++ b/sudbox-tests\n@@ -0,0 +1 @@\n+A file.\n";

/// The unpacked source of a series for an architecture, if the cache has it.
fn cached_source(series: &str, arch: &str) -> Option<PathBuf> {
    let (version, level) = series.split_once('.').expect("a series");
    let sources = cache_dir().join("sources");
    let entries = fs::read_dir(sources).ok()?.flatten().map(|entry| entry.path());
    // The cache may also hold the source for other architectures.
    entries.filter(|path| path.to_string_lossy().ends_with(&format!("-{arch}"))).find(|path| {
        fs::read_to_string(path.join("Makefile")).is_ok_and(|makefile| {
            makefile.contains(&format!("VERSION = {version}\nPATCHLEVEL = {level}\n"))
        })
    })
}

/// Locks `tests/NAME` in the cache, and waits if another process holds the lock. Returns the path, which
/// may not exist yet, and the lock, which is released when it is dropped. Files below the path can be hard
/// links to the sources, because both are in the cache.
///
/// # Panics
/// If the lock cannot be created.
pub(crate) fn lock_in_cache(name: &str) -> (PathBuf, fs::File) {
    let path = cache_dir().join("tests").join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory in the cache");
    let lock = fs::File::create(with_suffix(&path, "lock")).expect("a lock");
    lock.lock().expect("the lock");
    (path, lock)
}

/// `path` with `.suffix` appended to its last component.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(format!(".{suffix}"));
    path.into()
}

/// Applies a patch to the files in a folder.
///
/// # Errors
/// The patch does not apply.
pub(crate) fn apply_patch(patch: &Path, folder: &Path) -> Result<(), String> {
    // patch(1) writes a new file and renames it, so the other names of a hard link keep their content.
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

/// A kernel tree that tests modify. It has a `.config` and objects of its own, like a tree that a
/// developer works in. One test at a time holds the tree, and gets it unmodified except for the test's
/// patches.
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
    /// If the tree cannot be made or a patch does not apply.
    #[must_use]
    pub fn with_faults(patches: &[&str]) -> Tree {
        let tree = Tree::wait_for(PINNED_SERIES);
        for patch in patches {
            tree.apply_fault(patch);
        }
        tree
    }

    /// Waits for the tree of a kernel such as `7.3` or `6.12-riscv64`.
    ///
    /// # Panics
    /// If the tree cannot be made.
    #[must_use]
    pub fn wait_for(kernel: &str) -> Tree {
        let source = fetch_source(kernel);
        let arch = series_and_arch(kernel).1.to_owned();
        let (path, lock) = lock_in_cache(&format!("tree-{kernel}"));
        let tree = Tree { path, arch, source, _lock: lock };
        tree.create();
        tree.reset();
        tree
    }

    /// The tree's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tree's directory as an argument for `sudbox run`.
    ///
    /// # Panics
    /// If the path is not UTF-8.
    #[must_use]
    pub fn argument(&self) -> &str {
        self.path.to_str().expect("a UTF-8 path")
    }

    /// The architecture that the tree is built for, such as `x86_64`.
    #[must_use]
    pub fn arch(&self) -> &str {
        &self.arch
    }

    /// The file that lists the names of the modified files.
    fn change_list_path(&self) -> PathBuf {
        with_suffix(&self.path, "changed")
    }

    /// Copies the source, unless the tree is a copy of this source already, and prepares a build in the
    /// tree with a configuration that sudbox does not use.
    fn create(&self) {
        let source_record = with_suffix(&self.path, "copy-of");
        let source = self.source.to_str().expect("a UTF-8 path");
        if fs::read_to_string(&source_record).is_ok_and(|text| text == source) {
            return;
        }
        // Files are hard links if possible. The tests replace a modified file and never write to it.
        let copied = ["-al", "-a"].iter().any(|option| {
            let _ = fs::remove_dir_all(&self.path);
            let mut copy = Command::new("cp");
            copy.arg(option).arg(&self.source).arg(&self.path).stderr(Stdio::null());
            copy.status().is_ok_and(|status| status.success())
        });
        assert!(copied, "copying {source} failed");
        // Remove the build folders of sudbox, `sudbox-*`. The tree of a developer has none.
        for entry in fs::read_dir(&self.path).expect("the copy").flatten() {
            if entry.file_name().to_string_lossy().starts_with("sudbox-") {
                fs::remove_dir_all(entry.path()).expect("a build folder");
            }
        }
        for target in ["allnoconfig", "scripts_basic", "prepare0"] {
            let status = Command::new("make")
                .arg("-C")
                .arg(&self.path)
                .args(["-j2", target])
                .args(make_arguments(self.arch.parse().expect("an architecture")))
                .env_remove("MAKEFLAGS")
                .stdout(Stdio::null())
                .status()
                .expect("make is installed");
            assert!(status.success(), "make {target}");
        }
        fs::write(&source_record, source).expect("the cache is writable");
    }

    /// Restores every modified file.
    ///
    /// # Panics
    /// If a file cannot be read or written.
    pub fn reset(&self) {
        let _ = fs::remove_dir_all(self.path.join(".git"));
        for name in fs::read_to_string(self.change_list_path()).unwrap_or_default().lines() {
            let Ok(original) = fs::read(self.source.join(name)) else {
                let _ = fs::remove_file(self.path.join(name));
                continue;
            };
            let current = fs::read(self.path.join(name)).unwrap_or_default();
            if current != original {
                self.replace_file(name, &original);
            }
        }
        let _ = fs::remove_file(self.change_list_path());
        if let Some(patch) = pinned_patch(&self.arch) {
            self.try_apply_patch_file(&patch)
                .unwrap_or_else(|why| panic!("{}: {why}", patch.display()));
        }
    }

    /// Adds a file to the list of modified files. Must be called before the change.
    fn record_change(&self, name: &str) {
        use std::io::Write as _;
        let mut list = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.change_list_path())
            .expect("a list");
        writeln!(list, "{name}").expect("a list");
    }

    fn replace_file(&self, name: &str, contents: &[u8]) {
        // Unlink the old file first, because it may be a hard link to the source in the cache.
        let path = self.path.join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, contents).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Applies a patch of `tests/faults/`.
    ///
    /// # Panics
    /// If the patch does not apply.
    pub fn apply_fault(&self, patch: &str) {
        self.try_apply_fault(patch).unwrap_or_else(|why| panic!("{patch}: {why}"));
    }

    /// Applies a patch of `tests/faults/`.
    ///
    /// # Errors
    /// The patch does not apply, or leaves a file that it names unchanged.
    ///
    /// # Panics
    /// If the patch cannot be read.
    pub fn try_apply_fault(&self, patch: &str) -> Result<(), String> {
        self.try_apply_patch_file(&root().join("tests/faults").join(patch))
    }

    /// Applies a patch file of any directory.
    ///
    /// # Errors
    /// The patch does not apply, or leaves a file that it names unchanged.
    ///
    /// # Panics
    /// If the patch cannot be read.
    pub fn try_apply_patch_file(&self, file: &Path) -> Result<(), String> {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let names: Vec<&str> = changed_files(&text).collect();
        let read = || -> Vec<Option<String>> {
            names.iter().map(|name| fs::read_to_string(self.path.join(name)).ok()).collect()
        };
        for name in &names {
            self.record_change(name);
        }
        let before = read();
        apply_patch(file, &self.path)?;
        if before.iter().zip(read()).any(|(before, after)| *before == after) {
            return Err("leaves a file that it names unchanged".into());
        }
        Ok(())
    }

    /// Replaces the text of a file by the result of `change` on it.
    ///
    /// # Panics
    /// If the file cannot be read or written, or `change` returns the same text.
    pub fn edit(&self, name: &str, change: impl FnOnce(&str) -> String) {
        let text = fs::read_to_string(self.path.join(name)).expect("a file of the tree");
        let changed = change(&text);
        assert_ne!(text, changed, "{name} does not change");
        self.record_change(name);
        self.replace_file(name, changed.as_bytes());
    }

    /// Adds the kernel's selftests of dispatch, which the cached source does not contain. The selftests
    /// do not affect the kernel's build.
    ///
    /// # Panics
    /// If the selftests cannot be fetched or copied.
    pub fn add_selftests(&self, series: &str) {
        let mut command = sudbox();
        command.args(["kselftest", series]);
        let _ = run(command).expect_code(0);
        // Selftests are cached by release, sources by release and architecture.
        let source = self.source.file_name().expect("a name").to_string_lossy();
        let from = fs::read_dir(cache_dir().join("selftests"))
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

    /// Appends a comment with the current time to a file, so that make has to rebuild it.
    ///
    /// # Panics
    /// If the file cannot be read or written.
    pub fn force_rebuild(&self, name: &str) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("a clock").as_nanos();
        self.edit(name, |text| format!("{text}\n/* {now} */\n"));
    }
}
