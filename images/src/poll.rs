// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Waits for readable descriptors with poll(2).

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waits until a descriptor is readable or at its end of file. Returns for each descriptor whether
/// this holds. All values are `false` after `timeout` or after a signal. `None` is never readable.
///
/// # Errors
/// Those of poll(2), except EINTR.
pub(crate) fn wait_readable<const N: usize>(
    descriptors: [Option<BorrowedFd<'_>>; N],
    timeout: Duration,
) -> io::Result<[bool; N]> {
    let present = descriptors.iter().flatten();
    let mut fds: Vec<PollFd<'_>> = present.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&timeout)) {
        Err(Errno::INTR) => return Ok([false; N]),
        Err(errno) => return Err(errno.into()),
        Ok(_) => {}
    }
    let mut readable = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok(descriptors.map(|fd| fd.is_some() && readable.next().unwrap_or(false)))
}
