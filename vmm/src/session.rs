// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A session turns a running VM into a sequence of events.
//!
//! A session waits with `poll(2)` for the guest's byte stream, the console, the backend's
//! descriptors and the caller's interrupt. The session has no thread: its work is done in
//! [`Session::next`], [`Session::send`] and [`Session::finish`], which the caller calls.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::console::{Console, ConsoleReader};
use crate::machine::{
    BootError, HostStream, Machine, MarkedOperationTrace, RunningVm, Snapshot, Vm, VmEnd, VmSpec,
};
use crate::poll::{self, PollFd, PollFlags};

/// Maximum number of bytes in one [`Event::Bytes`].
const READ_BUFFER_SIZE: usize = 64 * 1024;

/// Minimum time between two events [`Event::ConsoleOutput`]. QEMU writes the console byte by byte,
/// and an event for each byte would take too much time. A guest prints far less in this interval
/// than the console's pipe holds.
const CONSOLE_REPORT_INTERVAL: Duration = Duration::from_millis(10);

/// An event of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest connected to the port. Only its first connection belongs to the session.
    Connected,
    /// The guest wrote these bytes, at least one, to the stream. [`Session::console`] has
    /// everything that the kernel printed before the guest wrote these bytes.
    Bytes(Vec<u8>),
    /// The guest printed to the console. The session reports this event at most a hundred times a
    /// second.
    ConsoleOutput,
    /// The guest closed the stream, and the session has reported all bytes that the guest wrote.
    /// The session reports this event once.
    Disconnected,
    /// The VM has ended, and the session has reported everything that the guest wrote.
    /// [`Session::finish`] returns the VM's end. Every further call of [`Session::next`] returns
    /// this event again.
    Ended,
    /// The file descriptor by which the caller interrupts is readable.
    Interrupted,
    /// The deadline has passed, and there is no other event except, perhaps,
    /// [`Event::ConsoleOutput`].
    DeadlinePassed,
}

/// State of the guest's byte stream, according to the events that the session has reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamState {
    /// The guest has not connected.
    Listening,
    /// The guest has connected.
    Open,
    /// The guest has closed its side and [`Event::Disconnected`] was reported.
    Closed,
}

/// A running VM with its stream and console. The drop of a session stops the VM and leaves no
/// process, file or thread.
pub struct Session {
    vm: Box<dyn Vm>,
    stream: Box<dyn HostStream>,
    stream_state: StreamState,
    read_buffer: Vec<u8>,
    console: ConsoleReader,
    /// Number of console bytes at the last [`Event::ConsoleOutput`].
    reported_console_bytes: u64,
    /// Earliest time of the next [`Event::ConsoleOutput`].
    next_console_report: Instant,
    end: Option<VmEnd>,
}

impl Session {
    /// Boots a VM.
    ///
    /// # Errors
    /// [`BootError`] if the VM could not be started.
    pub fn boot(machine: &dyn Machine, spec: &VmSpec) -> Result<Session, BootError> {
        machine.boot(spec).map(Session::new)
    }

    /// Starts a VM from a snapshot.
    ///
    /// # Errors
    /// [`BootError`] if the VM could not be started.
    pub fn resume(snapshot: &Snapshot) -> Result<Session, BootError> {
        snapshot.resume().map(Session::new)
    }

    /// Creates a session for a VM that a backend has started.
    #[must_use]
    pub fn new(running: RunningVm) -> Session {
        Session {
            vm: running.vm,
            stream: running.stream,
            stream_state: StreamState::Listening,
            read_buffer: vec![0; READ_BUFFER_SIZE],
            console: ConsoleReader::new(running.console),
            reported_console_bytes: 0,
            next_console_report: Instant::now(),
            end: None,
        }
    }

    /// Waits for the next event. An event that is ready is returned even if the deadline has
    /// passed, so that a delayed caller does not consider the guest hung. [`Event::ConsoleOutput`]
    /// is the exception, because a guest may print without end: after the deadline,
    /// [`Event::DeadlinePassed`] is returned instead.
    ///
    /// The interrupt has precedence: every call returns [`Event::Interrupted`] as long as the
    /// interrupt's descriptor is readable.
    ///
    /// # Errors
    /// If waiting fails, which is a fault of this machine.
    pub fn next(
        &mut self,
        deadline: Instant,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> io::Result<Event> {
        let mut is_interrupted = match interrupt {
            Some(fd) => poll::wait_readable(&[fd], Instant::now())?[0],
            None => false,
        };
        loop {
            if is_interrupted {
                return Ok(Event::Interrupted);
            }
            self.handle_events();
            if let Some(event) = self.stream_event()? {
                return Ok(event);
            }
            if self.end.is_some() {
                return Ok(Event::Ended);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Event::DeadlinePassed);
            }
            if now >= self.next_console_report {
                self.console.drain();
                let console_bytes = self.console.console().total_bytes();
                if console_bytes > self.reported_console_bytes {
                    self.reported_console_bytes = console_bytes;
                    self.next_console_report = now + CONSOLE_REPORT_INTERVAL;
                    return Ok(Event::ConsoleOutput);
                }
            }
            let stream_event =
                (self.stream_state != StreamState::Closed).then(|| self.stream.read_event());
            is_interrupted = self.wait(stream_event, deadline, interrupt)?;
        }
    }

