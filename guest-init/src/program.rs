// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs a program in place of cases: its streams go over the conversation, its end is the last
//! word.

use crate::conversation::{ConversationError, receive};
use crate::{mounts, sys};
use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use sudbox_protocol::{FrameReader, GuestMessage, HostMessage, Program, ProgramEnd};

/// Most bytes of one [`GuestMessage::Output`].
const PIECE: usize = 32 * 1024;

/// Runs the program and says how it ended. What of it is left then goes with the machine.
///
/// # Errors
/// [`ConversationError`] as soon as the other side fails.
pub(crate) fn run<S: Read + Write + AsFd>(
    stream: &mut S,
    frames: &mut FrameReader,
    program: &Program,
) -> Result<(), ConversationError> {
    if sys::getpid() == 1 {
        mounts::mount_for_programs();
    }
    let end = match start(program) {
        Ok(child) => {
            Running::new(child).map_err(ConversationError::Stream)?.serve(stream, frames)?
        }
        Err(error) => ProgramEnd::NotStarted(error.to_string()),
    };
    stream.write_all(&GuestMessage::Over(end).to_frame())?;
    loop {
        match receive(stream, frames)? {
            HostMessage::Acknowledge => return Ok(()),
            // Nobody takes it any more.
            HostMessage::Input(_) => {}
            other => {
                return Err(ConversationError::Protocol(format!(
                    "{other:?} after the program's end"
                )));
            }
        }
    }
}

