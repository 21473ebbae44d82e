// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A session: a running VM as a sequence of events.
//!
//! A session waits with `poll(2)` for the guest's byte stream, the console, the backend's descriptors and
//! the caller's interrupt. It runs only in the caller's thread, within [`Session::next`],
//! [`Session::send`] and [`Session::finish`].

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::console::{Console, ConsoleReader};
use crate::machine::{BootError, HostStream, Machine, RunningVm, Snapshot, Vm, VmEnd, VmSpec};
use crate::poll::{self, PollFd, PollFlags};

/// Maximum number of bytes in an [`Event::Bytes`].
const READ_LIMIT: usize = 64 * 1024;

/// Minimum time between two [`Event::Console`], because QEMU writes the console byte by byte. The console's
/// pipe has room for far more than a guest prints in this time.
const CONSOLE_INTERVAL: Duration = Duration::from_millis(10);

/// An event of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest connected to the port. Only its first connection belongs to the session.
    Connected,
    /// The guest wrote these bytes to the stream, at least one. [`Session::console`] has everything that
    /// the kernel printed before.
    Bytes(Vec<u8>),
    /// The console grew. Reported at most a hundred times a second.
    Console,
    /// The guest closed the stream; all bytes that it wrote were reported. Reported once.
    Disconnected,
    /// The VM has ended, and everything that it wrote was reported. [`Session::finish`] returns how it
    /// ended. Reported at every further call.
    Ended,
    /// The caller's interrupt descriptor is readable.
    Interrupted,
    /// The deadline has passed, and there is no other event except, perhaps, [`Event::Console`].
    Deadline,
}

/// State of the guest's byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamState {
    /// The guest has not connected.
    Listening,
    /// The guest has connected.
    Open,
    /// The guest has closed its side and [`Event::Disconnected`] was reported.
    Closed,
}

/// A running VM. Dropping it stops the VM and leaves no process, file or thread.
pub struct Session {
    vm: Box<dyn Vm>,
    stream: Box<dyn HostStream>,
    state: StreamState,
    read_buffer: Vec<u8>,
    console: ConsoleReader,
    /// Number of console bytes at the last [`Event::Console`].
    reported: u64,
    /// Earliest time of the next [`Event::Console`].
    next_console: Instant,
    end: Option<VmEnd>,
}

impl Session {
    /// Boots a VM.
    ///
    /// # Errors
    /// [`BootError`] if it could not be started.
    pub fn boot(machine: &dyn Machine, spec: &VmSpec) -> Result<Session, BootError> {
        machine.boot(spec).map(Session::new)
    }

    /// Starts a VM from a snapshot.
    ///
    /// # Errors
    /// [`BootError`] if it could not be started.
    pub fn resume(snapshot: &Snapshot) -> Result<Session, BootError> {
        snapshot.resume().map(Session::new)
    }

    /// Creates a session for a VM that a backend has started.
    #[must_use]
    pub fn new(running: RunningVm) -> Session {
        Session {
            vm: running.vm,
            stream: running.stream,
            state: StreamState::Listening,
            read_buffer: vec![0; READ_LIMIT],
            console: ConsoleReader::new(running.console),
            reported: 0,
            next_console: Instant::now(),
            end: None,
        }
    }

    /// Waits for the next event. Events that are ready are reported even if the deadline has passed, so
    /// that a delayed caller does not take the guest for hung. Only [`Event::Console`] yields to the
    /// deadline, because a guest may print without end.
    ///
    /// The interrupt is checked first, and reported as long as its descriptor is readable.
    ///
    /// # Errors
    /// If waiting fails, which is a fault of this machine.
    pub fn next(
        &mut self,
        deadline: Instant,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> io::Result<Event> {
        let mut interrupted = match interrupt {
            Some(fd) => poll::readable(&[fd], Instant::now())?[0],
            None => false,
        };
        loop {
            if interrupted {
                return Ok(Event::Interrupted);
            }
            self.advance();
            if let Some(event) = self.stream_event()? {
                return Ok(event);
            }
            if self.end.is_some() {
                return Ok(Event::Ended);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Event::Deadline);
            }
            if now >= self.next_console {
                self.console.drain();
                let total = self.console.ring().total();
                if total > self.reported {
                    self.reported = total;
                    self.next_console = now + CONSOLE_INTERVAL;
                    return Ok(Event::Console);
                }
            }
            let stream = (self.state != StreamState::Closed).then(|| self.stream.readable());
            interrupted = self.wait(stream, deadline, interrupt)?;
        }
    }

