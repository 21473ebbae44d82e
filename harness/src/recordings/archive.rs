// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Recordings on disk: for each architecture an index `ARCH.json` with the digests, and `ARCH.xz` with the
//! observations, one kernel after the other.

use super::{Content, Recording};
use crate::behaviour::{self, Behaviour};
use lzma_rust2::{XzOptions, XzReader, XzWriter};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use sudbox_images::Arch;

/// Version of the index's format.
const FORMAT_VERSION: u32 = 1;

/// Maximum size of a decompressed archive, in bytes.
const MAX_DECOMPRESSED_BYTES: u64 = 1 << 30;

/// Preset of xz: the dictionary of 64 MiB holds the kernels of an architecture, which differ in little.
const XZ_PRESET: u32 = 9;

/// The recordings that are part of sudbox: architecture, index and archive.
const SHIPPED: &[(Arch, &str, &[u8])] = &[(
    Arch::X86_64,
    include_str!("../../../recordings/x86_64.json"),
    include_bytes!("../../../recordings/x86_64.xz"),
)];

/// The content of an index.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    format: u32,
    /// Digest of the guest-init that made the recordings, if they are for that guest-init alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guest: Option<String>,
    /// Digest of the compressed archive.
    archive: String,
    /// The cases that were to be recorded, also those that a kernel could not run.
    cases: BTreeSet<String>,
    recordings: Vec<IndexEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct IndexEntry {
    flavour: String,
    release: String,
    #[serde(rename = "state_layout")]
    floating_state_layout: String,
    /// The first byte in the decompressed archive.
    start: usize,
    /// Number of bytes in the decompressed archive.
    length: usize,
    digests: BTreeMap<String, u64>,
}

/// A compressed archive, which is decompressed when it is first used.
#[derive(Debug)]
pub(super) struct Archive {
    compressed: Cow<'static, [u8]>,
    decompressed: OnceLock<Vec<u8>>,
}

impl Archive {
    fn new(compressed: Cow<'static, [u8]>) -> Archive {
        Archive { compressed, decompressed: OnceLock::new() }
    }

    /// The decompressed bytes.
    ///
    /// # Errors
    /// If the archive is damaged.
    pub(super) fn bytes(&self) -> anyhow::Result<&[u8]> {
        if self.decompressed.get().is_none() {
            let mut bytes = Vec::new();
            let reader = XzReader::new(&*self.compressed, false);
            reader.take(MAX_DECOMPRESSED_BYTES).read_to_end(&mut bytes)?;
            let _ = self.decompressed.set(bytes);
        }
        Ok(self.decompressed.get().map(Vec::as_slice).unwrap_or_default())
    }
}

/// The recordings of an index and its archive; none if they were made by another guest-init than `guest`.
///
/// # Errors
/// If the index is damaged, of another format or for another archive.
fn read_index(
    index: &str,
    archive: Cow<'static, [u8]>,
    guest: Option<&str>,
) -> anyhow::Result<Vec<Recording>> {
    let index: Index = serde_json::from_str(index)?;
    anyhow::ensure!(index.format == FORMAT_VERSION, "the index has format {}", index.format);
    if index.guest.as_deref() != guest {
        return Ok(Vec::new());
    }
    anyhow::ensure!(index.archive == sudbox_images::digest(&[&archive]), "another archive");
    let archive = Arc::new(Archive::new(archive));
    let recording = |entry: IndexEntry| Recording {
        flavour: entry.flavour,
        release: entry.release,
        floating_state_layout: entry.floating_state_layout,
        digests: entry.digests,
        content: Content::Archived {
            archive: archive.clone(),
            start: entry.start,
            length: entry.length,
        },
    };
    Ok(index.recordings.into_iter().map(recording).collect())
}

/// The recordings of an architecture that are part of sudbox.
///
/// # Errors
/// If sudbox was built with a damaged index.
pub(crate) fn shipped_recordings(arch: Arch) -> anyhow::Result<Vec<Recording>> {
    match SHIPPED.iter().find(|(of, ..)| *of == arch) {
        Some((_, index, archive)) => read_index(index, Cow::Borrowed(archive), None),
        None => Ok(Vec::new()),
    }
}

/// A folder with recordings of one architecture.
pub(crate) struct RecordingFolder {
    index: PathBuf,
    archive: PathBuf,
}

impl RecordingFolder {
    pub(crate) fn new(folder: &Path, arch: Arch) -> RecordingFolder {
        let file = |extension| folder.join(format!("{}.{extension}", arch.name()));
        RecordingFolder { index: file("json"), archive: file("xz") }
    }