fn start(program: &Program) -> std::io::Result<Child> {
    let text = |bytes| OsStr::from_bytes(bytes);
    let mut command = Command::new(text(&program.path));
    if let Some((name, arguments)) = program.arguments.split_first() {
        command.arg0(text(name)).args(arguments.iter().map(|argument| text(argument)));
    }
    command
        .env_clear()
        .envs(program.environment.iter().map(|(name, value)| (text(name), text(value))))
        .current_dir(text(&program.directory))
        // A signal to its whole group is not for the runner.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// One of the program's outputs.
struct Output {
    /// `None` once it is closed.
    pipe: Option<OwnedFd>,
    error: bool,
}

struct Running {
    pid: i32,
    /// Where the program reads; `None` once it was closed.
    input: Option<ChildStdin>,
    /// What it has not read yet.
    unread: Vec<u8>,
    outputs: [Output; 2],
    /// Readable when a child died.
    deaths: OwnedFd,
}

impl Running {
    fn new(mut child: Child) -> std::io::Result<Running> {
        let output = |pipe: Option<OwnedFd>, error| Output { pipe, error };
        let outputs = [
            output(child.stdout.take().map(Into::into), false),
            output(child.stderr.take().map(Into::into), true),
        ];
        let input = child.stdin.take();
        let ours = outputs.iter().filter_map(|output| output.pipe.as_ref()).map(AsRawFd::as_raw_fd);
        for fd in ours.chain(input.as_ref().map(AsRawFd::as_raw_fd)) {
            // SAFETY: a flag of our end of a pipe.
            if unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        // SAFETY: reads the set, 8 bytes; the descriptor is new and becomes the owner's. The
        // runner blocks the signal since it was prepared.
        let deaths = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&raw mut set, libc::SIGCHLD);
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
            if fd < 0 {
                return Err(std::io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let pid = i32::try_from(child.id()).unwrap_or(-1);
        Ok(Running { pid, input, unread: Vec::new(), outputs, deaths })
    }

    /// Carries the streams until the program has ended.
    fn serve<S: Read + Write + AsFd>(
        mut self,
        stream: &mut S,
        frames: &mut FrameReader,
    ) -> Result<ProgramEnd, ConversationError> {
        stream.write_all(&GuestMessage::Hungry.to_frame())?;
        loop {
            let [asked, died] = self.wait(stream.as_fd().as_raw_fd())?;
            self.carry_output(stream)?;
            if died && let Some(end) = self.reap() {
                // What it wrote last came before its end.
                self.carry_output(stream)?;
                return Ok(end);
            }
            if asked {
                match receive(stream, frames)? {
                    HostMessage::Input(bytes) if bytes.is_empty() => self.input = None,
                    HostMessage::Input(bytes) => self.unread = bytes,
                    other => {
                        return Err(ConversationError::Protocol(format!(
                            "{other:?} while a program runs"
                        )));
                    }
                }
            }
            if self.feed() {
                stream.write_all(&GuestMessage::Hungry.to_frame())?;
            }
        }
    }

    /// Waits for anything to do: says whether the host wrote, and whether a child died.
    fn wait(&self, stream: RawFd) -> Result<[bool; 2], ConversationError> {
        let poll = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let open = |output: &Output| output.pipe.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let full = self.input.as_ref().filter(|_| !self.unread.is_empty());
        let mut fds = [
            poll(stream, libc::POLLIN),
            poll(self.deaths.as_raw_fd(), libc::POLLIN),
            poll(open(&self.outputs[0]), libc::POLLIN),
            poll(open(&self.outputs[1]), libc::POLLIN),
            poll(full.map_or(-1, AsRawFd::as_raw_fd), libc::POLLOUT),
        ];
        // SAFETY: five entries, as said.
        while unsafe { libc::poll(fds.as_mut_ptr(), 5, -1) } < 0 {
            let error = std::io::Error::last_os_error();
            if error.kind() != ErrorKind::Interrupted {
                return Err(error.into());
            }
        }
        Ok([fds[0].revents != 0, fds[1].revents != 0])
    }

    /// Sends all that is there to be read of the outputs.
    fn carry_output<S: Write>(&mut self, stream: &mut S) -> Result<(), ConversationError> {
        let mut piece = vec![0; PIECE];
        for output in &mut self.outputs {
            while let Some(pipe) = &output.pipe {
                // SAFETY: writes as many bytes as there is room for.
                let count =
                    unsafe { libc::read(pipe.as_raw_fd(), piece.as_mut_ptr().cast(), PIECE) };
                match usize::try_from(count) {
                    Ok(0) => output.pipe = None,
                    Ok(count) => {
                        let bytes = piece[..count].to_vec();
                        let message = GuestMessage::Output { error: output.error, bytes };
                        stream.write_all(&message.to_frame())?;
                    }
                    // Nothing there now; poll tells when that changes.
                    Err(_) => break,
                }
            }
        }
        Ok(())
    }

    /// Hands on what is unread. True once the program has taken the last of it.
    fn feed(&mut self) -> bool {
        if self.unread.is_empty() {
            return false;
        }
        let Some(input) = &mut self.input else {
            self.unread.clear();
            return false;
        };
        match input.write(&self.unread) {
            Ok(count) => {
                self.unread.drain(..count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // It reads no more.
            Err(_) => {
                self.input = None;
                self.unread.clear();
                return false;
            }
        }
        self.unread.is_empty()
    }

    /// Reaps whoever died; how the program did, if it was among them.
    fn reap(&self) -> Option<ProgramEnd> {
        let mut told = [0u8; 128];
        // SAFETY: writes as many bytes as there is room for: `struct signalfd_siginfo`. How many
        // children died, it does not say.
        unsafe { libc::read(self.deaths.as_raw_fd(), told.as_mut_ptr().cast(), told.len()) };
        let mut end = None;
        while let Ok(Some((pid, change))) = sys::wait(-1, libc::WNOHANG) {
            if pid == self.pid {
                end = match change {
                    sys::Change::Exited(code) => {
                        Some(ProgramEnd::Exited(u8::try_from(code).unwrap_or(u8::MAX)))
                    }
                    sys::Change::Killed { signal, .. } => {
                        Some(ProgramEnd::Killed(u8::try_from(signal).unwrap_or(u8::MAX)))
                    }
                    sys::Change::Stopped(_) => None,
                };
            }
        }
        end
    }
}
