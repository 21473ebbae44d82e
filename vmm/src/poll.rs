//! Waiting for descriptors.

use std::io;
use std::os::fd::RawFd;
use std::time::Instant;

/// Waits until one of the descriptors is readable or closed at its other end, or until the
/// deadline. Says for each whether it is; negative ones never are.
///
/// # Errors
/// As `ppoll(2)`, but for interruptions.
pub fn wait(descriptors: &[RawFd], deadline: Instant) -> io::Result<Vec<bool>> {
    let mut fds: Vec<libc::pollfd> = descriptors
        .iter()
        .map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 })
        .collect();
    let count = libc::nfds_t::try_from(fds.len()).map_err(io::Error::other)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(left.subsec_nanos()),
        };
        // SAFETY: `fds` holds `count` entries and `timeout` lives until the call returns; a null
        // mask leaves the signal mask alone.
        let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), count, &timeout, std::ptr::null()) };
        if ready >= 0 {
            return Ok(fds.iter().map(|fd| fd.revents != 0).collect());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// True if one of the descriptors is readable before the deadline.
pub(crate) fn readable(descriptors: &[RawFd], deadline: Instant) -> io::Result<bool> {
    Ok(wait(descriptors, deadline)?.contains(&true))
}

/// Waits until `pipe` takes bytes, or nobody reads it any more, or `stop` is readable. True if it
/// is that.
pub(crate) fn room(pipe: RawFd, stop: RawFd) -> io::Result<bool> {
    let mut fds = [(stop, libc::POLLIN), (pipe, libc::POLLOUT)].map(|(fd, events)| libc::pollfd {
        fd,
        events,
        revents: 0,
    });
    loop {
        // SAFETY: `fds` holds two entries; null pointers mean no timeout and the same signal mask.
        let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), 2, std::ptr::null(), std::ptr::null()) };
        if ready >= 0 {
            return Ok(fds[0].revents != 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Bytes that wait in a pipe or socket.
pub(crate) fn pending(fd: RawFd) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to the pointer, which is valid for that.
    let result = unsafe { libc::ioctl(fd, libc::FIONREAD, &mut count) };
    if result == 0 { usize::try_from(count).unwrap_or(0) } else { 0 }
}

/// Makes reads from a descriptor of ours return at once.
///
/// # Errors
/// As `fcntl(2)`: if it is no descriptor.
pub fn nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: F_GETFL and F_SETFL take and return flags and touch no memory.
    let result = unsafe {
        match libc::fcntl(fd, libc::F_GETFL) {
            -1 => -1,
            flags => libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK),
        }
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
