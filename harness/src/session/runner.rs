// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kernel that is running right now: guest-init as an ordinary process of this machine, without
//! a VM. What endangers a kernel, or needs root, says `unmet` there.

use super::guest::Guest;
use crate::failure::Failure;
use crate::guest;
use std::ffi::CStr;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use sudbox_vmm::session::Event;
use sudbox_vmm::{console, memfd, poll, process};

/// The user that owns nothing, on every distribution.
const NOBODY: u32 = 65534;

/// Most bytes of the runner's stderr that are kept.
const WORDS: usize = 64 * 1024;

/// The guest-init process. Dropping it kills the process and its cases.
pub(crate) struct Runner {
    child: Child,
    stream: UnixStream,
    stderr: io::PipeReader,
    words: Vec<u8>,
}

impl Runner {
    /// Starts the runner as an ordinary user: root's rights are given up, as the machine is not
    /// ours.
    ///
    /// # Errors
    /// If this machine cannot run it.
    pub(crate) fn start() -> anyhow::Result<Runner> {
        let failed = |error: io::Error| {
            Failure::machine(format!("cannot run guest-init on this machine: {error}"))
        };
        let mut program = memfd::create(c"guest-init", memfd::Use::Program).map_err(failed)?;
        program.write_all(guest::program()).map_err(failed)?;
        let (stream, theirs) = UnixStream::pair().map_err(failed)?;
        let (stderr, words) = console::pipe().map_err(failed)?;
        let descriptor = c"3";
        let (program_fd, stream_fd) = (program.as_raw_fd(), theirs.as_raw_fd());
        let user = ordinary_user();
        let parent = std::process::id();
        let mut command = Command::new("guest-init");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(words);
        // SAFETY: the closure runs between fork and exec and makes only system calls.
        unsafe {
            command
                .pre_exec(move || become_runner(program_fd, stream_fd, descriptor, user, parent));
        }
        let child = command.spawn().map_err(failed)?;
        Ok(Runner { child, stream, stderr, words: Vec::new() })
    }

    /// The stderr of the runner.
    pub(crate) fn words(&mut self) -> String {
        self.take_words();
        String::from_utf8_lossy(&self.words).into_owned()
    }

    fn take_words(&mut self) {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = self.stderr.read(&mut chunk) {
            let room = WORDS - self.words.len();
            self.words.extend_from_slice(&chunk[..count.min(room)]);
        }
    }
}

impl Guest for Runner {
    fn next(&mut self, deadline: Instant, interrupt: Option<BorrowedFd<'_>>) -> Event {
        let fds: Vec<_> = [self.stream.as_fd()].into_iter().chain(interrupt).collect();
        match poll::readable(&fds, deadline).as_deref() {
            Ok([_, true]) => return Event::Interrupted,
            Ok([false, ..]) => return Event::Deadline,
            // Waiting fails only when the descriptors are beyond use.
            _ => {}
        }
        let mut bytes = vec![0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(count @ 1..) => {
                bytes.truncate(count);
                Event::Bytes(bytes)
            }
            _ => Event::Ended,
        }
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.stream.set_write_timeout(Some(left.max(Duration::from_millis(1))))?;
        self.stream.write_all(bytes)
    }

    fn printed(&mut self) -> u64 {
        // The kernel's log is not the runner's to read, and other programs write to it.
        0
    }

    fn console_since(&mut self, _: u64) -> String {
        String::new()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Both fail only if it is dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the child: takes the place of the runner. Comes back only with an error.
fn become_runner(
    program: RawFd,
    stream: RawFd,
    descriptor: &CStr,
    user: Option<(u32, u32)>,
    parent: u32,
) -> io::Result<()> {
    let arguments =
        [c"guest-init".as_ptr(), c"--fd".as_ptr(), descriptor.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null::<libc::c_char>()];
    // SAFETY: numbers, and terminated strings in terminated lists that live until the call.
    unsafe {
        if let Some((uid, gid)) = user
            && (libc::setgroups(0, std::ptr::null()) != 0
                || libc::setgid(gid) != 0
                || libc::setuid(uid) != 0)
        {
            return Err(io::Error::last_os_error());
        }
        // After the change of user, which takes it back.
        process::die_with(parent)?;
        // The program's descriptor must not be where the stream goes; it is closed on exec.
        let program = libc::fcntl(program, libc::F_DUPFD_CLOEXEC, 10);
        if program < 0 || libc::dup2(stream, 3) < 0 || libc::fcntl(3, libc::F_SETFD, 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::syscall(
            libc::SYS_execveat,
            program,
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Err(io::Error::last_os_error())
}

/// The user and group to become, for root: who called sudo, or nobody.
fn ordinary_user() -> Option<(u32, u32)> {
    // SAFETY: has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let number = |name| std::env::var(name).ok()?.parse().ok().filter(|id| *id != 0);
    Some((number("SUDO_UID").unwrap_or(NOBODY), number("SUDO_GID").unwrap_or(NOBODY)))
}
