// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Child processes that do not outlive their parent.

use std::io;

use rustix::io::Errno;
use rustix::process::Signal;

/// Makes the kernel send SIGKILL to this process when the thread that forked this process ends
/// (`PR_SET_PDEATHSIG`). `parent` is the process id of that thread. Makes system calls only, so a
/// child may call this function between fork and exec.
///
/// # Errors
/// `ESRCH` if the parent has ended already.
pub fn die_with_parent(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // If the parent has ended before the call, no signal is sent.
    let parent_now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if parent_now.map(i32::cast_unsigned) != Some(parent) {
        return Err(Errno::SRCH.into());
    }
    Ok(())
}
