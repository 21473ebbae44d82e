// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Records a case's observations for the host, if the host asked for them, and always their digest.
//!
//! The case's child writes observations to memory that it shares with the runner. The runner sends
//! the observations to the host after the child has ended. The child stores the digest with its report.

use crate::case::Failure;
use crate::digest::Digest;
use crate::sys;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use sudbox_protocol::{GuestMessage, Observation, ObservedPart};

/// Size in bytes of the recording memory. Its pages are allocated when they are first written.
const RECORDING_MEMORY_LENGTH: usize = 48 << 20;

/// The recording memory: a word with the length of the frames in bytes, then the frames from
/// [`FRAMES_OFFSET`] on. Null if nothing is recorded.
static RECORDING_MEMORY: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
/// Offset of the first frame in bytes.
const FRAMES_OFFSET: usize = 64;
/// The index of the running case in the plan.
static CASE_INDEX: AtomicU32 = AtomicU32::new(0);

/// The digest of the observations of this process's case; [`Digest::EMPTY`] if there are none.
static DIGEST: AtomicU64 = AtomicU64::new(Digest::EMPTY.value());

/// Maps the recording memory, so that the observations of all later cases are recorded. The runner calls this
/// once.
///
/// # Errors
/// As `mmap(2)`.
pub(crate) fn start() -> sys::Result<()> {
    RECORDING_MEMORY.store(sys::map_shared(RECORDING_MEMORY_LENGTH)?, Ordering::SeqCst);
    Ok(())
}

/// Whether observations are recorded.
pub(crate) fn is_recording() -> bool {
    !RECORDING_MEMORY.load(Ordering::SeqCst).is_null()
}

/// The length of the recorded frames in bytes; `None` if nothing is recorded.
fn frames_length() -> Option<&'static AtomicUsize> {
    let memory = RECORDING_MEMORY.load(Ordering::SeqCst);
    // SAFETY: `start` mapped the memory, and its first word is only used as this length.
    (!memory.is_null()).then(|| unsafe { &*memory.cast::<AtomicUsize>() })
}

/// Drops all observations. Later observations belong to the case with this index.
pub(crate) fn begin_case(case: u32) {
    CASE_INDEX.store(case, Ordering::SeqCst);
    if let Some(recorded_length) = frames_length() {
        recorded_length.store(0, Ordering::SeqCst);
    }
}

/// The observations of the case as frames of messages. The case's child must have ended.
pub(crate) fn case_frames() -> Vec<u8> {
    let Some(recorded_length) = frames_length() else { return Vec::new() };
    let length =
        recorded_length.load(Ordering::SeqCst).min(RECORDING_MEMORY_LENGTH - FRAMES_OFFSET);
    // SAFETY: within the mapping, and nobody writes any more.
    unsafe {
        let frames = RECORDING_MEMORY.load(Ordering::SeqCst).add(FRAMES_OFFSET);
        std::slice::from_raw_parts(frames, length).to_vec()
    }
}

/// The digest of the observations so far; `None` if there are none.
pub(crate) fn digest() -> Option<u64> {
    let digest = DIGEST.load(Ordering::SeqCst);
    (digest != Digest::EMPTY.value()).then_some(digest)
}

/// The digest so far, for the process that stores the case's report to add to.
pub(crate) fn digest_so_far() -> Digest {
    Digest::from_value(DIGEST.load(Ordering::SeqCst))
}

/// Replaces the digest.
pub(crate) fn set_digest(digest: Digest) {
    DIGEST.store(digest.value(), Ordering::SeqCst);
}

/// Records an observation, but does not add it to the digest. Only one task may call this at a time.
///
/// # Errors
/// [`Failure::Broken`] if the memory is full.
pub(crate) fn add_observation(observation: Observation) -> Result<(), Failure> {
    let Some(recorded_length) = frames_length() else { return Ok(()) };
    let case = CASE_INDEX.load(Ordering::SeqCst);
    let frame = GuestMessage::Observed { case, observation }.to_frame();
    let start = recorded_length.load(Ordering::SeqCst);
    if FRAMES_OFFSET + start + frame.len() > RECORDING_MEMORY_LENGTH {
        return Err(Failure::Broken(format!(
            "more than {RECORDING_MEMORY_LENGTH} bytes of observations"
        )));
    }
    // SAFETY: the frame fits, as checked above.
    unsafe {
        let end = RECORDING_MEMORY.load(Ordering::SeqCst).add(FRAMES_OFFSET + start);
        std::ptr::copy_nonoverlapping(frame.as_ptr(), end, frame.len());
    }
    recorded_length.store(start + frame.len(), Ordering::SeqCst);
    Ok(())
}

/// Records a text as an observation, and adds the observation to the digest.
///
/// # Errors
/// As [`add_observation`].
pub(crate) fn add_text(
    scenario: &str,
    field: &str,
    function: &str,
    text: &str,
) -> Result<(), Failure> {
    let mut digest = digest_so_far();
    [scenario, field, text].iter().for_each(|item| digest.add(item.as_bytes()));
    set_digest(digest);
    add_text_without_digest(scenario, field, function, text)
}

/// Records a text as an observation, but does not add it to the digest.
///
/// # Errors
/// As [`add_observation`].
pub(crate) fn add_text_without_digest(
    scenario: &str,
    field: &str,
    function: &str,
    text: &str,
) -> Result<(), Failure> {
    add_observation(Observation {
        scenario: scenario.to_owned(),
        step: String::new(),
        field: field.to_owned(),
        function: function.to_owned(),
        parts: vec![ObservedPart { name: String::new(), bytes: text.as_bytes().to_vec() }],
    })
}
