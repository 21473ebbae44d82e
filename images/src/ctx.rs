// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The context that functions of this crate share: the cache, the network and the caller's monitor.

use std::path::PathBuf;
use std::process::Command;

use crate::cache::Cache;
use crate::error::Error;
use crate::lock::{EntryLock, LockMode};
use crate::monitor::Monitor;
use crate::net::Net;
use crate::{command, process};

/// The cache, the network settings, and the monitor that receives progress.
pub struct Ctx<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) net: &'a Net,
    pub(crate) monitor: &'a mut dyn Monitor,
}

impl<'a> Ctx<'a> {
    /// A context for this cache, with network settings from the environment.
    pub fn new(cache: &'a Cache, monitor: &'a mut dyn Monitor) -> Ctx<'a> {
        Ctx { cache, net: Net::from_environment(), monitor }
    }

    /// Locks an entry of the cache and sets its time of last use to now. Waits for other runs.
    ///
    /// # Errors
    /// As [`Cache::lock`].
    pub(crate) fn lock(
        &mut self,
        folder: &str,
        key: &str,
        mode: LockMode,
    ) -> Result<EntryLock, Error> {
        self.cache.lock(folder, key, mode, self.monitor)
    }

    /// The path of an entry of the cache.
    pub(crate) fn entry_path(&self, folder: &str, key: &str) -> PathBuf {
        self.cache.entry_path(folder, key)
    }

    /// A command that runs as the owner of the cache, in a clean environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        command::clean(program, self.cache.owner)
    }

    /// Runs a command until it ends. Returns its stdout and stderr; `None` if it failed.
    ///
    /// # Errors
    /// If the command cannot be started; [`Error::Interrupted`].
    pub(crate) fn capture(&mut self, command: Command) -> Result<Option<String>, Error> {
        process::capture(command, self.monitor)
    }

    /// Reports to the caller that a phase of the work begins.
    pub(crate) fn phase(&mut self, name: &str) {
        self.monitor.phase(name);
    }
}

impl std::fmt::Debug for Ctx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx").field("cache", self.cache).finish_non_exhaustive()
    }
}
