//! The cache: kernel sources, mirrors, build slots and images, shared by all runs of one user.
//!
//! ```text
//! sources/  release sources, unpacked        trees/    mirrors and checkouts of users' trees
//!   sudbox-*/  in either: build slots, one O= directory each
//! guests/   guest-init of other architectures          toolchains/  what builds it
//! bisections/  what is known of each, and its runs     runs/  the folders of the last runs
//! images/   finished images, by content      recipes/  request -> image
//! resolved/ version -> source                apt/      the private apt root
//! locks/    one file per entry: its lock; its time is the last use, its content the size in bytes
//! tmp/      what is not finished; renamed into place when it is
//! ```
//!
//! Whoever uses an entry holds its lock (flock(2)), builds among them pass it on to their children,
//! so that an entry stays locked until the last process that writes to it is gone.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::Context as _;
use crate::owner::Owner;
use crate::source::Upstream;
use crate::{Error, Monitor, process};

/// Size at which the least recently used entries go, in bytes.
const LIMIT: u64 = 20 << 30;

/// Unfinished files of a run that was killed go after this time.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// Folders whose children are entries that can be evicted.
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
    pub(crate) upstream: Upstream,
    /// The distribution's packages may be asked for; unit tests, which need no network, say no.
    pub(crate) distribution: bool,
}

/// What can be evicted.
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

/// Keeps an entry of the cache from being evicted while it lives.
#[derive(Clone, Debug, Default)]
pub struct Held(Option<Arc<File>>);

impl Held {
    /// The descriptor that carries the lock, for children that write to the entry.
    pub(crate) fn file(&self) -> Option<&File> {
        self.0.as_deref()
    }

    /// Records the size of the entry for eviction.
    pub(crate) fn record_size(&self, bytes: u64) {
        if let Some(mut file) = self.file() {
            // A size that cannot be recorded only makes eviction less exact.
            let _ =
                file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{bytes}"));
        }
    }
}

/// How an entry is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To read it.
    Shared,
    /// To change it.
    Exclusive,
}

impl Cache {
    /// Opens the cache of this user: `SUDBOX_CACHE`, else `XDG_CACHE_HOME/sudbox`, else
    /// `~/.cache/sudbox`; under sudo, with neither set, the cache of the user who called sudo.
    ///
    /// # Errors
    /// [`Error::Machine`] if it cannot be made or written to.
    pub fn open() -> Result<Cache, Error> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let owner = Owner::of_sudo();
        let root = if let Some(root) = set("SUDBOX_CACHE") {
            std::path::absolute(PathBuf::from(root))
                .map_err(|e| Error::Machine(format!("SUDBOX_CACHE cannot be used: {e}")))?
        } else if let Some(root) = set("XDG_CACHE_HOME") {
            PathBuf::from(root).join("sudbox")
        } else if let Some(home) = owner.home().or_else(|| set("HOME").map(PathBuf::from)) {
            home.join(".cache/sudbox")
        } else {
            return Err(Error::Machine(
                "there is no place for the cache: neither SUDBOX_CACHE nor HOME is set; set one"
                    .into(),
            ));
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
        Ok(Cache { root, limit: LIMIT, owner, upstream: Upstream::default(), distribution: true })
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whom files belong to that are made in a folder of it.
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

    /// Reads a small record; `None` if it is not there or is broken.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(
        &self,
        folder: &str,
        key: &str,
    ) -> Option<T> {
        serde_json::from_slice(&fs::read(self.entry(folder, key)).ok()?).ok()
    }

    /// Writes a small record in one step.
    pub(crate) fn write<T: serde::Serialize>(
        &self,
        folder: &str,
        key: &str,
        value: &T,
    ) -> Result<(), Error> {
        let path = self.entry(folder, key);
        let text = serde_json::to_vec_pretty(value)
            .map_err(|e| Error::Machine(format!("cannot write {}: {e}", path.display())))?;
        write_whole(&self.root.join("tmp"), &path, &text)
    }

