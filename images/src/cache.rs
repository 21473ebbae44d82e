// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cache: kernel sources, mirrors, build slots and images, shared by all runs of one user.
//!
//! ```text
//! sources/     unpacked sources of releases
//! trees/       mirrors and checkouts of users' trees
//!   sudbox-*/    in sources/ and trees/: build slots, one O= directory each
//! selftests/   unpacked selftests of releases
//! images/      finished images, by content
//! recipes/     records: inputs of a build -> image
//! resolved/    records: version -> source
//! guests/      guest-init for other architectures
//! toolchains/  Rust compilers that build guest-init
//! bisections/  states of bisections, and their runs
//! behaviours/  recorded behaviour of kernels, by image, guest-init and machine
//! campaigns/   states of `sudbox campaign`, by image, guest-init and options; never evicted
//! runs/        report folders of the last runs
//! apt/         the private apt root
//! locks/       one lock file per entry: its mtime is the entry's last use, its content the size
//! tmp/         unfinished entries, which are renamed into place when they are complete
//! ```
//!
//! A run holds the lock (flock(2)) of an entry while it uses the entry. The child processes of a
//! build inherit the lock, so that the entry stays locked until the last of them has ended.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Context as _, Error};
use crate::file_owner::Owner;
use crate::folder::Folder;
use crate::lock;
use crate::lock::EntryLock;
use crate::lock::LockMode;
use crate::monitor::Monitor;

/// Maximum size of the cache in bytes. If the cache is larger, the least recently used entries are
/// evicted.
const SIZE_LIMIT: u64 = 20 << 30;

/// Files in `tmp/` that are older are removed: only a killed run leaves a file so long.
const UNFINISHED_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Folders whose entries can be evicted.
const EVICTABLE_FOLDERS: [&str; 8] =
    ["images", "trees", "sources", "selftests", "guests", "toolchains", "bisections", "behaviours"];

/// The other folders of a new cache.
const OTHER_FOLDERS: [&str; 7] =
    ["recipes", "resolved", "locks", "tmp", "apt", "campaigns", "runs"];

/// An open cache.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    /// Maximum size in bytes.
    limit: u64,
    pub(crate) owner: Owner,
}

/// An entry that can be evicted.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// One of [`EVICTABLE_FOLDERS`].
    pub(crate) folder: &'static str,
    pub(crate) key: String,
    pub(crate) path: PathBuf,
    /// Size in bytes, including build slots.
    pub(crate) bytes: u64,
    /// Time of the last use.
    pub(crate) last_used: SystemTime,
}

impl Cache {
    /// Opens this user's cache in the first directory that is set: `$SUDBOX_CACHE`,
    /// `$XDG_CACHE_HOME/sudbox` or `~/.cache/sudbox`. Under sudo, `~` is the home of the user who
    /// called sudo.
    ///
    /// # Errors
    /// If the cache cannot be created or written to.
    pub fn open() -> Result<Cache, Error> {
        let nonempty_variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let owner = Owner::from_sudo();
        let root = if let Some(root) = nonempty_variable("SUDBOX_CACHE") {
            std::path::absolute(&root).context("use SUDBOX_CACHE", Path::new(&root))?
        } else if let Some(root) = nonempty_variable("XDG_CACHE_HOME") {
            PathBuf::from(root).join("sudbox")
        } else if let Some(home) =
            owner.home().or_else(|| nonempty_variable("HOME").map(PathBuf::from))
        {
            home.join(".cache/sudbox")
        } else {
            return Err(Error::NoCache);
        };
        Cache::for_owner(root, owner)
    }

    /// Opens the cache in this directory, which is created if necessary.
    ///
    /// # Errors
    /// As [`Cache::open`].
    pub fn open_at(root: PathBuf) -> Result<Cache, Error> {
        Cache::for_owner(root, Owner::from_sudo())
    }

