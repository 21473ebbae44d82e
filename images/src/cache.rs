// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The cache: kernel sources, mirrors, build slots and images, shared by all runs of one user.
//!
//! ```text
//! sources/  release sources, unpacked        trees/    mirrors and checkouts of users' trees
//!   sudbox-*/  in either: build slots, one O= directory each
//! guests/   guest-init of other architectures          toolchains/  Rust compilers for these
//! bisections/  the states of bisections, and their runs    runs/  the folders of the last runs
//! images/   finished images, by content      recipes/  request -> image
//! resolved/ version -> source                apt/      the private apt root
//! locks/    one file per entry: its lock; its time is the last use, its content the size in bytes
//! tmp/      unfinished entries, renamed into place when they are finished
//! ```
//!
//! Whoever uses an entry holds its lock (flock(2)). A build passes the lock on to its children, so
//! that the entry stays locked until the last process that writes to it has ended.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Context as _, Error};
use crate::file_owner::Owner;
use crate::lock;
use crate::lock::Held;
use crate::lock::Mode;
use crate::monitor::Monitor;

/// Limit of the cache in bytes; above it the least recently used entries are evicted.
const LIMIT: u64 = 20 << 30;

/// Age at which unfinished files of a killed run are removed.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// Folders whose entries can be evicted.
const ENTRIES: [&str; 7] =
    ["images", "trees", "sources", "selftests", "guests", "toolchains", "bisections"];

/// All other folders of a cache that are there from its beginning.
const FOLDERS: [&str; 5] = ["recipes", "resolved", "locks", "tmp", "apt"];

/// An open cache.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    limit: u64,
    pub(crate) owner: Owner,
}

/// An entry that can be evicted.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// One of [`ENTRIES`].
    pub(crate) folder: &'static str,
    pub(crate) key: String,
    pub(crate) path: PathBuf,
    /// Size, build slots included.
    pub(crate) bytes: u64,
    /// When it was used last.
    pub(crate) used: SystemTime,
}

