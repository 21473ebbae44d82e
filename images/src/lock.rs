// SPDX-License-Identifier: Apache-2.0 OR MIT
//! File locks (flock(2)) on the entries of the cache.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::{Context as _, Error};
use crate::monitor;
use crate::monitor::Monitor;

/// Pause between two attempts to get a lock.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Guard of a locked cache entry. The entry is not evicted while a clone of the guard exists. The
/// default value locks nothing.
#[derive(Clone, Debug, Default)]
pub struct EntryLock(Option<Arc<File>>);

impl EntryLock {
    /// The locked file. A child process that inherits its descriptor keeps the lock until the
    /// process exits.
    pub(crate) fn file(&self) -> Option<&File> {
        self.0.as_deref()
    }

    /// Writes the size of the entry into the lock file, for eviction.
    pub(crate) fn record_size(&self, bytes: u64) {
        if let Some(mut file) = self.file() {
            // An error only makes eviction less exact.
            let _ =
                file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{bytes}"));
        }
    }
}

/// The kind of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// For reading the entry.
    Shared,
    /// For changing the entry.
    Exclusive,
}

/// Locks a file, which is created if necessary, and sets its mtime to now. Waits while another
/// process holds the lock, and reports the wait to the monitor once.
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened or locked; [`Error::Interrupted`].
pub(crate) fn lock(
    path: &Path,
    mode: LockMode,
    monitor: &mut dyn Monitor,
) -> Result<EntryLock, Error> {
    let mut is_announced = false;
    loop {
        let file = open(path).context("open the lock", path)?;
        let result = match mode {
            LockMode::Shared => file.try_lock_shared(),
            LockMode::Exclusive => file.try_lock(),
        };
        match result {
            // If an eviction removed the file between open() and flock(), try again with a new
            // file.
            Ok(()) if !is_same_file(&file, path) => {}
            Ok(()) => {
                let _ = file.set_modified(SystemTime::now());
                return Ok(EntryLock(Some(Arc::new(file))));
            }
            Err(TryLockError::WouldBlock) => {
                if !is_announced {
                    monitor.note("waiting for another run of sudbox that uses the same files");
                    is_announced = true;
                }
                monitor::wait(RETRY_INTERVAL, monitor)?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(Error::io("lock", path, error));
            }
        }
    }
}

/// Locks a file exclusively, without waiting; `None` if another process has locked the file.
pub(crate) fn try_exclusive(path: &Path) -> Option<File> {
    let file = open(path).ok()?;
    (file.try_lock().is_ok() && is_same_file(&file, path)).then_some(file)
}

/// The size that a file records as [`EntryLock::record_size`] does.
pub(crate) fn recorded_size(file: File) -> Option<u64> {
    let mut text = String::new();
    // The longest number has 20 digits.
    file.take(32).read_to_string(&mut text).ok()?;
    text.parse().ok()
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// Whether `path` still names the open file.
fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open_file), Ok(named_file)) => {
            (open_file.dev(), open_file.ino()) == (named_file.dev(), named_file.ino())
        }
        _ => false,
    }
}
