// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Behaviours on disk, in the folder `behaviours/` of the cache: one compressed file for each
//! combination of image, guest-init and machine.
//!
//! A file has a line of JSON with everything but the observations, then the observations as frames of
//! the protocol.

use super::{Behaviour, CaseBehaviour, PartName};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{Read as _, Write};
use sudbox_images::{Cache, EntryLock, LockMode, Monitor};
use sudbox_protocol::{FrameReader, GuestMessage};

/// The folder in the cache with the behaviours.
const BEHAVIOURS_FOLDER: &str = "behaviours";

/// Version of the file format. A file of another version is recorded anew.
const FORMAT_VERSION: u32 = 1;

/// Maximum size of a decompressed file, in bytes.
const MAX_DECOMPRESSED_BYTES: u64 = 1 << 30;

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    release: String,
    features: BTreeSet<String>,
    #[serde(default, rename = "state_layout")]
    floating_state_layout: String,
    cases: Vec<CaseHeader>,
}

#[derive(Serialize, Deserialize)]
struct CaseHeader {
    id: String,
    result: String,
    unstable: BTreeSet<PartName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<u64>,
}

/// The stored behaviour of one kernel, locked against other runs that record it.
pub(crate) struct BehaviourStore<'a> {
    cache: &'a Cache,
    key: String,
    _lock: EntryLock,
}

impl BehaviourStore<'_> {
    /// Opens the entry whose key is the digest of `identity`. Waits while another run records the same
    /// entry.
    ///
    /// # Errors
    /// If the entry cannot be locked.
    pub(crate) fn open<'a>(
        cache: &'a Cache,
        identity: &[&[u8]],
        monitor: &mut dyn Monitor,
    ) -> anyhow::Result<BehaviourStore<'a>> {
        let key = sudbox_images::digest(identity);
        let lock = cache.lock(BEHAVIOURS_FOLDER, &key, LockMode::Exclusive, monitor)?;
        Ok(BehaviourStore { cache, key, _lock: lock })
    }

    /// The stored behaviour; empty if there is none, or if the file is damaged.
    pub(crate) fn read(&self) -> Behaviour {
        let file = self.cache.read_file(BEHAVIOURS_FOLDER, &self.key);
        file.and_then(|bytes| decode(&bytes)).unwrap_or_default()
    }

    /// Replaces the stored behaviour.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, behaviour: &Behaviour) -> anyhow::Result<()> {
        Ok(self.cache.write_file(BEHAVIOURS_FOLDER, &self.key, &encode(behaviour)?)?)
    }
}

/// The content of a file with this behaviour.
fn encode(behaviour: &Behaviour) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    write_plain(behaviour, &mut encoder)?;
    Ok(encoder.finish()?)
}

/// Writes the uncompressed content of a file.
pub(crate) fn write_plain(behaviour: &Behaviour, out: &mut impl Write) -> anyhow::Result<()> {
    let case_header = |(id, case): (&String, &CaseBehaviour)| CaseHeader {
        id: id.clone(),
        result: case.result.clone(),
        unstable: case.unstable_parts.clone(),
        digest: case.digest,
    };
    let header = Header {
        format: FORMAT_VERSION,
        release: behaviour.release.clone(),
        features: behaviour.features.clone(),
        floating_state_layout: behaviour.floating_state_layout.clone(),
        cases: behaviour.cases.iter().map(case_header).collect(),
    };
    serde_json::to_writer(&mut *out, &header)?;
    out.write_all(b"\n")?;
    for (case, recorded) in (0u32..).zip(behaviour.cases.values()) {
        for observation in &recorded.observations {
            let message = GuestMessage::Observed { case, observation: observation.clone() };
            out.write_all(&message.to_frame())?;
        }
    }
    Ok(())
}

/// The behaviour in a file; `None` if the file is damaged or of another format.
fn decode(file: &[u8]) -> Option<Behaviour> {
    let mut content = Vec::new();
    GzDecoder::new(file).take(MAX_DECOMPRESSED_BYTES).read_to_end(&mut content).ok()?;
    decode_plain(&content)
}

/// The behaviour in the content of a file after its decompression; `None` if the content is damaged or of
/// another format.
pub(crate) fn decode_plain(content: &[u8]) -> Option<Behaviour> {
    let end = content.iter().position(|byte| *byte == b'\n')?;
    let header: Header = serde_json::from_slice(&content[..end]).ok()?;
    if header.format != FORMAT_VERSION {
        return None;
    }
    let mut ids = Vec::new();
    let mut behaviour = Behaviour {
        release: header.release,
        features: header.features,
        floating_state_layout: header.floating_state_layout,
        ..Behaviour::default()
    };
    for CaseHeader { id, result, unstable, digest } in header.cases {
        let case =
            CaseBehaviour { result, unstable_parts: unstable, digest, observations: Vec::new() };
        ids.push(id.clone());
        behaviour.cases.insert(id, case);
    }
    let mut frames = FrameReader::default();
    frames.push(&content[end + 1..]);
    while let Some(body) = frames.next_body().ok()? {
        let GuestMessage::Observed { case, observation } = GuestMessage::decode(&body).ok()? else {
            return None;
        };
        let id = ids.get(usize::try_from(case).ok()?)?;
        behaviour.cases.get_mut(id)?.observations.push(observation);
    }
    (!frames.is_mid_frame()).then_some(behaviour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sudbox_protocol::{Observation, ObservedPart};

    fn behaviour() -> Behaviour {
        let part = ObservedPart { name: "si_code".into(), bytes: vec![2, 0, 0, 0] };
        let observation =
            Observation { field: "frame".into(), parts: vec![part], ..Default::default() };
        let unstable = PartName { field: "siginfo".into(), ..PartName::default() };
        let case = CaseBehaviour {
            result: "pass".into(),
            observations: vec![observation.clone(), observation],
            unstable_parts: [unstable].into(),
            digest: Some(7),
        };
        Behaviour {
            release: "7.3.4".into(),
            features: ["sysctl".to_owned()].into(),
            floating_state_layout: "xcr0 0x7 2:576+256".into(),
            cases: [("compare/trap".to_owned(), case)].into(),
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let file = encode(&behaviour()).unwrap();
        assert_eq!(decode(&file), Some(behaviour()));
    }

    #[test]
    fn a_damaged_file_is_no_behaviour() {
        let file = encode(&behaviour()).unwrap();
        for length in 0..file.len() {
            assert_eq!(decode(&file[..length]), None, "cut at {length}");
        }
    }
}
