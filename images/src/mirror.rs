// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A mirror of a user's source tree, updated by copying only the files that changed.
//!
//! sudbox only reads the tree. A file with unchanged content keeps its mtime in the mirror, even if
//! its mtime in the tree has changed (by a checkout of another branch and back), so that make does
//! not rebuild the dependents of the file. A file with changed content gets the current time, even
//! if its mtime in the tree is older than before, so that make rebuilds the dependents.
//!
//! The mirror's index has size, mtime, ctime and digest of every file. A file is read again only if
//! size, mtime or ctime differ.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use crate::arch::Arch;
use crate::ctx::Ctx;
use crate::error::{Context as _, Error};
use crate::hash::hex;
use crate::lock::EntryLock;
use crate::lock::LockMode;
use crate::monitor;
use crate::monitor::Monitor;
use crate::patches::Patches;
use crate::paths::name_for_cache;
use crate::source_files;
use crate::source_files::SourceFile;

/// Granularity of timestamps on coarse file systems, in nanoseconds. Two writes within this time
/// may leave the same mtime.
const TIMESTAMP_GRANULARITY_NS: i64 = 2_000_000_000;

/// The locked mirror of a source directory, with patches applied.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// The copy of the tree, from which kernels are built.
    pub(crate) src: PathBuf,
    /// Key of the entry in the cache.
    pub(crate) key: String,
    pub(crate) state: MirrorState,
    /// Digest of the patched files; empty without patches.
    pub(crate) patch_digest: String,
    _lock: EntryLock,
}

impl Mirror {
    /// Locks the mirror of a tree and updates it.
    ///
    /// # Errors
    /// If the tree cannot be read, or a patch does not apply.
    pub(crate) fn update(
        ctx: &mut Ctx<'_>,
        tree: &Path,
        arch: Arch,
        patches: &Patches,
    ) -> Result<Mirror, Error> {
        let key = mirror_key(tree, arch, patches);
        let lock = ctx.lock("trees", &key, LockMode::Exclusive)?;
        let dir = ctx.entry_path("trees", &key);
        // Apply the patches before the copy of the tree, to report early that a patch does not
        // apply.
        let patched_files = patches.apply(ctx, tree)?;
        fs::create_dir_all(&dir).context("make", &dir)?;
        let state = update_mirror(tree, &dir, arch, patches.files(), ctx.monitor)?;
        let src = dir.join("src");
        let patch_digest = patched_files.copy_to(&src)?;
        if state.changed_files > 0 {
            lock.record_size(state.bytes);
        }
        Ok(Mirror { src, key, state, patch_digest, _lock: lock })
    }
}

/// Key of a mirror in the cache: the tree's directory name, and a digest of path, architecture and
/// patches.
fn mirror_key(tree: &Path, arch: Arch, patches: &Patches) -> String {
    let mut hasher = Sha256::new();
    hasher.update(tree.as_os_str().as_bytes());
    // The files of other architectures are not mirrored.
    hasher.update(arch.name());
    hasher.update(patches.digest());
    format!("{}-{}", name_for_cache(tree), hex(&hasher.finalize()[..8]))
}

/// The state of a mirror after [`update_mirror`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MirrorState {
    /// Digest of all paths, modes and contents.
    pub(crate) digest: String,
    /// Digest of the files that can change the final .config.
    pub(crate) kconfig: String,
    /// Number of files that were written or removed.
    pub(crate) changed_files: usize,
    /// Size of all files in bytes.
    pub(crate) bytes: u64,
}

/// A file in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
struct IndexEntry {
    /// Size in bytes, mtime and ctime in the tree, by which a change is detected; `None` if the file
    /// was so new that a later change may leave the same mtime.
    stat: Option<(u64, i64, i64)>,
    is_executable: bool,
    /// Digest of the content, or of a symbolic link's target.
    content: String,
}

/// The files of a mirror by their path.
type Index = HashMap<String, IndexEntry>;