impl Cache {
    /// Opens the cache of this user: `SUDBOX_CACHE`, else `XDG_CACHE_HOME/sudbox`, else
    /// `~/.cache/sudbox`; under sudo, with neither set, the cache of the user who called sudo.
    ///
    /// # Errors
    /// If it cannot be made or written to.
    pub fn open() -> Result<Cache, Error> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let owner = Owner::of_sudo();
        let root = if let Some(root) = set("SUDBOX_CACHE") {
            std::path::absolute(&root).context("use SUDBOX_CACHE", Path::new(&root))?
        } else if let Some(root) = set("XDG_CACHE_HOME") {
            PathBuf::from(root).join("sudbox")
        } else if let Some(home) = owner.home().or_else(|| set("HOME").map(PathBuf::from)) {
            home.join(".cache/sudbox")
        } else {
            return Err(Error::NoCache);
        };
        Cache::for_owner(root, owner)
    }

    /// Opens the cache in this directory, which is made if it is not there.
    ///
    /// # Errors
    /// As [`Cache::open`].
    pub fn at(root: PathBuf) -> Result<Cache, Error> {
        Cache::for_owner(root, Owner::of_sudo())
    }

    fn for_owner(root: PathBuf, owner: Owner) -> Result<Cache, Error> {
        let owner = owner.unless_owned_by_root(&root);
        let _acting = owner.act();
        for folder in ENTRIES.iter().chain(&FOLDERS) {
            let path = root.join(folder);
            if !path.is_dir() {
                fs::create_dir_all(&path).context("make the cache directory", &path)?;
            }
        }
        let probe = root.join("tmp");
        tempfile::Builder::new()
            .prefix("probe")
            .tempfile_in(&probe)
            .and_then(|mut file| file.write_all(b"1"))
            .context("write to the cache directory", &probe)?;
        Ok(Cache { root, limit: LIMIT, owner })
    }

    /// Its directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The owner of files that are made in a folder of it.
    #[must_use]
    pub fn owner_of(&self, folder: &str) -> Owner {
        self.owner.unless_owned_by_root(&self.root.join(folder))
    }

    /// The path of an entry.
    pub(crate) fn entry(&self, folder: &str, key: &str) -> PathBuf {
        self.root.join(folder).join(key)
    }

    /// A directory for unfinished work, removed when dropped.
    pub(crate) fn temporary(&self) -> Result<tempfile::TempDir, Error> {
        let parent = self.root.join("tmp");
        tempfile::tempdir_in(&parent).context("make a directory in", &parent)
    }

    /// Reads a JSON record; `None` if it is missing or damaged.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(
        &self,
        folder: &str,
        key: &str,
    ) -> Option<T> {
        serde_json::from_slice(&fs::read(self.entry(folder, key)).ok()?).ok()
    }

    /// Writes a JSON record atomically.
    pub(crate) fn write<T: serde::Serialize>(
        &self,
        folder: &str,
        key: &str,
        value: &T,
    ) -> Result<(), Error> {
        let path = self.entry(folder, key);
        let text =
            serde_json::to_vec_pretty(value).map_err(io::Error::from).context("write", &path)?;
        write_whole(&self.root.join("tmp"), &path, &text)
    }

    /// Locks an entry and marks it as used. Waits for other runs.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be locked; [`Error::Interrupted`].
    pub fn hold(
        &self,
        folder: &str,
        key: &str,
        mode: Mode,
        monitor: &mut dyn Monitor,
    ) -> Result<Held, Error> {
        let _acting = self.owner.act();
        lock::lock(&self.lock_path(folder, key), mode, monitor)
    }

    /// Locks an entry and marks it as used, for callers that act as the owner already.
    pub(crate) fn lock(
        &self,
        folder: &str,
        key: &str,
        mode: Mode,
        monitor: &mut dyn Monitor,
    ) -> Result<Held, Error> {
        lock::lock(&self.lock_path(folder, key), mode, monitor)
    }

    fn lock_path(&self, folder: &str, key: &str) -> PathBuf {
        self.root.join("locks").join(format!("{folder}-{key}"))
    }

    /// Removes what killed runs left behind, and the least recently used entries that nobody holds,
    /// until the cache is below its limit.
    pub(crate) fn evict(&self) {
        self.remove_stale();
        let mut entries = self.entries();
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        entries.sort_by_key(|entry| entry.used);
        for entry in entries {
            if total <= self.limit {
                break;
            }
            if self.remove(&entry) {
                total -= entry.bytes;
            }
        }
    }

    /// All entries that can be removed.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for folder in ENTRIES {
            for entry in fs::read_dir(self.root.join(folder)).into_iter().flatten().flatten() {
                let Ok(key) = entry.file_name().into_string() else { continue };
                let lock = self.lock_path(folder, &key);
                if folder == "bisections" && self.is_unfinished_bisection(&key) {
                    continue;
                }
                let path = entry.path();
                let used = fs::metadata(&lock)
                    .or_else(|_| fs::metadata(&path))
                    .and_then(|meta| meta.modified())
                    .unwrap_or(SystemTime::UNIX_EPOCH);
                let bytes = lock::recorded_size(&lock).unwrap_or_else(|| disk_usage(&path))
                    + slot_sizes(&path)
                    + slot_sizes(&path.join("src"));
                entries.push(Entry { folder, key, path, bytes, used });
            }
        }
        entries
    }

    /// Whether a bisection is not finished. Its state exists nowhere else, so it is never evicted.
    fn is_unfinished_bisection(&self, key: &str) -> bool {
        #[derive(serde::Deserialize)]
        struct State {
            over: bool,
        }
        let state: Option<State> = self.read("bisections", &format!("{key}/state.json"));
        state.is_some_and(|state| !state.over)
    }

    /// Whether nobody holds an entry.
    pub(crate) fn is_free(&self, entry: &Entry) -> bool {
        self.hold_alone(entry).is_some()
    }

    fn hold_alone(&self, entry: &Entry) -> Option<File> {
        lock::try_alone(&self.lock_path(entry.folder, &entry.key))
    }

    /// Removes an entry, unless somebody holds it.
    pub(crate) fn remove(&self, entry: &Entry) -> bool {
        let Some(_held) = self.hold_alone(entry) else { return false };
        let Ok(trash) = self.temporary() else { return false };
        let gone = fs::rename(&entry.path, trash.path().join("evicted")).is_ok();
        if gone {
            let _ = fs::remove_file(self.lock_path(entry.folder, &entry.key));
        }
        gone
    }

    /// Removes what killed runs left behind.
    fn remove_stale(&self) {
        for entry in fs::read_dir(self.root.join("tmp")).into_iter().flatten().flatten() {
            let old = entry
                .metadata()
                .and_then(|meta| meta.modified())
                .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > STALE));
            if old {
                let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
            }
        }
    }
}

/// Writes a file atomically, by renaming a temporary file in `tmp`.
pub(crate) fn write_whole(tmp: &Path, path: &Path, content: &[u8]) -> Result<(), Error> {
    tempfile::NamedTempFile::new_in(tmp)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.persist(path).map_err(|e| e.error)?;
            Ok(())
        })
        .context("write", path)
}

/// Disk space of the files below a directory, in bytes.
pub(crate) fn disk_usage(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    let below: u64 = if meta.is_dir() {
        fs::read_dir(path).into_iter().flatten().flatten().map(|e| disk_usage(&e.path())).sum()
    } else {
        0
    };
    meta.blocks() * 512 + below
}

/// Records the size of a build slot, in it.
pub(crate) fn record_slot_size(slot: &Path) {
    // A size that cannot be recorded only makes eviction less exact.
    let _ = fs::write(slot.join(SLOT_SIZE), disk_usage(slot).to_string());
}

const SLOT_SIZE: &str = "sudbox.size";

/// Disk space of the build slots in a source, in bytes.
fn slot_sizes(source: &Path) -> u64 {
    let entries = fs::read_dir(source).into_iter().flatten().flatten();
    entries.filter_map(|entry| lock::recorded_size(&entry.path().join(SLOT_SIZE))).sum()
}

#[cfg(test)]
mod tests;
