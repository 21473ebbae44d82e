// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds the source files of a kernel tree. Skips the files of builds and of editors.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::arch::Arch;
use crate::error::Error;
use crate::regular_file;
use crate::source_filter;

/// Maximum size of a .gitignore, in bytes. A longer one is not followed.
const MAX_RULES_BYTES: u64 = 1 << 20;

/// A file or symbolic link of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// Path relative to the root of the tree.
    pub(crate) path: String,
    /// Whether the file is a symbolic link.
    pub(crate) is_link: bool,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Time of the last change of the content, in nanoseconds since 1970.
    pub(crate) mtime: i64,
    /// Time of the last change of content or metadata, in nanoseconds since 1970.
    pub(crate) ctime: i64,
    /// Whether the owner may execute the file.
    pub(crate) is_executable: bool,
}

/// Rules for ignored files: files of builds, in case that the tree lacks the kernel's .gitignore;
/// files with which `make O=` refuses a tree as not clean; and build slots.
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

/// Rules of the top .gitignore that are not followed, because they would ignore the kernel itself.
/// The top .gitignore of Debian's source packages has `/*` and `!/debian/`.
const RULES_HIDING_ALL: [&str; 4] = ["/*", "*", "/**", "**"];

/// The .gitignore rules for a folder: the rules of the folder, which take precedence, and those of
/// its parents.
struct IgnoreRules {
    own_rules: Gitignore,
    parent_rules: Option<Arc<IgnoreRules>>,
}

impl IgnoreRules {
    /// Whether the rules ignore a file or folder.
    fn ignores(&self, path: &Path, is_dir: bool) -> bool {
        let rule = self.own_rules.matched(path, is_dir);
        if rule.is_none() {
            return self.parent_rules.as_ref().is_some_and(|rules| rules.ignores(path, is_dir));
        }
        rule.is_ignore()
    }
}

/// Folders still to read, shared by the threads.
struct FolderQueue {
    /// Paths, and the rules of the parents.
    folders: Vec<(String, Arc<IgnoreRules>)>,
    /// Number of threads that are reading a folder and may add subfolders.
    reading_threads: usize,
    error: Option<Error>,
}

/// Finds all source files of a tree that a build for `arch` may read.
pub(crate) fn find_source_files(tree: &Path, arch: Arch) -> Result<Vec<SourceFile>, Error> {
    let mut builder = GitignoreBuilder::new(tree);
    for line in IGNORE_RULES.lines() {
        builder.add_line(None, line).expect("IGNORE_RULES are valid");
    }
    let own_rules = builder.build().expect("IGNORE_RULES are valid");
    let rules = Arc::new(IgnoreRules { own_rules, parent_rules: None });
    let queue =
        FolderQueue { folders: vec![(String::new(), rules)], reading_threads: 0, error: None };
    let shared = (Mutex::new(queue), Condvar::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let files_by_thread: Vec<Vec<SourceFile>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| read_queued_folders(tree, arch, &shared)))
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let queue = shared.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match queue.error {
        Some(error) => Err(error),
        None => Ok(files_by_thread.concat()),
    }
}

/// Reads the folders of the queue until the queue is empty. Returns the files in the folders.
fn read_queued_folders(
    tree: &Path,
    arch: Arch,
    shared: &(Mutex<FolderQueue>, Condvar),
) -> Vec<SourceFile> {
    let (mutex, queue_changed) = shared;
    let lock = || mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut files = Vec::new();
    let mut queue = lock();
    loop {
        let Some((folder, rules)) = queue.folders.pop() else {
            if queue.reading_threads == 0 {
                return files;
            }
            queue = queue_changed.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
            continue;
        };
        queue.reading_threads += 1;
        drop(queue);
        let result = read_folder(tree, &folder, arch, &rules, &mut files);
        queue = lock();
        queue.reading_threads -= 1;
        match result {
            Ok(folders) => queue.folders.extend(folders),
            Err(error) => {
                queue.folders.clear();
                queue.error = Some(error);
            }
        }
        queue_changed.notify_all();
    }
}

/// Reads one folder: adds its files to `files`, and returns its subfolders.
fn read_folder(
    tree: &Path,
    folder: &str,
    arch: Arch,
    rules: &Arc<IgnoreRules>,
    files: &mut Vec<SourceFile>,
) -> Result<Vec<(String, Arc<IgnoreRules>)>, Error> {
    let path = tree.join(folder);
    let unreadable = |reason: std::io::Error| Error::TreeUnreadable { path: path.clone(), reason };
    let entries: Vec<_> = fs::read_dir(&path).and_then(Iterator::collect).map_err(unreadable)?;
    let has_entry = |name: &str| entries.iter().any(|entry| entry.file_name() == OsStr::new(name));
    // Skip another checkout inside the tree (`.git`), and an O= directory of the user (`.config` and
    // the link `source`).
    let is_link = |name: &str| {
        fs::symlink_metadata(path.join(name)).is_ok_and(|metadata| metadata.is_symlink())
    };
    if !folder.is_empty() && (has_entry(".git") || (has_entry(".config") && is_link("source"))) {
        return Ok(Vec::new());
    }
    let rules = if has_entry(".gitignore") {
        let own_rules = read_rules(&path, folder.is_empty());
        &Arc::new(IgnoreRules { own_rules, parent_rules: Some(rules.clone()) })
    } else {
        rules
    };
    let mut folders = Vec::new();
    for entry in &entries {
        // Names of kernel files are UTF-8 without newlines, so skip all others.
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if name.contains('\n') {
            continue;
        }
        let entry_path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let file_type = entry.file_type().map_err(unreadable)?;
        if file_type.is_dir() && source_filter::is_left_out(&entry_path, arch)
            || rules.ignores(&entry.path(), file_type.is_dir())
        {
            continue;
        }
        if file_type.is_dir() {
            folders.push((entry_path, rules.clone()));
        } else if file_type.is_file() || file_type.is_symlink() {
            match entry.metadata() {
                Ok(metadata) => files.push(SourceFile::new(entry_path, &metadata)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
    }
    Ok(folders)
}

/// Reads a folder's .gitignore. Skips invalid rules, as git does.
fn read_rules(folder: &Path, is_top: bool) -> Gitignore {
    let path = folder.join(".gitignore");
    let text = regular_file::read_text_bounded(&path, MAX_RULES_BYTES).unwrap_or_default();
    let mut builder = GitignoreBuilder::new(folder);
    for line in text.lines().filter(|line| !(is_top && RULES_HIDING_ALL.contains(&line.trim()))) {
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

#[cfg(test)]
mod tests;
