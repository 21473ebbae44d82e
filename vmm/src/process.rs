// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Child processes that do not outlive their parent.

use std::io;

use rustix::io::Errno;
use rustix::process::Signal;

/// Has the kernel send SIGKILL to this process when the thread of process `parent` that forked it
/// ends (`PR_SET_PDEATHSIG`). For a child between fork and exec: only makes system calls.
///
/// # Errors
/// `ESRCH` if the parent has ended already.
pub fn die_with(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the call, and then no signal comes.
    let parent_now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if parent_now.map(i32::cast_unsigned) != Some(parent) {
        return Err(Errno::SRCH.into());
    }
    Ok(())
}