    /// Locks an entry and marks it as used. Waits for other runs, which it says once.
    pub(crate) fn lock(
        &self,
        folder: &str,
        key: &str,
        mode: Mode,
        monitor: &mut dyn Monitor,
    ) -> Result<Held, Error> {
        let path = self.lock_path(folder, key);
        let mut said = false;
        loop {
            let file = open_lock(&path).context("open the lock", &path)?;
            let locked = match mode {
                Mode::Shared => file.try_lock_shared(),
                Mode::Exclusive => file.try_lock(),
            };
            match locked {
                // An eviction may have removed the file between the opening and the locking.
                Ok(()) if !same_file(&file, &path) => {}
                Ok(()) => {
                    let _ = file.set_modified(SystemTime::now());
                    return Ok(Held(Some(Arc::new(file))));
                }
                Err(TryLockError::WouldBlock) => {
                    if !said {
                        monitor.note("waiting for another run of sudbox that works on the same");
                        said = true;
                    }
                    process::wait(Duration::from_millis(50), monitor)?;
                }
                Err(TryLockError::Error(source)) => {
                    return Err(Error::io("lock", &path, &source));
                }
            }
        }
    }

    /// Holds an entry, and marks it as used. Waits for other runs.
    ///
    /// # Errors
    /// [`Error::Machine`] if it cannot be locked; [`Error::Interrupted`].
    pub fn hold(
        &self,
        folder: &str,
        key: &str,
        mode: Mode,
        monitor: &mut dyn Monitor,
    ) -> Result<Held, Error> {
        let _acting = self.owner.act();
        self.lock(folder, key, mode, monitor)
    }

    fn lock_path(&self, folder: &str, key: &str) -> PathBuf {
        self.root.join("locks").join(format!("{folder}-{key}"))
    }

    /// Removes the least recently used entries that nobody holds until the cache is below its
    /// limit, and what killed runs left behind.
    pub(crate) fn evict(&self) {
        self.sweep();
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
                if folder == "bisections" && self.goes_on(&key) {
                    continue;
                }
                let path = entry.path();
                let used = fs::metadata(&lock)
                    .or_else(|_| fs::metadata(&path))
                    .and_then(|meta| meta.modified())
                    .unwrap_or(SystemTime::UNIX_EPOCH);
                let bytes = recorded_size(&lock).unwrap_or_else(|| disk_usage(&path))
                    + slot_sizes(&path)
                    + slot_sizes(&path.join("src"));
                entries.push(Entry { folder, key, path, bytes, used });
            }
        }
        entries
    }

    /// Whether a bisection is not over: what is known of it can be had from nowhere else.
    fn goes_on(&self, key: &str) -> bool {
        #[derive(serde::Deserialize)]
        struct State {
            over: bool,
        }
        let state: Option<State> = self.read("bisections", &format!("{key}/state.json"));
        state.is_some_and(|state| !state.over)
    }

    /// Whether nobody uses an entry.
    pub(crate) fn is_free(&self, entry: &Entry) -> bool {
        self.hold_alone(entry).is_some()
    }

    fn hold_alone(&self, entry: &Entry) -> Option<File> {
        let lock = self.lock_path(entry.folder, &entry.key);
        let file = open_lock(&lock).ok()?;
        (file.try_lock().is_ok() && same_file(&file, &lock)).then_some(file)
    }

    /// Removes an entry, unless somebody uses it.
    pub(crate) fn remove(&self, entry: &Entry) -> bool {
        let Some(_held) = self.hold_alone(entry) else { return false };
        let Ok(grave) = self.temporary() else { return false };
        let gone = fs::rename(&entry.path, grave.path().join("evicted")).is_ok();
        if gone {
            let _ = fs::remove_file(self.lock_path(entry.folder, &entry.key));
        }
        gone
    }

    fn sweep(&self) {
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

/// Writes a file in one step: readers see the old content, or the new one, or none.
pub(crate) fn write_whole(tmp: &Path, path: &Path, content: &[u8]) -> Result<(), Error> {
    tempfile::NamedTempFile::new_in(tmp)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.persist(path).map_err(|e| e.error)?;
            Ok(())
        })
        .context("write", path)
}

/// Bytes that the files below a directory take.
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

/// Bytes of the build slots in a source.
fn slot_sizes(source: &Path) -> u64 {
    let entries = fs::read_dir(source).into_iter().flatten().flatten();
    entries.filter_map(|entry| recorded_size(&entry.path().join(SLOT_SIZE))).sum()
}

