// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Network settings of this process: the address of the upstream archive, who signs its releases, and
//! its availability.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::SourceError;

/// The upstream archive of Linux releases.
pub(crate) const UPSTREAM_ARCHIVE: &str = "https://cdn.kernel.org/pub/linux/kernel";

/// The keys that sign upstream releases, as a keyring of OpenPGP; `kernel-config/keys/README.md` says
/// whose they are.
const UPSTREAM_KEYS: &[u8] = include_bytes!("../../kernel-config/keys/kernel.org.gpg");

/// Environment variable with the address of a mirror of the archive: `https://` or `file://`.
const MIRROR_VARIABLE: &str = "SUDBOX_KERNEL_MIRROR";

/// Network settings.
#[derive(Debug)]
pub(crate) struct Net {
    /// Address of the upstream archive, without a slash at its end.
    archive: String,
    /// The keyring with which the signatures of releases are checked; `None` for an archive on this
    /// machine, whose files are the user's own.
    pub(crate) keyring: Option<Cow<'static, [u8]>>,
    /// Whether a request to the archive failed. The archive is then not contacted again.
    archive_is_down: AtomicBool,
    /// Whether apt may be used. Unit tests set `false`.
    pub(crate) may_use_apt: bool,
}

impl Net {
    /// The settings of this process, from its environment.
    pub(crate) fn from_environment() -> &'static Net {
        static NET: OnceLock<Net> = OnceLock::new();
        NET.get_or_init(|| {
            let mirror = std::env::var(MIRROR_VARIABLE).ok().filter(|address| !address.is_empty());
            Net::new(mirror.as_deref().unwrap_or(UPSTREAM_ARCHIVE), true)
        })
    }

    /// Settings with this address of the archive.
    pub(crate) fn new(archive: &str, may_use_apt: bool) -> Net {
        let archive = archive.trim_end_matches('/').to_owned();
        let is_local = archive.starts_with("file://");
        let keyring = (!is_local).then_some(Cow::Borrowed(UPSTREAM_KEYS));
        Net { archive, keyring, archive_is_down: AtomicBool::new(false), may_use_apt }
    }

    /// The address of the upstream archive, without a slash at its end.
    ///
    /// # Errors
    /// [`SourceError::InsecureMirror`] if it is neither `https://` nor `file://`.
    pub(crate) fn archive(&self) -> Result<&str, SourceError> {
        if self.archive.starts_with("https://") || self.archive.starts_with("file://") {
            return Ok(&self.archive);
        }
        Err(SourceError::InsecureMirror { variable: MIRROR_VARIABLE, url: self.archive.clone() })
    }

    /// Whether an earlier request to the archive failed.
    pub(crate) fn archive_is_down(&self) -> bool {
        self.archive_is_down.load(Ordering::Relaxed)
    }

    /// Records that a request to the archive failed.
    pub(crate) fn mark_archive_down(&self) {
        self.archive_is_down.store(true, Ordering::Relaxed);
    }
}
