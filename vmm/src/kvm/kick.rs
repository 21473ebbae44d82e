//! The signal that gets a thread out of `KVM_RUN`.
//!
//! The one who kicks sets the vCPU's `immediate_exit` first and sends the signal then: a thread that
//! is inside comes out with `EINTR`, and one that is only about to go in does not get in
//! (`Documentation/virt/kvm/api.rst`, section 5). A handler must be there, since a signal that is
//! ignored interrupts nothing; it has nothing to do.

use std::io;
use std::mem::MaybeUninit;

use libc::c_int;

/// The signal: the first real-time one that the C library leaves to programs.
pub(crate) fn kick_signal() -> c_int {
    libc::SIGRTMIN()
}

extern "C" fn nothing(_signal: c_int) {}

/// Makes [`kick_signal`] interrupt system calls instead of killing the process. Once for the whole
/// process, and for good; doing it again changes nothing.
///
/// # Errors
/// As `sigaction(2)`, which has no reason to fail here.
pub(crate) fn install_kick_handler() -> io::Result<()> {
    // SAFETY: A `sigaction` of zero bytes is a valid value: no handler, no flags (so no
    // SA_RESTART: the call is to end), an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
    // SAFETY: `action` is valid and its handler does nothing, which is async-signal-safe; the old
    // action is not asked for.
    if unsafe { libc::sigaction(kick_signal(), &raw const action, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::thread::JoinHandleExt as _;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_kick_ends_a_system_call() {
        install_kick_handler().unwrap();
        install_kick_handler().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let waiting = thread::spawn(move || {
            let mut byte = 0u8;
            // SAFETY: The buffer is one byte long.
            let count = unsafe { libc::read(reader.as_raw_fd(), (&raw mut byte).cast(), 1) };
            (count, io::Error::last_os_error().kind())
        });
        // A call that is begun again never ends, until the pipe closes.
        for _ in 0..2000 {
            if waiting.is_finished() {
                break;
            }
            // SAFETY: The thread is not joined yet, so its identity is still valid.
            unsafe { libc::pthread_kill(waiting.as_pthread_t(), kick_signal()) };
            thread::sleep(Duration::from_millis(1));
        }
        drop(writer);
        assert_eq!(waiting.join().unwrap(), (-1, io::ErrorKind::Interrupted));
    }
}