/// Updates `dir/src` to the state of `tree`, except for `patched_paths`, the files that patches
/// write.
pub(crate) fn update_mirror(
    tree: &Path,
    dir: &Path,
    arch: Arch,
    patched_paths: &HashSet<String>,
    monitor: &mut dyn Monitor,
) -> Result<MirrorState, Error> {
    let (src, index_path) = (dir.join("src"), dir.join("index"));
    let now = nanoseconds(SystemTime::now());
    let mut files = source_files::find_source_files(tree, arch)?;
    files.retain(|file| !patched_paths.contains(&file.path));
    let bytes = files.iter().map(|file| file.size).sum();
    let earlier_index = read_index(&index_path);
    let is_first_copy = earlier_index.is_none();
    let mut index = earlier_index.unwrap_or_default();
    let present_paths: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let removed_paths: Vec<String> = index
        .keys()
        .filter(|path| !present_paths.contains(path.as_str()) && !patched_paths.contains(*path))
        .cloned()
        .collect();
    let files_to_read: Vec<&SourceFile> = files
        .iter()
        .filter(|file| {
            index.get(&file.path).is_none_or(|entry| {
                entry.stat != Some(file.stat()) || entry.is_executable != file.is_executable
            })
        })
        .collect();
    if files_to_read.is_empty() && removed_paths.is_empty() && !is_first_copy {
        return Ok(summarize(&index, 0, bytes));
    }
    if is_first_copy {
        monitor.phase(&format!("copying {} (only what changed, next time)", tree.display()));
        // A killed run may have left files that no index describes.
        remove(&src)?;
    }
    // First remove the files that are about to change from the index, so that the next run copies
    // them again if this run is killed.
    let mut unchanged = index.clone();
    for file in &files_to_read {
        unchanged.remove(&file.path);
    }
    if !is_first_copy {
        write_index(&index_path, &unchanged)?;
    }
    for path in &removed_paths {
        index.remove(path);
        remove(&src.join(path))?;
        remove_empty_parents(&src, path);
    }
    let results = copy_changed_files(tree, &src, &files_to_read, &index, is_first_copy, monitor)?;
    let mut changed_files = removed_paths.len();
    for (file, result) in files_to_read.iter().zip(results) {
        let Some((content, was_copied)) = result else {
            // The file was removed from the tree after it was found.
            index.remove(&file.path);
            remove(&src.join(&file.path))?;
            changed_files += 1;
            continue;
        };
        changed_files += usize::from(was_copied);
        let is_too_new = file.mtime.max(file.ctime) > now - TIMESTAMP_GRANULARITY_NS;
        let entry = IndexEntry {
            stat: (!is_too_new).then(|| file.stat()),
            is_executable: file.is_executable,
            content,
        };
        index.insert(file.path.clone(), entry);
    }
    write_index(&index_path, &index)?;
    Ok(summarize(&index, changed_files, bytes))
}

/// Result of [`copy_file`]: the digest of the file's content, and whether the file was copied;
/// `None` if the file no longer exists.
type CopyResult = Option<(String, bool)>;

