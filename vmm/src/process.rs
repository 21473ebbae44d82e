//! Child processes that do not outlive us.

use std::io;

/// Asks the kernel to kill this process when the thread of process `parent` that forked it ends. For
/// a child between fork and exec: makes only system calls.
///
/// # Errors
/// `ESRCH` if it has ended already.
pub fn die_with(parent: u32) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // The parent may have died before that.
    // SAFETY: getppid has no preconditions.
    if unsafe { libc::getppid() }.cast_unsigned() != parent {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}
