// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The places on the network that kernels come from, as this process knows them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The upstream archive of Linux releases.
pub(crate) const ARCHIVE: &str = "https://cdn.kernel.org/pub/linux/kernel";

/// Environment variable that names another place with the same layout; `file://` works too.
const MIRROR: &str = "SUDBOX_KERNEL_MIRROR";

/// The places on the network.
#[derive(Debug)]
pub(crate) struct Net {
    /// Address of the upstream archive, without a slash at its end.
    pub(crate) archive: String,
    /// Set once the archive did not answer: it is not asked again.
    archive_is_down: AtomicBool,
    /// Whether the distribution's packages may be asked for. Unit tests say no.
    pub(crate) packages: bool,
}

impl Net {
    /// The network of this process, from its environment.
    pub(crate) fn of_process() -> &'static Net {
        static NET: OnceLock<Net> = OnceLock::new();
        NET.get_or_init(|| {
            let mirror = std::env::var(MIRROR).ok().filter(|address| !address.is_empty());
            Net::new(mirror.as_deref().unwrap_or(ARCHIVE), true)
        })
    }

    /// A network with its archive at this address.
    pub(crate) fn new(archive: &str, packages: bool) -> Net {
        let archive = archive.trim_end_matches('/').to_owned();
        Net { archive, archive_is_down: AtomicBool::new(false), packages }
    }

    /// Whether the archive did not answer before.
    pub(crate) fn archive_is_down(&self) -> bool {
        self.archive_is_down.load(Ordering::Relaxed)
    }

    /// Remembers that the archive does not answer.
    pub(crate) fn give_archive_up(&self) {
        self.archive_is_down.store(true, Ordering::Relaxed);
    }
}
