// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Records a case's observations for the host, if the host asked for them.
//!
//! The case's child writes observations to memory that it shares with the runner, which sends them to
//! the host after the child has ended.

use crate::case::Failure;
use crate::sys;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use sudbox_protocol::{GuestMessage, Observation, ObservedPart};

/// Maximum number of bytes of a case's observations. Pages that are never written take no memory.
const CAPACITY: usize = 48 << 20;

/// The memory: a word with the number of bytes used, then frames from [`START`] on. Null if nothing is
/// recorded.
static MEMORY: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
/// Offset of the first frame in bytes.
const START: usize = 64;
/// The index of the running case in the plan.
static CASE: AtomicU32 = AtomicU32::new(0);

/// Maps the memory, so that the observations of all later cases are recorded. The runner calls this
/// once.
///
/// # Errors
/// As `mmap(2)`.
pub(crate) fn start() -> sys::Result<()> {
    MEMORY.store(sys::map_shared(CAPACITY)?, Ordering::SeqCst);
    Ok(())
}

/// Whether observations are recorded.
pub(crate) fn is_on() -> bool {
    !MEMORY.load(Ordering::SeqCst).is_null()
}

fn used() -> Option<&'static AtomicUsize> {
    let memory = MEMORY.load(Ordering::SeqCst);
    // SAFETY: `start` mapped it; the first word is the counter and nothing else.
    (!memory.is_null()).then(|| unsafe { &*memory.cast::<AtomicUsize>() })
}

/// Drops all observations, and takes later ones for those of the case with this index.
pub(crate) fn begin(case: u32) {
    CASE.store(case, Ordering::SeqCst);
    if let Some(used) = used() {
        used.store(0, Ordering::SeqCst);
    }
}

/// The observations of the case as frames of messages. The case's child must have ended.
pub(crate) fn frames() -> Vec<u8> {
    let Some(used) = used() else { return Vec::new() };
    let length = used.load(Ordering::SeqCst).min(CAPACITY - START);
    // SAFETY: within the mapping, and nobody writes any more.
    unsafe {
        let frames = MEMORY.load(Ordering::SeqCst).add(START);
        std::slice::from_raw_parts(frames, length).to_vec()
    }
}

/// Adds an observation. Only one task may call this at a time.
///
/// # Errors
/// [`Failure::Broken`] if the memory is full.
pub(crate) fn add(observation: Observation) -> Result<(), Failure> {
    let Some(used) = used() else { return Ok(()) };
    let case = CASE.load(Ordering::SeqCst);
    let frame = GuestMessage::Observed { case, observation }.to_frame();
    let start = used.load(Ordering::SeqCst);
    if START + start + frame.len() > CAPACITY {
        return Err(Failure::Broken(format!("more than {CAPACITY} bytes of observations")));
    }
    // SAFETY: the frame fits, as checked above.
    unsafe {
        let end = MEMORY.load(Ordering::SeqCst).add(START + start);
        std::ptr::copy_nonoverlapping(frame.as_ptr(), end, frame.len());
    }
    used.store(start + frame.len(), Ordering::SeqCst);
    Ok(())
}

/// Adds an observation that is a text.
///
/// # Errors
/// As [`add`].
pub(crate) fn add_text(
    scenario: &str,
    field: &str,
    function: &str,
    text: &str,
) -> Result<(), Failure> {
    add(Observation {
        scenario: scenario.to_owned(),
        step: String::new(),
        field: field.to_owned(),
        function: function.to_owned(),
        parts: vec![ObservedPart { name: String::new(), bytes: text.as_bytes().to_vec() }],
    })
}