    fn for_owner(root: PathBuf, owner: Owner) -> Result<Cache, Error> {
        let owner = owner.of_new_files_in(&root);
        let _impersonation = owner.impersonate();
        for folder in EVICTABLE_FOLDERS.iter().chain(&OTHER_FOLDERS) {
            let path = root.join(folder);
            if !path.is_dir() {
                fs::create_dir_all(&path).context("make the cache directory", &path)?;
            }
        }
        // Check early that the cache can be written to.
        let temporary = root.join("tmp");
        tempfile::Builder::new()
            .prefix("probe")
            .tempfile_in(&temporary)
            .and_then(|mut file| file.write_all(b"1"))
            .context("write to the cache directory", &temporary)?;
        Ok(Cache { root, limit: SIZE_LIMIT, owner })
    }

    /// The cache's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The owner of new files in a folder of the cache.
    #[must_use]
    pub fn owner_of(&self, folder: &str) -> Owner {
        self.owner.of_new_files_in(&self.root.join(folder))
    }

    /// The path of an entry.
    pub(crate) fn entry_path(&self, folder: &str, key: &str) -> PathBuf {
        self.root.join(folder).join(key)
    }

    /// A new directory in `tmp/`, which is removed when the returned value is dropped.
    pub(crate) fn temporary_directory(&self) -> Result<tempfile::TempDir, Error> {
        let parent = self.root.join("tmp");
        tempfile::tempdir_in(&parent).context("make a directory in", &parent)
    }

    /// Reads a JSON record; `None` if it is missing or damaged.
    pub(crate) fn read_record<T: serde::de::DeserializeOwned>(
        &self,
        folder: &str,
        key: &str,
    ) -> Option<T> {
        serde_json::from_slice(&fs::read(self.entry_path(folder, key)).ok()?).ok()
    }

    /// Writes a JSON record atomically.
    pub(crate) fn write_record<T: serde::Serialize>(
        &self,
        folder: &str,
        key: &str,
        value: &T,
    ) -> Result<(), Error> {
        let path = self.entry_path(folder, key);
        let text =
            serde_json::to_vec_pretty(value).map_err(io::Error::from).context("write", &path)?;
        write_atomically(&self.root.join("tmp"), &path, &text)
    }

    /// Reads the file of an entry; `None` if it is missing.
    #[must_use]
    pub fn read_file(&self, folder: &str, key: &str) -> Option<Vec<u8>> {
        fs::read(self.entry_path(folder, key)).ok()
    }