    /// Writes bytes to the stream. Waits for room in the guest's buffer, but not beyond the
    /// deadline.
    ///
    /// # Errors
    /// [`ErrorKind::NotConnected`] before [`Event::Connected`], [`ErrorKind::BrokenPipe`] if the
    /// guest has closed the stream or is gone, [`ErrorKind::TimedOut`] at the deadline.
    pub fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        if self.stream_state == StreamState::Listening {
            return Err(ErrorKind::NotConnected.into());
        }
        let mut unsent_bytes = bytes;
        while !unsent_bytes.is_empty() {
            match self.stream.write(unsent_bytes) {
                Ok(count) => {
                    unsent_bytes = &unsent_bytes[count..];
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.handle_events();
            if self.end.is_some() {
                return Err(ErrorKind::BrokenPipe.into());
            }
            if Instant::now() >= deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            // Read the console too, because a guest that waits for room in its console does not
            // read the stream.
            self.console.drain();
            self.wait(Some(self.stream.write_event()), deadline, None)?;
        }
        Ok(())
    }

    /// Returns the console with everything that the kernel has printed so far. Output of user
    /// programs passes through the tty layer and may arrive later.
    pub fn console(&mut self) -> &Console {
        self.console.drain();
        self.reported_console_bytes = self.console.console().total_bytes();
        self.console.console()
    }

    /// Returns the argument of gdb's command `target remote`; `None` if the VM has no gdb stub.
    #[must_use]
    pub fn gdb_target(&self) -> Option<&str> {
        self.vm.gdb_target()
    }

    /// Returns the snapshot requested by [`VmSpec::take_snapshot`], or the reason why it could not
    /// be taken. `None` if no snapshot was requested, the guest has not connected, or the backend
    /// has no snapshots.
    #[must_use]
    pub fn snapshot(&self) -> Option<Result<Snapshot, String>> {
        self.vm.snapshot()
    }

    /// Returns the traces requested by [`VmSpec::trace_marked_operations`] so far.
    ///
    /// # Errors
    /// The reason why the backend could not trace.
    pub fn marked_operation_traces(&self) -> Result<Vec<MarkedOperationTrace>, String> {
        self.vm.marked_operation_traces()
    }

    /// Describes an unresponsive guest: one line for each vCPU, and one line if the guest does not
    /// read the stream. Returns no lines if the backend cannot tell. The backend may stop the vCPUs
    /// to read their state, so the caller must call [`Session::finish`] afterwards.
    pub fn diagnose(&mut self) -> Vec<String> {
        let mut lines =
            if self.end.is_none() { self.vm.describe_vcpus_before_end() } else { Vec::new() };
        if self.stream.has_unread_bytes() {
            lines.push("the guest does not read what the host sends".to_owned());
        }
        lines
    }

    /// Waits until the VM has ended by itself, but no longer than `time_limit`. Then stops the VM,
    /// if the VM still runs, and returns the VM's end. Ignores bytes that the guest still sends. If
    /// the kernel panicked, returns the panic even if the session had to stop the VM. Returns
    /// [`VmEnd::Failed`] if this machine could not wait for the VM.
    #[must_use]
    pub fn finish(mut self, time_limit: Duration) -> VmEnd {
        let deadline = Instant::now() + time_limit;
        let end_without_vm_end = loop {
            match self.next(deadline, None) {
                Ok(Event::Ended) => break VmEnd::Stopped,
                // The deadline is also checked here, because `next` reports bytes before the
                // deadline.
                Ok(_) if Instant::now() < deadline => {}
                Ok(_) => break VmEnd::Stopped,
                Err(error) => break VmEnd::Failed(wait_failure(&error)),
            }
        };
        let end = self.end.take().unwrap_or(end_without_vm_end);
        match (end, self.console().panic_message()) {
            (
                VmEnd::Restart | VmEnd::Stopped | VmEnd::TripleFault(_) | VmEnd::VcpuError { .. },
                Some(message),
            ) => VmEnd::Panic(message),
            (end, _) => end,
        }
    }

    /// Lets the backend handle its events. After the VM's end, fetches the last bytes and console
    /// output.
    fn handle_events(&mut self) {
        if self.end.is_none() {
            self.end = self.vm.handle_events();
            if self.end.is_some() {
                self.stream.drain();
                self.console.drain();
            }
        }
    }

    /// Returns the next event of the stream, if there is one now.
    fn stream_event(&mut self) -> io::Result<Option<Event>> {
        match self.stream_state {
            StreamState::Listening => {
                let has_connected = self.stream.accept()?;
                if has_connected {
                    self.stream_state = StreamState::Open;
                }
                Ok(has_connected.then_some(Event::Connected))
            }
            StreamState::Open => loop {
                return match self.stream.read(&mut self.read_buffer) {
                    Ok(0) => {
                        self.stream_state = StreamState::Closed;
                        Ok(Some(Event::Disconnected))
                    }
                    Ok(count) => Ok(Some(Event::Bytes(self.read_buffer[..count].to_vec()))),
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                    Err(error) => Err(error),
                };
            },
            StreamState::Closed => Ok(None),
        }
    }

    /// Waits until `stream_event`, the backend, the console or the interrupt has an event, or until
    /// the deadline. Returns true if the interrupt's descriptor is readable.
    fn wait(
        &self,
        stream_event: Option<PollFd<'_>>,
        deadline: Instant,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> io::Result<bool> {
        let input_event = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<PollFd<'_>> = interrupt.map(input_event).into_iter().collect();
        fds.extend(stream_event);
        fds.extend(self.vm.descriptors().into_iter().map(input_event));
        let mut wake_time = deadline;
        if Instant::now() < self.next_console_report {
            wake_time = wake_time.min(self.next_console_report);
        } else if !self.console.is_closed() {
            fds.push(input_event(self.console.as_fd()));
        }
        poll::wait(&mut fds, wake_time)?;
        Ok(interrupt.is_some() && !fds[0].revents().is_empty())
    }
}

/// Describes an error of [`Session::next`].
#[must_use]
pub fn wait_failure(error: &io::Error) -> String {
    format!("the host cannot wait for the VM: {error}")
}

#[cfg(test)]
mod tests;
