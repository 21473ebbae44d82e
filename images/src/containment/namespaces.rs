// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Namespaces of a contained process: a PID namespace, so that no descendant outlives the process,
//! and namespaces of network and IPC.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::KILL_DELAY;

/// Flags of unshare(2) for namespaces that need either `CAP_SYS_ADMIN` or a new user namespace.
const PROCESS_NAMESPACES: i32 = libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC;

/// Maximum length in bytes of a line in `/proc/self/uid_map`.
const MAX_MAP_LENGTH: usize = 64;

/// The namespaces that this process may create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespaces {
    /// [`PROCESS_NAMESPACES`], within a new user namespace.
    WithUser,
    /// [`PROCESS_NAMESPACES`] without a user namespace: the host does not allow user namespaces, but
    /// this process has `CAP_SYS_ADMIN`.
    Privileged,
    /// No namespaces.
    None,
}

impl Namespaces {
    /// The namespaces that this host allows. The first call tries to create them in a child process.
    pub(super) fn available() -> Namespaces {
        static AVAILABLE: OnceLock<Namespaces> = OnceLock::new();
        *AVAILABLE.get_or_init(|| {
            let is_possible = |namespaces: Namespaces| {
                let mut command = Command::new("/proc/self/exe");
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                // SAFETY: between fork and exec the closure makes system calls and allocates nothing. It
                // never returns.
                unsafe {
                    command.pre_exec(move || {
                        namespaces.enter()?;
                        libc::_exit(0)
                    });
                }
                command.status().is_ok_and(|status| status.success())
            };
            [Namespaces::WithUser, Namespaces::Privileged]
                .into_iter()
                .find(|namespaces| is_possible(*namespaces))
                .unwrap_or(Namespaces::None)
        })
    }

    /// Creates and enters the namespaces. Forks: returns in the child, which is the first process of
    /// the PID namespace; the calling process waits for the child and exits with the child's exit
    /// code. Allocates nothing, for use between fork and exec.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn enter(self) -> io::Result<()> {
        // SAFETY: takes no pointers.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        match self {
            Namespaces::None => return Ok(()),
            Namespaces::Privileged => unshare(PROCESS_NAMESPACES)?,
            Namespaces::WithUser => {
                unshare(PROCESS_NAMESPACES | libc::CLONE_NEWUSER)?;
                write_file(c"/proc/self/setgroups", b"deny")?;
                write_map(c"/proc/self/uid_map", user)?;
                write_map(c"/proc/self/gid_map", group)?;
            }
        }
        // SAFETY: the caller has one thread.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: takes no pointers.
            0 => match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
            child => wait_and_exit(child),
        }
    }
}

fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: takes no pointers, and the caller has one thread.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Maps an id of the new user namespace to the same id outside (user_namespaces(7)).
fn write_map(path: &std::ffi::CStr, id: u32) -> io::Result<()> {
    let mut line = [0u8; MAX_MAP_LENGTH];
    let mut rest = &mut line[..];
    writeln!(rest, "{id} {id} 1")?;
    let length = MAX_MAP_LENGTH - rest.len();
    write_file(path, &line[..length])
}

fn write_file(path: &std::ffi::CStr, text: &[u8]) -> io::Result<()> {
    // SAFETY: the path is terminated, and the text is live.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        let written_count = libc::write(file, text.as_ptr().cast(), text.len());
        let result = if written_count < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
        libc::close(file);
        result
    }
}

/// Waits for the child, and exits with the child's exit code, or with 128 plus the number of the
/// signal that killed the child. Passes SIGTERM on to the child, and kills the child if it is alive
/// [`KILL_DELAY`] later: the kernel drops a signal that the first process of a PID namespace
/// sends to itself to end, as make does (`SIGNAL_UNKILLABLE`). If this process is killed, the kernel kills
/// the child (`PR_SET_PDEATHSIG`) and all processes of the child's PID namespace.
fn wait_and_exit(child: i32) -> ! {
    let kill_delay = u32::try_from(KILL_DELAY.as_secs()).unwrap_or(1);
    // SAFETY: the calls get live structures. This process uses no files, so all can be closed; the
    // pipes must be closed, because the harness waits for their end of file.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        for signal in [libc::SIGTERM, libc::SIGALRM, libc::SIGCHLD] {
            libc::sigaddset(&raw mut signals, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
        loop {
            let mut status = 0;
            let ended_pid = libc::waitpid(child, &raw mut status, libc::WNOHANG);
            if ended_pid == child && libc::WIFEXITED(status) {
                libc::_exit(libc::WEXITSTATUS(status));
            }
            if ended_pid != 0 {
                libc::_exit(128 + libc::WTERMSIG(status));
            }
            let mut signal = 0;
            libc::sigwait(&raw const signals, &raw mut signal);
            match signal {
                libc::SIGTERM => {
                    libc::kill(child, libc::SIGTERM);
                    libc::alarm(kill_delay);
                }
                libc::SIGALRM => {
                    libc::kill(child, libc::SIGKILL);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