    /// Writes the file of an entry atomically.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write_file(&self, folder: &str, key: &str, content: &[u8]) -> Result<(), Error> {
        let _impersonation = self.owner_of(folder).impersonate();
        write_atomically(&self.root.join("tmp"), &self.entry_path(folder, key), content)
    }

    /// Locks an entry and sets its time of last use to now. Waits for other runs.
    ///
    /// # Errors
    /// [`Error::Io`] if the lock file cannot be opened or locked; [`Error::Interrupted`].
    pub fn lock(
        &self,
        folder: &str,
        key: &str,
        mode: LockMode,
        monitor: &mut dyn Monitor,
    ) -> Result<EntryLock, Error> {
        let _impersonation = self.owner.impersonate();
        lock::lock(&self.lock_path(folder, key), mode, monitor)
    }

    fn lock_path(&self, folder: &str, key: &str) -> PathBuf {
        self.root.join("locks").join(format!("{folder}-{key}"))
    }

    /// Removes unfinished files of killed runs, and the least recently used unlocked entries until
    /// the cache is below its limit.
    pub(crate) fn evict(&self) {
        self.remove_unfinished();
        let mut entries = self.entries();
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        entries.sort_by_key(|entry| entry.last_used);
        for entry in entries {
            if total <= self.limit {
                break;
            }
            if self.remove(&entry) {
                total -= entry.bytes;
            }
        }
    }

    /// All entries that may be removed.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for folder in EVICTABLE_FOLDERS {
            for entry in fs::read_dir(self.root.join(folder)).into_iter().flatten().flatten() {
                let Ok(key) = entry.file_name().into_string() else { continue };
                let lock = self.lock_path(folder, &key);
                if folder == "bisections" && self.is_unfinished_bisection(&key) {
                    continue;
                }
                let path = entry.path();
                let last_used = fs::metadata(&lock)
                    .or_else(|_| fs::metadata(&path))
                    .and_then(|metadata| metadata.modified())
                    .unwrap_or(SystemTime::UNIX_EPOCH);
                let recorded_size = File::open(&lock).ok().and_then(lock::recorded_size);
                let bytes = recorded_size.unwrap_or_else(|| disk_usage(&path))
                    + total_slot_size(&path)
                    + total_slot_size(&path.join("src"));
                entries.push(Entry { folder, key, path, bytes, last_used });
            }
        }
        entries
    }

    /// Whether a bisection is unfinished. An unfinished bisection is never evicted, because its
    /// state exists nowhere else.
    fn is_unfinished_bisection(&self, key: &str) -> bool {
        /// The part of the bisection's state that says whether it has ended.
        #[derive(serde::Deserialize)]
        struct State {
            over: bool,
        }
        let state: Option<State> = self.read_record("bisections", &format!("{key}/state.json"));
        state.is_some_and(|state| !state.over)
    }

    /// Whether no run has locked an entry.
    pub(crate) fn is_unlocked(&self, entry: &Entry) -> bool {
        self.lock_exclusively(entry).is_some()
    }

    /// Locks an entry; `None` if another run has locked the entry.
    fn lock_exclusively(&self, entry: &Entry) -> Option<File> {
        lock::try_exclusive(&self.lock_path(entry.folder, &entry.key))
    }

    /// Removes an entry, unless another run has locked the entry. Returns true if the entry was
    /// removed.
    pub(crate) fn remove(&self, entry: &Entry) -> bool {
        let Some(_lock) = self.lock_exclusively(entry) else { return false };
        let Ok(trash) = self.temporary_directory() else { return false };
        let is_removed = fs::rename(&entry.path, trash.path().join("evicted")).is_ok();
        if is_removed {
            let _ = fs::remove_file(self.lock_path(entry.folder, &entry.key));
        }
        is_removed
    }

    /// Removes the files that killed runs left in `tmp/`.
    fn remove_unfinished(&self) {
        for entry in fs::read_dir(self.root.join("tmp")).into_iter().flatten().flatten() {
            let is_old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > UNFINISHED_MAX_AGE));
            if is_old {
                let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
            }
        }
    }
}

/// Writes a file atomically, by renaming a temporary file of the directory `tmp`.
pub(crate) fn write_atomically(tmp: &Path, path: &Path, content: &[u8]) -> Result<(), Error> {
    tempfile::NamedTempFile::new_in(tmp)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        })
        .context("write", path)
}

/// Disk space that a file, or a directory and everything below, occupies, in bytes.
pub(crate) fn disk_usage(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let bytes_below: u64 = if metadata.is_dir() {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| disk_usage(&entry.path()))
            .sum()
    } else {
        0
    };
    metadata.blocks() * 512 + bytes_below
}

/// Records the size of a build slot in the slot.
pub(crate) fn record_slot_size(slot: &Folder) {
    // Without the recorded size, eviction is only less exact.
    let _ = slot.write(SLOT_SIZE_FILE_NAME, &disk_usage(slot.path()).to_string());
}

/// Name of the file in a build slot that holds the slot's size in bytes.
const SLOT_SIZE_FILE_NAME: &str = "sudbox.size";

/// Maximum size that a slot can have, in bytes. A record of more is wrong.
const MAX_SLOT_BYTES: u64 = 1 << 40;

/// Recorded disk space of all build slots in a source, in bytes.
fn total_slot_size(source: &Path) -> u64 {
    let entries = fs::read_dir(source).into_iter().flatten().flatten();
    // A build may have replaced the file, and may have written any number.
    let slot_size = |entry: fs::DirEntry| {
        let file = Folder::new(entry.path()).open(SLOT_SIZE_FILE_NAME).ok()?;
        lock::recorded_size(file).filter(|bytes| *bytes <= MAX_SLOT_BYTES)
    };
    entries.filter_map(slot_size).sum()
}

#[cfg(test)]
mod tests;
