// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Signals with a value that a task queues to itself, as by `sigqueue(3)`.

use crate::sys;

/// A queue of pending signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// The queue of the calling task.
    Task,
    /// The queue of the calling task's process.
    Process,
}

/// The siginfo of a signal that a process with this id, of the caller's user, queues with a value.
pub(crate) fn queued_siginfo(pid: i32, signal: i32, value: i32) -> [u8; 128] {
    let uid = sys::getuid().cast_signed();
    let mut siginfo = [0; 128];
    // The offsets of si_signo, si_code, si_pid, si_uid and si_value.
    for (offset, field) in [(0, signal), (8, libc::SI_QUEUE), (16, pid), (20, uid), (24, value)] {
        siginfo[offset..offset + 4].copy_from_slice(&field.to_ne_bytes());
    }
    siginfo
}

/// Queues a signal with a value.
pub(crate) fn queue_signal(queue: Queue, signal: i32, value: i32) -> sys::Result<()> {
    let siginfo = queued_siginfo(sys::getpid(), signal, value);
    let argument = |argument: i32| u64::from(argument.cast_unsigned());
    let (process, task) = (argument(sys::getpid()), argument(sys::gettid()));
    let (signal, siginfo) = (argument(signal), siginfo.as_ptr() as u64);
    // SAFETY: the siginfo is live.
    unsafe {
        match queue {
            Queue::Task => {
                sys::call(libc::SYS_rt_tgsigqueueinfo, &[process, task, signal, siginfo])
            }
            Queue::Process => sys::call(libc::SYS_rt_sigqueueinfo, &[process, signal, siginfo]),
        }
    }
    .map(drop)
}
