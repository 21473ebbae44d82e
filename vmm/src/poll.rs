// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Functions that wait for descriptors until a deadline.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Instant;

use rustix::event::Timespec;
use rustix::io::Errno;
use vmm_sys_util::eventfd::EventFd;

pub use rustix::event::{PollFd, PollFlags};

/// Waits until one of `fds` has an event, or until the deadline. Afterwards [`PollFd::revents`]
/// returns the events of each descriptor; after the deadline there may be none.
///
/// # Errors
/// The errors of `ppoll(2)`, except `EINTR`, after which the function continues to wait.
pub fn wait(fds: &mut [PollFd<'_>], deadline: Instant) -> io::Result<()> {
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(time_left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time_left.subsec_nanos().into(),
        };
        match rustix::event::poll(fds, Some(&timeout)) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until one of `fds` is readable or closed at its other end, or until the deadline. Returns
/// one value for each descriptor: true if the descriptor is readable or closed at its other end.
///
/// # Errors
/// The errors of [`wait`].
pub fn wait_readable(fds: &[BorrowedFd<'_>], deadline: Instant) -> io::Result<Vec<bool>> {
    let mut fds: Vec<_> =
        fds.iter().map(|&fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    wait(&mut fds, deadline)?;
    Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// Borrows the descriptor of an eventfd.
#[must_use]
pub fn borrow_eventfd(eventfd: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as `eventfd`, which outlives the borrow.
    unsafe { BorrowedFd::borrow_raw(eventfd.as_raw_fd()) }
}