    /// Writes bytes to the stream, and waits until the deadline for the guest to take them.
    ///
    /// # Errors
    /// [`ErrorKind::NotConnected`] before [`Event::Connected`], [`ErrorKind::BrokenPipe`] if the
    /// guest has closed the stream or is gone, [`ErrorKind::TimedOut`] at the deadline.
    pub fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        if self.state == StreamState::Listening {
            return Err(ErrorKind::NotConnected.into());
        }
        let mut left = bytes;
        while !left.is_empty() {
            match self.stream.write(left) {
                Ok(count) => {
                    left = &left[count..];
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
            self.advance();
            if self.end.is_some() {
                return Err(ErrorKind::BrokenPipe.into());
            }
            if Instant::now() >= deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            // Read the console meanwhile: a guest that waits for its console does not read the stream.
            self.console.drain();
            self.wait(Some(self.stream.writable()), deadline, None)?;
        }
        Ok(())
    }

    /// Returns the console with everything that the kernel has printed so far. Output of user programs
    /// passes through the tty layer and may arrive later.
    pub fn console(&mut self) -> &Console {
        self.console.drain();
        self.reported = self.console.ring().total();
        self.console.ring()
    }

    /// Returns gdb's argument for `target remote`, if the VM waits for a debugger.
    #[must_use]
    pub fn debugger(&self) -> Option<&str> {
        self.vm.debugger()
    }

    /// Returns the snapshot requested by [`VmSpec::snapshot`], or why it could not be taken. `None` if
    /// none was requested, the guest has not connected, or the backend has no snapshots.
    #[must_use]
    pub fn snapshot(&self) -> Option<Result<Snapshot, String>> {
        self.vm.snapshot()
    }

    /// Describes an unresponsive guest: one line for each vCPU, and one if the guest does not read the
    /// stream. Empty if the backend cannot tell.
    pub fn diagnose(&mut self) -> Vec<String> {
        let mut lines = if self.end.is_none() { self.vm.vcpu_states() } else { Vec::new() };
        if self.stream.has_unread() {
            lines.push("the guest does not read what the host sends".to_owned());
        }
        lines
    }

    /// Waits until the VM has ended by itself, at most for `patience`, then stops it and returns how
    /// it ended. Bytes that the guest still sends are dropped. A panic is reported as the end even
    /// if the VM had to be stopped afterwards.
    #[must_use]
    pub fn finish(mut self, patience: Duration) -> VmEnd {
        let deadline = Instant::now() + patience;
        // Also checked here: a guest that never stops sending keeps `next` from its deadline.
        while let Ok(event) = self.next(deadline, None) {
            if event == Event::Ended || Instant::now() >= deadline {
                break;
            }
        }
        let end = self.end.take().unwrap_or(VmEnd::Stopped);
        match (end, self.console().panic()) {
            (
                VmEnd::Restart | VmEnd::Stopped | VmEnd::TripleFault(_) | VmEnd::VcpuError { .. },
                Some(line),
            ) => VmEnd::Panic(line),
            (end, _) => end,
        }
    }

    /// Lets the backend handle its events. After the VM's end, fetches the last bytes and console output.
    fn advance(&mut self) {
        if self.end.is_none() {
            self.end = self.vm.advance();
            if self.end.is_some() {
                self.stream.drain();
                self.console.drain();
            }
        }
    }

    /// Returns the next event of the stream.
    fn stream_event(&mut self) -> io::Result<Option<Event>> {
        match self.state {
            StreamState::Listening => {
                let connected = self.stream.accept()?;
                if connected {
                    self.state = StreamState::Open;
                }
                Ok(connected.then_some(Event::Connected))
            }
            StreamState::Open => loop {
                return match self.stream.read(&mut self.read_buffer) {
                    Ok(0) => {
                        self.state = StreamState::Closed;
                        Ok(Some(Event::Disconnected))
                    }
                    Ok(count) => Ok(Some(Event::Bytes(self.read_buffer[..count].to_vec()))),
                    Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
                    Err(e) => Err(e),
                };
            },
            StreamState::Closed => Ok(None),
        }
    }

    /// Waits for the stream's event, the backend, the console or the interrupt. Returns true if the
    /// interrupt is readable.
    fn wait(
        &self,
        stream: Option<PollFd<'_>>,
        deadline: Instant,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> io::Result<bool> {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<PollFd<'_>> = interrupt.map(readable).into_iter().collect();
        fds.extend(stream);
        fds.extend(self.vm.descriptors().into_iter().map(readable));
        let mut until = deadline;
        if Instant::now() < self.next_console {
            until = until.min(self.next_console);
        } else if !self.console.is_closed() {
            fds.push(readable(self.console.as_fd()));
        }
        poll::wait(&mut fds, until)?;
        Ok(interrupt.is_some() && !fds[0].revents().is_empty())
    }
}

#[cfg(test)]
mod tests;
