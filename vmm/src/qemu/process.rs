//! The QEMU process: started so that nothing of it can outlive us, watched through a pidfd.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, PidfdFlags};

use crate::process::die_with;

/// Bytes kept of what QEMU says to stderr.
const WORDS_LIMIT: usize = 16 * 1024;

/// A running process. Dropping it kills and reaps it.
pub(super) struct Process {
    child: Child,
    pidfd: OwnedFd,
    stderr: Option<ChildStderr>,
    words: Vec<u8>,
    status: Option<ExitStatus>,
    /// Ends the keeper when it is dropped.
    hold: Option<mpsc::Sender<()>>,
    keeper: Option<thread::JoinHandle<()>>,
}

impl Process {
    /// Starts a program that inherits `descriptors` under their numbers, and no others. It dies
    /// when we do, also by SIGKILL, and is in a process group of its own, so that Ctrl-C at the
    /// terminal reaches us first.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such program; else if it could not be started.
    pub(super) fn spawn(
        program: &str,
        arguments: &[OsString],
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<Process> {
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let inherited: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let parent = std::process::id();
        // SAFETY: the closure runs between fork and exec and makes only system calls; it neither
        // allocates nor takes locks.
        unsafe {
            command.pre_exec(move || {
                for &fd in &inherited {
                    if libc::fcntl(fd, libc::F_SETFD, 0) != 0 {
                        return Err(io::Error::last_os_error());
                    }
                }
                die_with(parent)
            });
        }

        // The kernel sends the parent-death signal when the *thread* that forked ends. A thread of
        // the process's own lets a session move between the caller's threads.
        let (hold, released) = mpsc::channel::<()>();
        let (give, child) = mpsc::sync_channel(1);
        let keeper = thread::Builder::new().name("qemu-keeper".to_owned()).spawn(move || {
            let child = command.spawn();
            // From here on only the child holds these.
            drop(descriptors);
            drop(command);
            if give.send(child).is_ok() {
                let _ = released.recv();
            }
        })?;
        let mut child = child.recv().map_err(io::Error::other)??;
        let stderr = child.stderr.take();
        let pidfd = match rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
        {
            Ok(pidfd) => pidfd,
            Err(e) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(e.into());
            }
        };
        if let Some(stderr) = &stderr {
            rustix::io::ioctl_fionbio(stderr, true)?;
        }
        let words = Vec::new();
        let (hold, keeper) = (Some(hold), Some(keeper));
        Ok(Process { child, pidfd, stderr, words, status: None, hold, keeper })
    }

    /// Readable when [`Process::advance`] has work.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let stderr = self.stderr.as_ref().map(AsFd::as_fd);
        stderr.into_iter().chain([self.pidfd.as_fd()]).collect()
    }

    /// Takes what it said, and reaps it if it is dead: its status, from then on.
    pub(super) fn advance(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.take_words();
        self.status
    }

    /// Kills it; it is dead soon.
    pub(super) fn kill(&mut self) {
        // Only fails if it is dead already.
        let _ = self.child.kill();
    }

    /// What it has said to stderr.
    pub(super) fn words(&self) -> String {
        String::from_utf8_lossy(&self.words).trim().to_owned()
    }

    fn take_words(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        let mut chunk = [0; 4096];
        // As much as a pipe holds, and not for ever: it may be faster than we are.
        for _ in 0..16 {
            match stderr.read(&mut chunk) {
                Ok(0) => {
                    self.stderr = None;
                    return;
                }
                Ok(count) => {
                    let room = WORDS_LIMIT - self.words.len();
                    self.words.extend(&chunk[..count.min(room)]);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
        drop(self.hold.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}
