// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Ctrl-C and its kin as a descriptor that becomes readable, so that whoever waits is told.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

static EVENT: OnceLock<OwnedFd> = OnceLock::new();

/// Turns SIGINT, SIGTERM and SIGHUP into an event. A second signal ends the process at once:
/// children die with it by their parent-death signal.
///
/// # Errors
/// When the event descriptor or a handler cannot be made.
pub(crate) fn install() -> io::Result<()> {
    // SAFETY: eventfd has no preconditions; the result is checked and owned here alone.
    let event = unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let _ = EVENT.set(event);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler does only what signal-safety(7) allows; the structure is zeroed
        // and then filled as sigaction(2) wants it. No SA_RESTART: whoever waits is told.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            libc::sigemptyset(&raw mut action.sa_mask);
            if libc::sigaction(signal, &raw const action, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

extern "C" fn on_signal(_: libc::c_int) {
    let Some(event) = EVENT.get() else { return };
    let one = 1u64;
    // SAFETY: poll, write and _exit are async-signal-safe; `one` is eight bytes, as eventfd(2)
    // wants. errno is put back for the code that was interrupted.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        if is_readable(event.as_raw_fd()) {
            libc::_exit(130);
        }
        libc::write(event.as_raw_fd(), (&raw const one).cast(), 8);
        *errno = saved;
    }
}

fn is_readable(fd: libc::c_int) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd and no waiting.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

/// The descriptor that is readable from the first signal on.
pub(crate) fn descriptor() -> Option<BorrowedFd<'static>> {
    EVENT.get().map(AsFd::as_fd)
}

/// Whether a signal has come.
pub(crate) fn pending() -> bool {
    EVENT.get().is_some_and(|event| is_readable(event.as_raw_fd()))
}
