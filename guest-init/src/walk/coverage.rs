// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Records which instrumented code of the kernel the tasks of a walk execute, by KCOV
//! (Documentation/dev-tools/kcov.rst).
//!
//! KCOV records one task for each open file. The checking process opens a file for each task that the sequence
//! can start, and reads all of them at the end, since a task may be killed. Every task enables one of them.

use super::event_log::event_log;
use super::operations::{MAX_STEPS, Operation, Step};
use crate::case::Failure;
use crate::support::broken;
use crate::{recording, sys};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use sudbox_protocol::{Observation, ObservedPart};

/// `KCOV_INIT_TRACE`, `_IOR('c', 1, unsigned long)` (include/uapi/linux/kcov.h).
const INIT_TRACE: u64 = 0x8008_6301;
/// `KCOV_ENABLE`, `_IO('c', 100)`.
const ENABLE: u64 = 0x6364;
/// `KCOV_TRACE_PC`
const TRACE_PC: u64 = 0;

/// Number of words of memory for one task: the number of addresses, and the addresses. KCOV drops further ones.
const WORDS: usize = 1 << 15;

/// Maximum number of tasks that are recorded: the first task, and one for each step.
const MAX_TASKS: usize = 1 + MAX_STEPS;

/// The field of the observation with the addresses.
const FIELD: &str = "reached code";

/// The descriptors of the kcov files, each for one task; -1 for none.
static FILES: [AtomicI32; MAX_TASKS] = [const { AtomicI32::new(-1) }; MAX_TASKS];

/// The kcov files of a sequence.
pub(super) struct Coverage(Vec<OwnedFd>);

impl Coverage {
    /// Opens a kcov file for each task of this sequence. `None` if the host did not ask for observations, or if
    /// the kernel has no KCOV.
    ///
    /// # Errors
    /// If the kernel has KCOV, and a file cannot be opened or set up.
    pub(super) fn start(steps: &[Step]) -> Result<Option<Coverage>, Failure> {
        if !recording::is_recording() {
            return Ok(None);
        }
        let Ok(mount) = sys::mount_detached(c"debugfs") else { return Ok(None) };
        // SAFETY: newly opened, and owned by nobody else.
        let mount = unsafe { OwnedFd::from_raw_fd(mount) };
        let mut files = Vec::new();
        for slot in FILES.iter().take(1 + count_tasks(steps)) {
            // SAFETY: the name is terminated.
            let file = unsafe {
                libc::openat(mount.as_raw_fd(), c"kcov".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC)
            };
            if file < 0 {
                let error = std::io::Error::last_os_error();
                if error.kind() == std::io::ErrorKind::NotFound {
                    return Ok(None);
                }
                return Err(Failure::Broken(format!("kcov: {error}")));
            }
            // SAFETY: newly opened, and owned by nobody else.
            let file = unsafe { OwnedFd::from_raw_fd(file) };
            ioctl(file.as_raw_fd(), INIT_TRACE, WORDS as u64).map_err(broken("KCOV_INIT_TRACE"))?;
            slot.store(file.as_raw_fd(), Ordering::SeqCst);
            files.push(file);
        }
        Ok(Some(Coverage(files)))
    }

    /// Ends the recording, and reports the addresses as an observation of the case. All tasks must have ended.
    ///
    /// # Errors
    /// If a task could not be recorded, or the addresses cannot be read or reported.
    pub(super) fn finish(self) -> Result<(), Failure> {
        FILES.iter().for_each(|file| file.store(-1, Ordering::SeqCst));
        let error = event_log().recording_error.load(Ordering::SeqCst);
        if error != 0 {
            return Err(broken("KCOV_ENABLE")(sys::Errno(error)));
        }
        let mut addresses = BTreeSet::new();
        for file in self.0 {
            collect(&File::from(file), &mut addresses)?;
        }
        let bytes = addresses.into_iter().flat_map(u64::to_le_bytes).collect();
        recording::add_observation(Observation {
            field: FIELD.to_owned(),
            parts: vec![ObservedPart { name: String::new(), bytes }],
            ..Observation::default()
        })
    }
}

/// The addresses of instrumented code that a walk with these observations reached.
#[must_use]
pub fn reached_code(observations: &[Observation]) -> BTreeSet<u64> {
    let parts = observations.iter().filter(|seen| seen.field == FIELD).flat_map(|seen| &seen.parts);
    let words = parts.flat_map(|part| part.bytes.as_chunks::<8>().0);
    words.map(|word| u64::from_le_bytes(*word)).collect()
}

/// Records the code that this task executes from now on, if that of the sequence is recorded. A new task must ask
/// for itself.
pub(super) fn start_coverage_of_this_task() {
    let index = event_log().recorded_tasks.fetch_add(1, Ordering::SeqCst) as usize;
    let file = FILES.get(index).map_or(-1, |file| file.load(Ordering::SeqCst));
    if file >= 0
        && let Err(error) = ioctl(file, ENABLE, TRACE_PC)
    {
        event_log().recording_error.store(error.0, Ordering::SeqCst);
    }
}

fn ioctl(file: i32, request: u64, argument: u64) -> sys::Result<u64> {
    // SAFETY: both requests take a number.
    unsafe { sys::call(libc::SYS_ioctl, &[u64::from(file.cast_unsigned()), request, argument]) }
}

/// Adds the addresses that were recorded in a kcov file.
fn collect(file: &File, addresses: &mut BTreeSet<u64>) -> Result<(), Failure> {
    let length = WORDS * size_of::<u64>();
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: maps new memory.
    let words = unsafe {
        libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    if words == libc::MAP_FAILED {
        return Err(Failure::Broken(format!("kcov: {}", std::io::Error::last_os_error())));
    }
    // SAFETY: the mapping has this many words, for which every value is valid.
    let words = unsafe { std::slice::from_raw_parts(words.cast::<AtomicU64>(), WORDS) };
    let count = usize::try_from(words[0].load(Ordering::SeqCst)).unwrap_or(0);
    addresses.extend(words[1..].iter().take(count).map(|word| word.load(Ordering::SeqCst)));
    // SAFETY: nobody uses the words any more.
    unsafe { libc::munmap(words.as_ptr().cast_mut().cast(), length) };
    Ok(())
}

/// The number of tasks that these steps start.
fn count_tasks(steps: &[Step]) -> usize {
    let started = steps.iter().map(|step| match &step.operation {
        Operation::StartTask(..) => 1,
        _ => 0,
    });
    started.sum::<usize>() + steps.iter().map(|step| count_tasks(step.body())).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::super::operations::NewTask;
    use super::*;

    fn step(operation: Operation) -> Step {
        Step { number: 0, operation }
    }

    #[test]
    fn tasks_within_tasks_and_side_by_side_are_counted() {
        let thread = || step(Operation::StartTask(NewTask::Thread, vec![step(Operation::Yield)]));
        let steps = [
            step(Operation::StartTask(NewTask::Fork, vec![thread()])),
            step(Operation::SideBySide(vec![thread(), thread()])),
        ];
        assert_eq!(count_tasks(&steps), 4);
    }

    #[test]
    fn the_addresses_of_an_observation_are_read_back() {
        let bytes = [3, u64::MAX].into_iter().flat_map(u64::to_le_bytes).collect();
        let parts = vec![ObservedPart { name: String::new(), bytes }];
        let seen = Observation { field: FIELD.to_owned(), parts, ..Observation::default() };
        let other = Observation { field: "frame".to_owned(), ..seen.clone() };
        assert_eq!(reached_code(&[other, seen]), BTreeSet::from([3, u64::MAX]));
    }
}