    /// Whether there are recordings.
    pub(crate) fn exists(&self) -> bool {
        self.index.exists()
    }

    /// The recordings; none if the folder has no index. `guest` is the digest of guest-init if only
    /// recordings of that guest-init are wanted.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged.
    pub(crate) fn read(&self, guest: Option<&str>) -> anyhow::Result<Vec<Recording>> {
        if !self.exists() {
            return Ok(Vec::new());
        }
        let (index, archive) =
            (std::fs::read_to_string(&self.index)?, std::fs::read(&self.archive)?);
        read_index(&index, Cow::Owned(archive), guest)
    }

    /// Replaces the recordings. `cases` are those that were to be recorded; `guest` is as in
    /// [`RecordingFolder::read`].
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn write(
        &self,
        recordings: &[Recording],
        cases: BTreeSet<String>,
        guest: Option<&str>,
    ) -> anyhow::Result<()> {
        let mut content = Vec::new();
        let mut entries = Vec::new();
        for recording in recordings {
            let start = content.len();
            let behaviour: Cow<'_, Behaviour> = recording.behaviour()?;
            behaviour::write_plain(&behaviour, &mut content)?;
            entries.push(IndexEntry {
                flavour: recording.flavour.clone(),
                release: recording.release.clone(),
                floating_state_layout: recording.floating_state_layout.clone(),
                start,
                length: content.len() - start,
                digests: recording.digests.clone(),
            });
        }
        let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(XZ_PRESET))?;
        writer.write_all(&content)?;
        let archive = writer.finish()?;
        let index = Index {
            format: FORMAT_VERSION,
            guest: guest.map(str::to_owned),
            archive: sudbox_images::digest(&[&archive]),
            cases,
            recordings: entries,
        };
        let mut text = serde_json::to_string_pretty(&index)?;
        text.push('\n');
        replace_file(&self.archive, &archive)?;
        replace_file(&self.index, text.as_bytes())
    }
}

/// Writes a file and makes its folder. A reader finds either the old content or the new one.
fn replace_file(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    // Temporary files are for their owner alone.
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::CaseBehaviour;
    use crate::recordings;

    #[test]
    fn the_recordings_have_the_cases_of_the_guest() {
        for (arch, index, _) in SHIPPED {
            let index: Index = serde_json::from_str(index).unwrap();
            let wanted: BTreeSet<String> = crate::selection::all_cases()
                .filter(|case| {
                    recordings::is_recorded(case) && case.exclusion_reason(*arch).is_none()
                })
                .map(|case| case.id.to_owned())
                .collect();
            assert_eq!(index.cases, wanted, "the cases changed: type `make recordings`");
            for recording in &index.recordings {
                let unknown = recording.digests.keys().find(|id| !wanted.contains(*id));
                assert_eq!(unknown, None, "of {}", recording.release);
                assert!(recording.digests.len() * 10 > wanted.len() * 9, "{}", recording.release);
            }
        }
    }

    fn recording(flavour: &str, digest: u64) -> Recording {
        let case = CaseBehaviour {
            result: "pass".into(),
            digest: Some(digest),
            ..CaseBehaviour::default()
        };
        let without = CaseBehaviour { digest: None, ..case.clone() };
        let cases = [("compare/trap".to_owned(), case), ("range/off".to_owned(), without)];
        Recording::of_behaviour(
            flavour,
            Behaviour { release: "7.3.4".into(), cases: cases.into(), ..Behaviour::default() },
        )
    }

    #[test]
    fn a_folder_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let folder = RecordingFolder::new(folder.path(), Arch::X86_64);
        assert!(folder.read(None).unwrap().is_empty());
        let both = [recording("default", u64::MAX), recording("full", 7)];
        folder.write(&both, BTreeSet::new(), Some("a guest")).unwrap();
        assert!(folder.read(Some("another")).unwrap().is_empty());
        let read = folder.read(Some("a guest")).unwrap();
        let digest = |at: usize| read[at].digests["compare/trap"];
        assert_eq!((digest(0), digest(1)), (u64::MAX, 7));
        let behaviour = read[1].behaviour().unwrap();
        assert_eq!(behaviour.release, "7.3.4");
        let ids: Vec<&String> = behaviour.cases.keys().collect();
        assert_eq!(ids, ["compare/trap"], "cases without a digest are not kept");
        std::fs::write(&folder.archive, b"nothing").unwrap();
        assert!(folder.read(Some("a guest")).is_err(), "the index is for another archive");
    }
}
