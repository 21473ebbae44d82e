// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The QEMU process. A pidfd tells when QEMU has ended, and the kernel kills QEMU when this process
//! ends.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, PidfdFlags};

use super::confinement::QemuConfinement;
use crate::process::die_with_parent;

/// Maximum number of bytes that are kept of QEMU's stderr.
const STDERR_LIMIT: usize = 16 * 1024;

/// A running process. Dropping this value kills and reaps the process.
pub(super) struct Process {
    child: Child,
    pidfd: OwnedFd,
    stderr: Option<ChildStderr>,
    /// Bytes read from stderr so far, at most [`STDERR_LIMIT`].
    stderr_text: Vec<u8>,
    status: Option<ExitStatus>,
    /// The drop of the sender ends `parent_thread`.
    release_sender: Option<mpsc::Sender<()>>,
    /// The thread that forked the process. When this thread ends, the kernel kills the process.
    parent_thread: Option<thread::JoinHandle<()>>,
}

impl Process {
    /// Starts a confined program that inherits only `descriptors`, with the same numbers. The kernel
    /// kills the new process when this process ends for any reason. The new process is in its own process
    /// group, so that Ctrl-C at the terminal does not reach it.
    ///
    /// # Errors
    /// If the program could not be started or confined.
    pub(super) fn spawn(
        program: &Path,
        arguments: &[OsString],
        descriptors: Vec<OwnedFd>,
        confinement: QemuConfinement,
    ) -> io::Result<Process> {
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        // QEMU looks for firmware in its working directory first, which must not be the caller's.
        command.env_clear().env("LC_ALL", "C").current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let inherited_fds: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let parent_pid = std::process::id();
        // SAFETY: the closure runs between fork and exec and makes only system calls. The closure
        // neither allocates nor takes locks.
        unsafe {
            command.pre_exec(move || {
                // Mark all descriptors to be closed by exec, also those that another thread has
                // just received without FD_CLOEXEC.
                if libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) != 0
                    && *libc::__errno_location() != libc::ENOSYS
                {
                    return Err(io::Error::last_os_error());
                }
                for &fd in &inherited_fds {
                    if libc::fcntl(fd, libc::F_SETFD, 0) != 0 {
                        return Err(io::Error::last_os_error());
                    }
                }
                die_with_parent(parent_pid)?;
                confinement.enter()
            });
        }

        // The kernel sends the parent-death signal when the *thread* that forked ends. The caller's
        // thread may end before the session, so a separate thread forks.
        let (release_sender, release_receiver) = mpsc::channel::<()>();
        let (child_sender, child_receiver) = mpsc::sync_channel(1);
        let parent_thread =
            thread::Builder::new().name("qemu-parent".to_owned()).spawn(move || {
                let child = command.spawn();
                // Close this process's copies of the descriptors that the child has inherited.
                drop(descriptors);
                drop(command);
                if child_sender.send(child).is_ok() {
                    let _ = release_receiver.recv();
                }
            })?;
        let mut child = child_receiver.recv().map_err(io::Error::other)??;
        let stderr = child.stderr.take();
        let pidfd = match rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
        {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.into());
            }
        };
        if let Some(stderr) = &stderr {
            rustix::io::ioctl_fionbio(stderr, true)?;
        }
        let (stderr_text, status) = (Vec::new(), None);
        let (release_sender, parent_thread) = (Some(release_sender), Some(parent_thread));
        Ok(Process { child, pidfd, stderr, stderr_text, status, release_sender, parent_thread })
    }

    /// Returns descriptors that become readable when the process writes to stderr or ends. Then
    /// call [`Process::try_wait`].
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let stderr = self.stderr.as_ref().map(AsFd::as_fd);
        stderr.into_iter().chain([self.pidfd.as_fd()]).collect()
    }

    /// Reads stderr, and reaps the process if it has ended. Returns the exit status once the
    /// process has ended.
    pub(super) fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.read_stderr();
        self.status
    }

    /// Sends SIGKILL, without waiting for the process to end.
    pub(super) fn kill(&mut self) {
        // The call fails only if the process is dead already.
        let _ = self.child.kill();
    }

    /// Returns the text that the process has written to stderr.
    pub(super) fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr_text).trim().to_owned()
    }

    /// Reads the bytes that are available on stderr now.
    fn read_stderr(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        let mut chunk = [0; 4096];
        // Read at most the size of a pipe, 64 KiB, because the process may write without end.
        for _ in 0..16 {
            match stderr.read(&mut chunk) {
                Ok(0) => {
                    self.stderr = None;
                    return;
                }
                Ok(count) => {
                    let kept_count = count.min(STDERR_LIMIT - self.stderr_text.len());
                    self.stderr_text.extend(&chunk[..kept_count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
        drop(self.release_sender.take());
        if let Some(thread) = self.parent_thread.take() {
            let _ = thread.join();
        }
    }
}
