// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The folder that every run leaves, and the ten of them that are kept.

use anyhow::Context;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use sudbox_images::{Cache, Owner};

/// How many runs are kept.
const KEPT: usize = 10;

/// A run's folder. Held by a lock, so that a run beside it does not take it for an old one.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    owner: Owner,
    _lock: Arc<File>,
}

impl RunFolder {
    /// Makes the folder of this run in the cache and removes all but the newest ten that no
    /// run holds.
    pub(crate) fn create(cache: &Cache) -> anyhow::Result<RunFolder> {
        let runs = cache.root().join("runs");
        // Sorted by name is sorted by time: nanoseconds since 1970 have 19 digits until 2286.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let path = runs.join(format!("{:019}-{}", now.as_nanos(), std::process::id()));
        let folder = RunFolder::make(path, cache.owner_of("runs"))?;
        folder.remove_old(&runs);
        Ok(folder)
    }

    /// Makes a folder that whoever keeps it removes; of what was there before, nothing is left.
    pub(crate) fn at(path: PathBuf, owner: Owner) -> anyhow::Result<RunFolder> {
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        RunFolder::make(path, owner)
    }

    fn make(path: PathBuf, owner: Owner) -> anyhow::Result<RunFolder> {
        let _acting = owner.act();
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let lock = File::create(path.join("lock"))
            .and_then(|file| file.try_lock().map(|()| file).map_err(Into::into))
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(RunFolder { path, owner, _lock: Arc::new(lock) })
    }

    /// A folder in this one, for a part of the run.
    pub(crate) fn within(&self, name: &str) -> anyhow::Result<RunFolder> {
        let path = self.path.join(name);
        let _acting = self.owner.act();
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(RunFolder { path, owner: self.owner, _lock: self._lock.clone() })
    }

    fn remove_old(&self, runs: &Path) {
        let Ok(entries) = fs::read_dir(runs) else { return };
        let mut old: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        old.sort();
        for path in old.iter().rev().skip(KEPT) {
            let held = File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_err());
            if !held && *path != self.path {
                // What cannot be removed now is tried again by the next run.
                let _ = fs::remove_dir_all(path);
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one file of the run.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        let _acting = self.owner.act();
        fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Keeps a copy of a file that the run used.
    pub(crate) fn keep(&self, name: &str, original: &Path) -> anyhow::Result<()> {
        let _acting = self.owner.act();
        fs::copy(original, self.path.join(name))
            .with_context(|| format!("cannot keep {}", original.display()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_runs_are_kept_and_those_in_use() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path().to_owned()).unwrap();
        let held = RunFolder::create(&cache).unwrap();
        for _ in 0..15 {
            RunFolder::create(&cache).unwrap();
        }
        let left = fs::read_dir(root.path().join("runs")).unwrap().count();
        assert_eq!(left, KEPT + 1, "ten and the one that is held");
        assert!(held.path().exists());
    }
}
