// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds the source files of a kernel tree, without build products and editors' files.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::arch::Arch;
use crate::error::Error;
use crate::source_filter;

/// A file or symbolic link of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// Path relative to the root of the tree.
    pub(crate) path: String,
    /// Whether it is a symbolic link.
    pub(crate) is_link: bool,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Time of the last change of the content, in nanoseconds since 1970.
    pub(crate) mtime: i64,
    /// Time of the last change of content or metadata, in nanoseconds since 1970.
    pub(crate) ctime: i64,
    /// Whether the owner may execute the file.
    pub(crate) executable: bool,
}

/// Rules for ignored files: build products, in case that the tree lacks the kernel's .gitignore; files
/// with which `make O=` refuses a tree as not clean; and build slots.
const IGNORE_RULES: &str = "
.git
.config
.config.old
.tmp_*
.*.cmd
.*.d
*.o
*.a
*.ko
*.mod
*.mod.c
*.order
/include/config/
/include/generated/
/arch/*/include/generated/
/vmlinux
/vmlinux.*
/System.map
/Module.symvers
/sudbox-*/
";

/// Rules of the top .gitignore that are not followed, because they hide the kernel itself. Debian's
/// source packages have `/*` and `!/debian/` there.
const RULES_HIDING_ALL: [&str; 4] = ["/*", "*", "/**", "**"];

/// The .gitignore rules for a folder: its own, which take precedence, and those of its parents.
struct IgnoreRules {
    own: Gitignore,
    above: Option<Arc<IgnoreRules>>,
}

impl IgnoreRules {
    fn ignore(&self, path: &Path, is_dir: bool) -> bool {
        let found = self.own.matched(path, is_dir);
        if found.is_none() {
            return self.above.as_ref().is_some_and(|above| above.ignore(path, is_dir));
        }
        found.is_ignore()
    }
}

/// Folders still to read, shared by the threads.
struct FolderQueue {
    /// Paths, and the rules of the parents.
    folders: Vec<(String, Arc<IgnoreRules>)>,
    /// Number of threads that are reading a folder and may add others.
    reading_threads: usize,
    failed: Option<Error>,
}

/// Finds all source files of a tree that a build for `arch` may read.
pub(crate) fn find_source_files(tree: &Path, arch: Arch) -> Result<Vec<SourceFile>, Error> {
    let mut products = GitignoreBuilder::new(tree);
    for line in IGNORE_RULES.lines() {
        products.add_line(None, line).expect("a rule of ours is valid");
    }
    let own = products.build().expect("rules of ours are valid");
    let rules = Arc::new(IgnoreRules { own, above: None });
    let start =
        FolderQueue { folders: vec![(String::new(), rules)], reading_threads: 0, failed: None };
    let shared = (Mutex::new(start), Condvar::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let found: Vec<Vec<SourceFile>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| worker(tree, arch, &shared))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let queue = shared.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match queue.failed {
        Some(error) => Err(error),
        None => Ok(found.concat()),
    }
}

/// Reads folders of the queue until it is empty, and returns the files in them.
fn worker(tree: &Path, arch: Arch, shared: &(Mutex<FolderQueue>, Condvar)) -> Vec<SourceFile> {
    let (mutex, changed) = shared;
    let lock = || mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut found = Vec::new();
    let mut queue = lock();
    loop {
        let Some((folder, rules)) = queue.folders.pop() else {
            if queue.reading_threads == 0 {
                return found;
            }
            queue = changed.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
            continue;
        };
        queue.reading_threads += 1;
        drop(queue);
        let result = read_folder(tree, &folder, arch, &rules, &mut found);
        queue = lock();
        queue.reading_threads -= 1;
        match result {
            Ok(folders) => queue.folders.extend(folders),
            Err(error) => {
                queue.folders.clear();
                queue.failed = Some(error);
            }
        }
        changed.notify_all();
    }
}

/// Reads one folder: adds its files to `found`, and returns its folders.
fn read_folder(
    tree: &Path,
    folder: &str,
    arch: Arch,
    rules: &Arc<IgnoreRules>,
    found: &mut Vec<SourceFile>,
) -> Result<Vec<(String, Arc<IgnoreRules>)>, Error> {
    let path = tree.join(folder);
    let unreadable = |why: std::io::Error| Error::TreeUnreadable { path: path.clone(), why };
    let entries: Vec<_> = fs::read_dir(&path).and_then(Iterator::collect).map_err(unreadable)?;
    let has = |name: &str| entries.iter().any(|entry| entry.file_name() == OsStr::new(name));
    // Another checkout inside the tree, or an O= directory of the tree's owner.
    let is_link = |name: &str| fs::symlink_metadata(path.join(name)).is_ok_and(|m| m.is_symlink());
    if !folder.is_empty() && (has(".git") || (has(".config") && is_link("source"))) {
        return Ok(Vec::new());
    }
    let rules = if has(".gitignore") {
        let own = read_rules(&path, folder.is_empty());
        &Arc::new(IgnoreRules { own, above: Some(rules.clone()) })
    } else {
        rules
    };
    let mut folders = Vec::new();
    for entry in &entries {
        // The kernel has only names in UTF-8, without newlines.
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if name.contains('\n') {
            continue;
        }
        let below = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() && source_filter::is_left_out(&below, arch)
            || rules.ignore(&entry.path(), kind.is_dir())
        {
            continue;
        }
        if kind.is_dir() {
            folders.push((below, rules.clone()));
        } else if kind.is_file() || kind.is_symlink() {
            match entry.metadata() {
                Ok(meta) => found.push(SourceFile::new(below, &meta)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(unreadable(e)),
            }
        }
    }
    Ok(folders)
}

/// Reads a folder's .gitignore. Invalid rules are skipped, as git does.
fn read_rules(folder: &Path, is_top: bool) -> Gitignore {
    let text = fs::read_to_string(folder.join(".gitignore")).unwrap_or_default();
    let mut builder = GitignoreBuilder::new(folder);
    for line in text.lines().filter(|line| !(is_top && RULES_HIDING_ALL.contains(&line.trim()))) {
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

#[cfg(test)]
mod tests;
