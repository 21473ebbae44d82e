// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The folder in the cache to which a run writes its files.

use super::archive;
use anyhow::Context;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use sudbox_images::{Cache, Owner};
use sudbox_report::Verdict;

/// The folder of a run, locked so that another run does not remove it.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    owner: Owner,
    _lock: Arc<File>,
}

impl RunFolder {
    /// Makes the folder of this run in the cache. Removes old runs, as [`archive`] describes.
    pub(crate) fn create(cache: &Cache) -> anyhow::Result<RunFolder> {
        let runs = archive::runs_folder(cache);
        // Names sort by time, because nanoseconds since 1970 have 19 digits until 2286.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let path = runs.join(format!("{:019}-{}", now.as_nanos(), std::process::id()));
        let folder = RunFolder::create_locked(path, cache.owner_of("runs"))?;
        archive::remove_old_runs(&runs);
        Ok(folder)
    }

    /// Makes an empty folder at `path`, and removes an existing folder there first. The caller
    /// removes the new folder.
    pub(crate) fn create_at(path: PathBuf, owner: Owner) -> anyhow::Result<RunFolder> {
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        RunFolder::create_locked(path, owner)
    }

    fn create_locked(path: PathBuf, owner: Owner) -> anyhow::Result<RunFolder> {
        let _impersonation = owner.impersonate();
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let lock = File::create(path.join("lock"))
            .and_then(|file| file.try_lock().map(|()| file).map_err(Into::into))
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(RunFolder { path, owner, _lock: Arc::new(lock) })
    }

    /// Makes a subfolder for a part of the run. The lock of the run protects the subfolder too.
    pub(crate) fn create_subfolder(&self, name: &str) -> anyhow::Result<RunFolder> {
        let path = self.path.join(name);
        let _impersonation = self.owner.impersonate();
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(RunFolder { path, owner: self.owner, _lock: self._lock.clone() })
    }

    /// Makes a subfolder as [`RunFolder::create_subfolder`] does, after removing an existing one.
    pub(crate) fn recreate_subfolder(&self, name: &str) -> anyhow::Result<RunFolder> {
        let path = self.path.join(name);
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        self.create_subfolder(name)
    }

    /// Adds the outcomes of a verdict to the record of all runs, a file beside this folder.
    ///
    /// # Errors
    /// If the record cannot be written.
    pub(crate) fn record_outcomes(&self, verdict: &Verdict) -> anyhow::Result<()> {
        self.path
            .parent()
            .map_or(Ok(()), |runs| archive::append_to_record(verdict, runs, self.owner))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file. Returns its path.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        let _impersonation = self.owner.impersonate();
        fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Copies a file into the folder.
    pub(crate) fn copy_in(&self, name: &str, original: &Path) -> anyhow::Result<()> {
        let _impersonation = self.owner.impersonate();
        fs::copy(original, self.path.join(name))
            .with_context(|| format!("cannot copy {}", original.display()))?;
        Ok(())
    }
}
