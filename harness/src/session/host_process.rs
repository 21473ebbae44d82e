// SPDX-License-Identifier: Apache-2.0 OR MIT

//! guest-init as an ordinary process on the host's kernel, without a VM (`sudbox run running`).
//! Cases that endanger a kernel or need root are `unmet` in such a process.

use super::conversation::{Conversation, Ending};
use super::running_guest::{Guest, MachineFault};
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

/// Id of the user and group `nobody`.
const NOBODY_ID: u32 = 65534;

/// Descriptor of the stream to the host in the guest-init process.
const CHILD_STREAM_FD: RawFd = 3;

/// [`CHILD_STREAM_FD`] as the argument of guest-init's `--fd`.
const CHILD_STREAM_FD_ARGUMENT: &CStr = c"3";

/// Maximum number of bytes of the process's stderr that are kept.
const STDERR_LIMIT: usize = 64 * 1024;

/// The guest-init process. Dropping it kills the process and its cases.
pub(crate) struct HostProcess {
    child: Child,
    stream: UnixStream,
    stderr_pipe: io::PipeReader,
    stderr: Vec<u8>,
    /// The error that ended the stream, if it is this machine's.
    stream_error: Option<io::Error>,
}

impl HostProcess {
    /// Starts guest-init as an ordinary user. Root privileges are dropped, because a case could
    /// damage the machine.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub(crate) fn start() -> anyhow::Result<HostProcess> {
        let start_failure = |error: io::Error| {
            Failure::machine(format!("cannot run guest-init on this machine: {error}"))
        };
        let mut program =
            memfd::create(c"guest-init", memfd::Contents::Program).map_err(start_failure)?;
        program.write_all(guest::embedded_guest_init()).map_err(start_failure)?;
        let (stream, child_stream) = UnixStream::pair().map_err(start_failure)?;
        let (stderr_pipe, stderr) = console::pipe().map_err(start_failure)?;
        let (program_fd, stream_fd) = (program.as_raw_fd(), child_stream.as_raw_fd());
        let user = ordinary_user();
        let parent = std::process::id();
        let mut command = Command::new("guest-init");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        // SAFETY: the closure runs between fork and exec and makes only system calls.
        unsafe {
            command.pre_exec(move || exec_guest_init(program_fd, stream_fd, user, parent));
        }
        let child = command.spawn().map_err(start_failure)?;
        Ok(HostProcess { child, stream, stderr_pipe, stderr: Vec::new(), stream_error: None })
    }

    /// The stderr of the process so far.
    pub(crate) fn stderr(&mut self) -> String {
        self.read_stderr();
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Checks how the conversation ended. After a crash of this machine's kernel, sudbox would not
    /// run either, so the death of the process is a fault of this machine.
    ///
    /// # Errors
    /// If the process ended before its work was done.
    pub(crate) fn end(mut self, conversation: &Conversation) -> Result<(), MachineFault> {
        match &conversation.ending {
            Ending::Finished | Ending::Stalled | Ending::Interrupted => return Ok(()),
            _ => {}
        }
        let cause = match &self.stream_error {
            Some(error) => format!("this machine cannot read from guest-init: {error}"),
            None => format!("guest-init died on this machine: {}", conversation.cause()),
        };
        Err(MachineFault(format!("{cause}; its stderr: {}", self.stderr().trim())))
    }

    /// Ends the stream after an error of this machine.
    fn end_by(&mut self, error: io::Error) -> Event {
        self.stream_error = Some(error);
        Event::Ended
    }

    fn read_stderr(&mut self) {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = self.stderr_pipe.read(&mut chunk) {
            let free_bytes = STDERR_LIMIT - self.stderr.len();
            self.stderr.extend_from_slice(&chunk[..count.min(free_bytes)]);
        }
    }
}

impl Guest for HostProcess {
    fn next_event(&mut self, deadline: Instant, interrupt: Option<BorrowedFd<'_>>) -> Event {
        let fds: Vec<_> = [self.stream.as_fd()].into_iter().chain(interrupt).collect();
        match poll::wait_readable(&fds, deadline) {
            Ok(readable) if readable.get(1) == Some(&true) => return Event::Interrupted,
            Ok(readable) if !readable[0] => return Event::DeadlinePassed,
            Ok(_) => {}
            Err(error) => return self.end_by(error),
        }
        let mut bytes = vec![0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(count @ 1..) => {
                bytes.truncate(count);
                Event::Bytes(bytes)
            }
            Ok(_) => Event::Ended,
            // The process ended before it read all of the plan.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Event::Ended,
            Err(error) => self.end_by(error),
        }
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let remaining = deadline.saturating_duration_since(Instant::now());
        self.stream.set_write_timeout(Some(remaining.max(Duration::from_millis(1))))?;
        self.stream.write_all(bytes)
    }

    fn printed_bytes(&mut self) -> u64 {
        // A process has no console. Reading the host's kernel log needs privileges, and other
        // programs write to the log.
        0
    }

    fn console_since(&mut self, _: u64) -> String {
        String::new()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // Both calls fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Executes guest-init in the child process, after fork. Returns only on error.
fn exec_guest_init(
    program: RawFd,
    stream: RawFd,
    user: Option<(u32, u32)>,
    parent: u32,
) -> io::Result<()> {
    let arguments = [
        c"guest-init".as_ptr(),
        c"--fd".as_ptr(),
        CHILD_STREAM_FD_ARGUMENT.as_ptr(),
        std::ptr::null(),
    ];
    let environment = [std::ptr::null::<libc::c_char>()];
    // SAFETY: every pointer is null, or points to a NUL-terminated string or a null-terminated array
    // that outlives the call.
    unsafe {
        if let Some((uid, gid)) = user
            && (libc::setgroups(0, std::ptr::null()) != 0
                || libc::setgid(gid) != 0
                || libc::setuid(uid) != 0)
        {
            return Err(io::Error::last_os_error());
        }
        // This call must follow the change of the user, which resets the parent-death signal.
        process::die_with_parent(parent)?;
        // dup2() below closes CHILD_STREAM_FD, so the program moves to a higher descriptor.
        let program = libc::fcntl(program, libc::F_DUPFD_CLOEXEC, CHILD_STREAM_FD + 1);
        // dup2() clears FD_CLOEXEC, unless `stream` is CHILD_STREAM_FD already.
        if program < 0
            || libc::dup2(stream, CHILD_STREAM_FD) < 0
            || libc::fcntl(CHILD_STREAM_FD, libc::F_SETFD, 0) < 0
        {
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

/// The user and group ids that guest-init gets if this process is root: the ids of the user who
/// called sudo, else those of `nobody`. `None` if this process is not root.
fn ordinary_user() -> Option<(u32, u32)> {
    // SAFETY: geteuid(2) has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let id_from_variable = |name| std::env::var(name).ok()?.parse().ok().filter(|id| *id != 0);
    Some((
        id_from_variable("SUDO_UID").unwrap_or(NOBODY_ID),
        id_from_variable("SUDO_GID").unwrap_or(NOBODY_ID),
    ))
}