fn open_lock(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn recorded_size(lock: &Path) -> Option<u64> {
    let mut text = String::new();
    File::open(lock).ok()?.read_to_string(&mut text).ok()?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;

    fn cache(limit: u64) -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = Cache::at(dir.path().join("cache")).unwrap();
        cache.limit = limit;
        (dir, cache)
    }

    fn fill(cache: &Cache, key: &str, age: u64) -> Held {
        let path = cache.entry("images", key);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("kernel"), vec![1; 64 << 10]).unwrap();
        let held = cache.lock("images", key, Mode::Shared, &mut Silent).unwrap();
        held.record_size(disk_usage(&path));
        let used = SystemTime::now() - Duration::from_secs(age);
        held.file().unwrap().set_modified(used).unwrap();
        held
    }

    /// Drops it, also for the child that another test may just have forked, which has it too until
    /// it executes.
    fn let_go(held: Held) {
        held.file().unwrap().unlock().unwrap();
    }

    #[test]
    fn the_least_recently_used_go_and_what_is_held_stays() {
        let (_dir, cache) = cache(150 << 10);
        let oldest_but_held = fill(&cache, "a", 300);
        let_go(fill(&cache, "b", 200));
        let_go(fill(&cache, "c", 100));
        cache.evict();
        assert!(cache.entry("images", "a").exists(), "held");
        assert!(!cache.entry("images", "b").exists(), "least recently used");
        assert!(cache.entry("images", "c").exists());
        assert!(!cache.lock_path("images", "b").exists());
        let_go(oldest_but_held);
        let_go(fill(&cache, "d", 0));
        cache.evict();
        assert!(!cache.entry("images", "a").exists());
    }

    #[test]
    fn what_is_no_kernel_goes_too_but_a_bisection_that_goes_on() {
        let (_dir, cache) = cache(0);
        fs::write(cache.entry("guests", "init"), [1; 4096]).unwrap();
        for (folder, key) in
            [("toolchains", "rust"), ("bisections", "over"), ("bisections", "begun")]
        {
            fs::create_dir(cache.entry(folder, key)).unwrap();
            fs::write(cache.entry(folder, key).join("file"), [1; 4096]).unwrap();
        }
        let state = |over: bool| serde_json::json!({ "over": over, "steps": [] });
        cache.write("bisections", "over/state.json", &state(true)).unwrap();
        cache.write("bisections", "begun/state.json", &state(false)).unwrap();
        let held = cache.hold("guests", "init", Mode::Shared, &mut Silent).unwrap();
        cache.evict();
        assert!(cache.entry("guests", "init").exists(), "held");
        assert!(!cache.entry("toolchains", "rust").exists());
        assert!(!cache.entry("bisections", "over").exists());
        assert!(cache.entry("bisections", "begun").exists(), "it can be gone on with");
        let_go(held);
        cache.evict();
        assert!(!cache.entry("guests", "init").exists());
    }

    #[test]
    fn a_lock_excludes_and_an_interrupt_ends_the_wait() {
        let (_dir, cache) = cache(LIMIT);
        let held = cache.lock("slots", "x", Mode::Exclusive, &mut Silent).unwrap();
        let mut interrupted = crate::monitor::tests::Interrupted::new();
        let error = cache.lock("slots", "x", Mode::Shared, &mut interrupted).unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Interrupted);
        drop(held);
        let one = cache.lock("slots", "x", Mode::Shared, &mut interrupted).unwrap();
        let two = cache.lock("slots", "x", Mode::Shared, &mut interrupted).unwrap();
        drop((one, two));
    }

    #[test]
    fn records_survive_and_broken_ones_are_as_if_absent() {
        let (_dir, cache) = cache(LIMIT);
        cache.write("recipes", "k", &vec![1, 2]).unwrap();
        assert_eq!(cache.read::<Vec<i32>>("recipes", "k"), Some(vec![1, 2]));
        fs::write(cache.entry("recipes", "k"), "[1,").unwrap();
        assert_eq!(cache.read::<Vec<i32>>("recipes", "k"), None);
        assert_eq!(fs::read_dir(cache.root().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_the_machines_fault() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Cache::at(file.join("cache")).unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Machine);
        assert!(error.to_string().contains("cache"), "{error}");
    }

    #[test]
    fn a_full_disk_is_named() {
        // /dev/full answers every write with ENOSPC.
        let error = fs::write("/dev/full", "x").context("write", Path::new("/dev/full"));
        let error = error.unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Machine);
        assert!(error.to_string().starts_with("the disk is full"), "{error}");
    }
}
