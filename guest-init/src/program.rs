// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs a program instead of cases, and transfers its standard streams over the connection to the host.

use crate::conversation::{ConversationError, receive};
use crate::{mounts, sys};
use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use sudbox_protocol::{FrameReader, GuestMessage, HostMessage, Program, ProgramEnd};

/// Maximum number of bytes in one [`GuestMessage::Output`].
const MAX_OUTPUT_LENGTH: usize = 32 * 1024;

/// Runs the program and reports how it ended. Processes that the program leaves behind are not killed; they
/// end with the VM.
///
/// # Errors
/// [`ConversationError`] if the connection or the host fails.
pub(crate) fn run<S: Read + Write + AsFd>(
    stream: &mut S,
    frames: &mut FrameReader,
    program: &Program,
) -> Result<(), ConversationError> {
    if sys::getpid() == 1 {
        mounts::mount_for_programs();
    }
    let end = match start_program(program) {
        Ok(child) => RunningProgram::new(child)
            .map_err(ConversationError::Stream)?
            .transfer_streams(stream, frames)?,
        Err(error) => ProgramEnd::NotStarted(error.to_string()),
    };
    stream.write_all(&GuestMessage::ProgramEnded(end).to_frame())?;
    loop {
        match receive(stream, frames)? {
            HostMessage::Acknowledge => return Ok(()),
            // The host sent this input before it received `ProgramEnded`.
            HostMessage::Stdin(_) => {}
            other => {
                return Err(ConversationError::Protocol(format!(
                    "{other:?} after the program's end"
                )));
            }
        }
    }
}