/// Copies the files whose content differs, in parallel. The results are in the order of `files`.
fn copy_changed_files(
    tree: &Path,
    src: &Path,
    files: &[&SourceFile],
    index: &Index,
    is_first_copy: bool,
    monitor: &mut dyn Monitor,
) -> Result<Vec<CopyResult>, Error> {
    let next_index = AtomicUsize::new(0);
    let is_stopping = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let (sender, receiver) = mpsc::channel();
    let mut results: Vec<CopyResult> = vec![None; files.len()];
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next_index, is_stopping) = (sender.clone(), &next_index, &is_stopping);
            scope.spawn(move || {
                while !is_stopping.load(Ordering::Relaxed) {
                    let file_index = next_index.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(file_index) else { break };
                    let result = copy_file(tree, src, file, index.get(&file.path), is_first_copy);
                    if sender.send((file_index, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut copied_count = 0;
        let total = files.len() as u64;
        let mut last_report = std::time::Instant::now();
        let final_result = loop {
            match receiver.recv_timeout(Duration::from_millis(100)) {
                Ok((file_index, Ok(result))) => {
                    results[file_index] = result;
                    copied_count += 1;
                }
                Ok((_, Err(error))) => break Err(error),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break Ok(()),
            }
            if last_report.elapsed() > Duration::from_millis(100) {
                last_report = std::time::Instant::now();
                monitor.progress(copied_count, total, "files");
                if let Err(error) = monitor::wait(Duration::ZERO, monitor) {
                    break Err(error);
                }
            }
        };
        is_stopping.store(true, Ordering::Relaxed);
        final_result
    })?;
    Ok(results)
}

/// Copies a file, unless the index has the same content.
fn copy_file(
    tree: &Path,
    src: &Path,
    file: &SourceFile,
    entry: Option<&IndexEntry>,
    is_first_copy: bool,
) -> Result<CopyResult, Error> {
    let (original, copy) = (tree.join(&file.path), src.join(&file.path));
    let result = if file.is_link {
        fs::read_link(&original)
            .map(|target| link_target(tree, &file.path, target).into_os_string().into_vec())
    } else {
        fs::read(&original)
    };
    let bytes = match result {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(reason) => return Err(Error::TreeUnreadable { path: original, reason }),
    };
    let mut hasher = Sha256::new();
    hasher.update([u8::from(file.is_link)]);
    hasher.update(&bytes);
    let content = hex(&hasher.finalize()[..16]);
    if entry
        .is_some_and(|entry| entry.content == content && entry.is_executable == file.is_executable)
    {
        return Ok(Some((content, false)));
    }
    let write_copy = || -> io::Result<()> {
        if let Some(parent) = copy.parent() {
            make_directory(src, parent)?;
        }
        if file.is_link {
            remove_any(&copy)?;
            return symlink(OsStr::from_bytes(&bytes), &copy);
        }
        if fs::symlink_metadata(&copy).is_ok_and(|metadata| !metadata.is_file()) {
            remove_any(&copy)?;
        }
        let mut out = File::create(&copy)?;
        out.write_all(&bytes)?;
        out.set_permissions(fs::Permissions::from_mode(if file.is_executable {
            0o755
        } else {
            0o644
        }))?;
        if is_first_copy {
            let time = UNIX_EPOCH + Duration::from_nanos(file.mtime.max(0).cast_unsigned());
            out.set_modified(time.min(SystemTime::now()))?;
        }
        Ok(())
    };
    write_copy().context("write", &copy)?;
    Ok(Some((content, true)))
}

/// The target of a symbolic link in the mirror. A relative target outside the tree becomes
/// absolute.
fn link_target(tree: &Path, path: &str, target: PathBuf) -> PathBuf {
    // Depth of the target's components below the tree.
    let mut depth = Path::new(path).components().count().cast_signed() - 1;
    for component in target.components() {
        match component {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            Component::RootDir | Component::Prefix(_) => return target,
            Component::CurDir => {}
        }
        if depth < 0 {
            let folder = tree.join(path);
            return folder.parent().unwrap_or(tree).join(target);
        }
    }
    target
}

/// Creates a directory below `src`, and removes files at its path.
fn make_directory(src: &Path, path: &Path) -> io::Result<()> {
    match fs::create_dir_all(path) {
        Err(error)
            if error.kind() == io::ErrorKind::AlreadyExists
                || error.kind() == io::ErrorKind::NotADirectory =>
        {
            for ancestor in path.ancestors().take_while(|ancestor| ancestor.starts_with(src)) {
                if fs::symlink_metadata(ancestor).is_ok_and(|metadata| !metadata.is_dir()) {
                    fs::remove_file(ancestor)?;
                }
            }
            fs::create_dir_all(path)
        }
        result => result,
    }
}

/// Removes a file or a directory with its contents, if it exists.
fn remove_any(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Like [`remove_any`], with this crate's error.
fn remove(path: &Path) -> Result<(), Error> {
    remove_any(path).context("remove", path)
}

/// Removes the parent directories of a removed file that have become empty.
fn remove_empty_parents(src: &Path, path: &str) {
    for parent in
        Path::new(path).ancestors().skip(1).take_while(|parent| !parent.as_os_str().is_empty())
    {
        if fs::remove_dir(src.join(parent)).is_err() {
            break;
        }
    }
}

/// Summarises an index.
fn summarize(index: &Index, changed_files: usize, bytes: u64) -> MirrorState {
    let mut paths: Vec<&String> = index.keys().collect();
    paths.sort_unstable();
    let (mut all_files, mut kconfig) = (Sha256::new(), Sha256::new());
    for path in paths {
        let entry = &index[path];
        let line = format!("{path}\0{}{}\n", entry.content, u8::from(entry.is_executable));
        all_files.update(&line);
        if decides_configuration(path) {
            kconfig.update(&line);
        }
    }
    MirrorState {
        digest: hex(&all_files.finalize()),
        kconfig: hex(&kconfig.finalize()),
        changed_files,
        bytes,
    }
}

/// Whether a file can change the final .config.
pub(crate) fn decides_configuration(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("Kconfig")
        || path.starts_with("scripts/")
        || path.starts_with("kernel/configs/")
        || (path.starts_with("arch/") && path.contains("/configs/"))
}

/// Reads an index. After a line with [`INDEX_FORMAT`], each line has the digest, `x` if the file is
/// executable (else `-`), size (or `-`), mtime, ctime and path of a file.
fn read_index(path: &Path) -> Option<Index> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text.lines();
    if lines.next() != Some(INDEX_FORMAT) {
        return None;
    }
    lines
        .map(|line| {
            let mut fields = line.splitn(6, ' ');
            let mut field = || fields.next();
            let content = field()?.to_owned();
            let is_executable = field()? == "x";
            let stat = (field()?, field()?, field()?);
            let entry = IndexEntry {
                content,
                is_executable,
                stat: match stat {
                    ("-", ..) => None,
                    (size, mtime, ctime) => {
                        Some((size.parse().ok()?, mtime.parse().ok()?, ctime.parse().ok()?))
                    }
                },
            };
            Some((field()?.to_owned(), entry))
        })
        .collect()
}

/// First line of an index.
const INDEX_FORMAT: &str = "sudbox mirror 1";

/// Writes an index in the format of [`read_index`].
fn write_index(path: &Path, index: &Index) -> Result<(), Error> {
    let mut text = String::from(INDEX_FORMAT);
    for (file, entry) in index {
        let executable_flag = if entry.is_executable { 'x' } else { '-' };
        let (size, mtime, ctime) = match entry.stat {
            Some((size, mtime, ctime)) => (size.to_string(), mtime, ctime),
            None => ("-".into(), 0, 0),
        };
        text.push_str(&format!(
            "\n{} {executable_flag} {size} {mtime} {ctime} {file}",
            entry.content
        ));
    }
    crate::cache::write_atomically(path.parent().unwrap_or(path), path, text.as_bytes())
}

/// Converts a time to nanoseconds since 1970.
fn nanoseconds(time: SystemTime) -> i64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}

impl SourceFile {
    /// The properties by which a change of the file is detected.
    fn stat(&self) -> (u64, i64, i64) {
        (self.size, self.mtime, self.ctime)
    }

    /// Describes a file by the result of stat(2).
    pub(crate) fn new(path: String, metadata: &fs::Metadata) -> SourceFile {
        let total_ns =
            |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        SourceFile {
            path,
            is_link: metadata.is_symlink(),
            size: metadata.len(),
            mtime: total_ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime: total_ns(metadata.ctime(), metadata.ctime_nsec()),
            is_executable: !metadata.is_symlink() && metadata.mode() & 0o100 != 0,
        }
    }
}

#[cfg(test)]
mod tests;
