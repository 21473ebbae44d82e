// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Recordings of the behaviour of released kernels, with which a verdict compares a kernel of the same
//! architecture and flavour.
//!
//! The recordings of the pinned kernels are part of sudbox (folder `recordings/`). The digests of all
//! cases are in an index, and the observations are in an archive that is only read if a digest differs.

mod archive;
mod job;
mod neighbours;

pub(crate) use archive::{RecordingFolder, shipped_recordings};
pub(crate) use job::RecordJob;
pub(crate) use neighbours::Baseline;

use crate::behaviour::{self, Behaviour};
use archive::Archive;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use sudbox_guest_init::case::{Case, Run};
use sudbox_images::{Arch, Cache, EntryLock, LockMode, Monitor};

/// The recorded behaviour of one kernel.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    /// Flavour of the kernel's configuration.
    pub(crate) flavour: String,
    /// `uname -r`.
    pub(crate) release: String,
    /// The layout of the floating point state of the CPU on which the kernel ran.
    pub(crate) floating_state_layout: String,
    /// The digests of the observations, by the ids of the cases.
    pub(crate) digests: BTreeMap<String, u64>,
    content: Content,
}

/// The place of a recording's observations.
#[derive(Clone, Debug)]
enum Content {
    /// `length` bytes of an archive, from offset `start`.
    Archived {
        archive: Arc<Archive>,
        start: usize,
        length: usize,
    },
    Loaded(Arc<Behaviour>),
}

/// Whether the observations of a case are recorded. Only comparisons, conservations and one case that
/// shows what a tracer sees are; the observations of the grid are predicted by its model.
pub(crate) fn is_recorded(case: &Case) -> bool {
    matches!(case.run, Run::Compare(_) | Run::Conserve(_)) || case.id == "ptrace/number-replaced"
}

/// The folder in the cache with the recordings that the user made (`sudbox record`).
const OWN_FOLDER: &str = "recordings";

/// The recordings that the user made.
pub(crate) fn own_folder(cache: &Cache, arch: Arch) -> RecordingFolder {
    RecordingFolder::new(&cache.root().join(OWN_FOLDER), arch)
}

/// Keeps other runs from adding recordings of the user while the lock is held. Waits for runs that add some
/// now.
///
/// # Errors
/// If the lock cannot be taken.
pub(crate) fn lock_own_folder(
    cache: &Cache,
    arch: Arch,
    monitor: &mut dyn Monitor,
) -> anyhow::Result<EntryLock> {
    Ok(cache.lock(OWN_FOLDER, arch.name(), LockMode::Exclusive, monitor)?)
}

impl Recording {
    /// The behaviour as a recording. Cases without a digest are left out.
    pub(crate) fn of_behaviour(flavour: &str, behaviour: Behaviour) -> Recording {
        let mut behaviour = behaviour;
        behaviour.cases.retain(|_, case| case.digest.is_some());
        let cases = behaviour.cases.iter();
        Recording {
            flavour: flavour.to_owned(),
            release: behaviour.release.clone(),
            floating_state_layout: behaviour.floating_state_layout.clone(),
            digests: cases.filter_map(|(id, case)| Some((id.clone(), case.digest?))).collect(),
            content: Content::Loaded(Arc::new(behaviour)),
        }
    }

    /// The observations.
    ///
    /// # Errors
    /// If the archive is damaged.
    pub(crate) fn behaviour(&self) -> anyhow::Result<Cow<'_, Behaviour>> {
        match &self.content {
            Content::Loaded(behaviour) => Ok(Cow::Borrowed(behaviour)),
            Content::Archived { archive, start, length } => {
                let bytes = archive.bytes()?.get(*start..start + length);
                let behaviour = bytes.and_then(behaviour::decode_plain);
                behaviour
                    .map(Cow::Owned)
                    .ok_or_else(|| anyhow::anyhow!("the recording of {} is damaged", self.release))
            }
        }
    }
}
