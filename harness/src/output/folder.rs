// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The folder in the cache to which a run writes its files.

use super::archive;
use anyhow::Context;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use sudbox_images::{Cache, Links, Owner, open_regular};
use sudbox_report::Verdict;

/// Maximum size of a copied build log, in bytes. The rest is left out.
const MAX_LOG_BYTES: u64 = 256 << 20;

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

    /// Copies a build log into the folder. A build may have replaced its log by a link to another
    /// file, which is not copied.
    ///
    /// # Errors
    /// If the log is not a regular file, or cannot be copied.
    pub(crate) fn copy_log_in(&self, name: &str, log: &Path) -> anyhow::Result<()> {
        let _impersonation = self.owner.impersonate();
        open_regular(log, Links::Refuse)
            .and_then(|log| {
                let mut copy = File::create(self.path.join(name))?;
                io::copy(&mut log.take(MAX_LOG_BYTES), &mut copy)
            })
            .with_context(|| format!("cannot copy {}", log.display()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_a_build_replaced_is_not_copied() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let folder = RunFolder::create_at(path("run"), Owner::default()).expect("a folder");
        fs::write(path("secret"), "secret").expect("a file");
        std::os::unix::fs::symlink("secret", path("link")).expect("a link");
        let made = std::process::Command::new("mkfifo").arg(path("fifo")).status();
        assert!(made.expect("mkfifo").success());
        for name in ["link", "fifo"] {
            let error = folder.copy_log_in("build.log", &path(name)).expect_err(name);
            assert!(format!("{error:#}").contains("not a regular file"), "{error:#}");
            assert!(!path("run/build.log").exists());
        }
        fs::write(path("log"), "log").expect("a file");
        folder.copy_log_in("build.log", &path("log")).expect("a copy");
        assert_eq!(fs::read_to_string(path("run/build.log")).expect("a copy"), "log");
    }
}