/// Starts the program, its standard streams connected to pipes.
fn start_program(program: &Program) -> std::io::Result<Child> {
    let os_str = |bytes| OsStr::from_bytes(bytes);
    let mut command = Command::new(os_str(&program.path));
    if let Some((name, arguments)) = program.arguments.split_first() {
        command.arg0(os_str(name)).args(arguments.iter().map(|argument| os_str(argument)));
    }
    command
        .env_clear()
        .envs(program.environment.iter().map(|(name, value)| (os_str(name), os_str(value))))
        .current_dir(os_str(&program.directory))
        // Its own process group, so that a signal that the program sends to its group does not reach
        // the runner.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Stdout or stderr of the program.
struct Output {
    /// `None` after end of file.
    pipe: Option<OwnedFd>,
    is_stderr: bool,
}

/// The running program and the ends of its standard streams.
struct RunningProgram {
    pid: i32,
    /// The program's stdin; `None` once it is closed.
    stdin: Option<ChildStdin>,
    /// Input from the host that is not yet written to `stdin`.
    unwritten_input: Vec<u8>,
    outputs: [Output; 2],
    /// A signalfd(2) for SIGCHLD.
    sigchld: OwnedFd,
}

impl RunningProgram {
    fn new(mut child: Child) -> std::io::Result<RunningProgram> {
        let output = |pipe: Option<OwnedFd>, is_stderr| Output { pipe, is_stderr };
        let outputs = [
            output(child.stdout.take().map(Into::into), false),
            output(child.stderr.take().map(Into::into), true),
        ];
        let stdin = child.stdin.take();
        let output_fds =
            outputs.iter().filter_map(|output| output.pipe.as_ref()).map(AsRawFd::as_raw_fd);
        for fd in output_fds.chain(stdin.as_ref().map(AsRawFd::as_raw_fd)) {
            // SAFETY: sets a flag of a descriptor that we own.
            if unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        // `runner::prepare` has blocked SIGCHLD.
        // SAFETY: the set is initialised, and `OwnedFd` becomes the owner of the new descriptor.
        let sigchld = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&raw mut set, libc::SIGCHLD);
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            if fd < 0 {
                return Err(std::io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let pid = i32::try_from(child.id()).unwrap_or(-1);
        Ok(RunningProgram { pid, stdin, unwritten_input: Vec::new(), outputs, sigchld })
    }

    /// Transfers the standard streams until the program has ended.
    fn transfer_streams<S: Read + Write + AsFd>(
        mut self,
        stream: &mut S,
        frames: &mut FrameReader,
    ) -> Result<ProgramEnd, ConversationError> {
        stream.write_all(&GuestMessage::StdinWanted.to_frame())?;
        loop {
            let [host_wrote, child_died] = self.wait(stream.as_fd().as_raw_fd())?;
            self.send_output(stream)?;
            if child_died && let Some(end) = self.reap() {
                // Output may have arrived between the read above and the program's end.
                self.send_output(stream)?;
                return Ok(end);
            }
            if host_wrote {
                match receive(stream, frames)? {
                    HostMessage::Stdin(bytes) if bytes.is_empty() => self.stdin = None,
                    HostMessage::Stdin(bytes) => self.unwritten_input = bytes,
                    other => {
                        return Err(ConversationError::Protocol(format!(
                            "{other:?} while a program runs"
                        )));
                    }
                }
            }
            if self.write_stdin() {
                stream.write_all(&GuestMessage::StdinWanted.to_frame())?;
            }
        }
    }

    /// Waits for the host, a child or a pipe (`poll(2)`). Returns whether the host has sent data, and whether
    /// a child has ended.
    fn wait(&self, stream: RawFd) -> Result<[bool; 2], ConversationError> {
        let poll = |fd, events| libc::pollfd { fd, events, revents: 0 };
        // poll(2) ignores the descriptor -1.
        let output_fd = |output: &Output| output.pipe.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let stdin_to_write = self.stdin.as_ref().filter(|_| !self.unwritten_input.is_empty());
        let mut fds = [
            poll(stream, libc::POLLIN),
            poll(self.sigchld.as_raw_fd(), libc::POLLIN),
            poll(output_fd(&self.outputs[0]), libc::POLLIN),
            poll(output_fd(&self.outputs[1]), libc::POLLIN),
            poll(stdin_to_write.map_or(-1, AsRawFd::as_raw_fd), libc::POLLOUT),
        ];
        // SAFETY: the array has five entries.
        while unsafe { libc::poll(fds.as_mut_ptr(), 5, -1) } < 0 {
            let error = std::io::Error::last_os_error();
            if error.kind() != ErrorKind::Interrupted {
                return Err(error.into());
            }
        }
        Ok([fds[0].revents != 0, fds[1].revents != 0])
    }

    /// Sends all available output to the host.
    fn send_output<S: Write>(&mut self, stream: &mut S) -> Result<(), ConversationError> {
        let mut buffer = vec![0; MAX_OUTPUT_LENGTH];
        for output in &mut self.outputs {
            while let Some(pipe) = &output.pipe {
                // SAFETY: writes at most the length of the buffer.
                let count = unsafe {
                    libc::read(pipe.as_raw_fd(), buffer.as_mut_ptr().cast(), MAX_OUTPUT_LENGTH)
                };
                match usize::try_from(count) {
                    Ok(0) => output.pipe = None,
                    Ok(count) => {
                        let bytes = buffer[..count].to_vec();
                        let message = GuestMessage::Output { is_stderr: output.is_stderr, bytes };
                        stream.write_all(&message.to_frame())?;
                    }
                    // Nothing to read now; poll(2) reports the next output.
                    Err(_) => break,
                }
            }
        }
        Ok(())
    }

    /// Writes pending input to the program's stdin. Returns whether all of it is now written.
    fn write_stdin(&mut self) -> bool {
        if self.unwritten_input.is_empty() {
            return false;
        }
        let Some(stdin) = &mut self.stdin else {
            self.unwritten_input.clear();
            return false;
        };
        match stdin.write(&self.unwritten_input) {
            Ok(count) => {
                self.unwritten_input.drain(..count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The program has closed its stdin.
            Err(_) => {
                self.stdin = None;
                self.unwritten_input.clear();
                return false;
            }
        }
        self.unwritten_input.is_empty()
    }

    /// Reaps dead children. Returns the program's end if it is among them.
    fn reap(&self) -> Option<ProgramEnd> {
        let mut siginfo = [0u8; 128];
        // One SIGCHLD can report the ends of several children, so wait4(2) finds them, not the siginfo.
        // SAFETY: writes at most 128 bytes, the size of `struct signalfd_siginfo`.
        unsafe { libc::read(self.sigchld.as_raw_fd(), siginfo.as_mut_ptr().cast(), siginfo.len()) };
        let mut end = None;
        while let Ok(Some((pid, change))) = sys::wait(-1, libc::WNOHANG) {
            if pid == self.pid {
                end = match change {
                    sys::WaitStatus::Exited(code) => {
                        Some(ProgramEnd::Exited(u8::try_from(code).unwrap_or(u8::MAX)))
                    }
                    sys::WaitStatus::Killed { signal, .. } => {
                        Some(ProgramEnd::Killed(u8::try_from(signal).unwrap_or(u8::MAX)))
                    }
                    sys::WaitStatus::Stopped(_) => None,
                };
            }
        }
        end
    }
}
