//! A running VM, seen as events.
//!
//! A session is one `poll(2)` loop over the host's end of the vsock stream, the console, the
//! backend's own descriptors and the caller's interrupt. It runs in the caller's thread and only
//! within [`Session::next`], [`Session::send`] and [`Session::finish`].

use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::machine::{Kept, VmEnd};
use crate::poll;
use crate::vsock::device::{ConnectionId, Read};
use crate::vsock::link::Link;

/// Most bytes in one [`Event::Bytes`].
const READ_LIMIT: usize = 64 * 1024;

/// Size of the console's pipe in bytes: what the guest can print while nobody reads, before it has
/// to wait.
const CONSOLE_PIPE: libc::c_int = 1024 * 1024;

/// The least time between two [`Event::Console`]. QEMU hands over each byte by itself; its pipe
/// holds what a guest prints in this time many times over.
const CONSOLE_PAUSE: Duration = Duration::from_millis(10);

/// Something happened in the VM, or to its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest dialled the port. Only its first connection is the session's; others are reset.
    Connected,
    /// The guest wrote to the stream; at least one byte. What the kernel had printed before is in
    /// the pipe of the console by now, so that [`Session::console`] returns it.
    Bytes(Vec<u8>),
    /// The console grew; at most a hundred times a second.
    Console,
    /// The guest closed the stream, after all bytes that it wrote. Comes once.
    Disconnected,
    /// The VM is gone, after all that it wrote; [`Session::finish`] says how. Comes again and again.
    Ended,
    /// The caller's interrupt descriptor is readable.
    Interrupted,
    /// The deadline is over and nothing else than [`Event::Console`] could be reported.
    Deadline,
}

/// What a backend runs for a session. Dropping it stops the VM and leaves nothing behind.
pub(crate) trait Vm: Send {
    /// The descriptors whose readability means that [`Vm::advance`] has work.
    fn descriptors(&self) -> Vec<RawFd>;

    /// Does what can be done without waiting. Returns how the VM ended once it is gone and nothing
    /// of it runs any more.
    fn advance(&mut self) -> Option<VmEnd>;

    /// gdb's argument for `target remote`.
    fn debugger(&self) -> Option<&str>;

    /// The VM as it was when its guest dialled, or why it could not be kept; `None` if that was not
    /// asked for, has not come yet, or is nothing that the backend does.
    fn kept(&self) -> Option<Result<Kept, String>>;

    /// One line for each vCPU on what it is doing; none if that cannot be seen.
    fn whereabouts(&mut self) -> Vec<String>;
}

/// Makes the console's pipe: read without waiting, and as large as we may.
pub(crate) fn console_pipe() -> io::Result<(io::PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    poll::nonblocking(reader.as_raw_fd())?;
    // SAFETY: F_SETPIPE_SZ takes a number and touches no memory. A smaller pipe works as well.
    unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETPIPE_SZ, CONSOLE_PIPE) };
    Ok((reader, writer))
}

/// `RFLAGS.IF`: interrupts are taken.
const INTERRUPTS: u64 = 1 << 9;

/// One line on where a CPU is.
pub(crate) fn whereabouts(cpu: usize, rip: u64, rflags: u64, halted: bool) -> String {
    let doing = match (halted, rflags & INTERRUPTS) {
        (true, 0) => "halted with interrupts off",
        (true, _) => "halted",
        (false, 0) => "runs with interrupts off",
        (false, _) => "runs",
    };
    format!("CPU {cpu} {doing} at RIP={rip:016x}")
}

/// The connection of the guest that the session speaks for.
#[derive(Clone, Copy, Debug)]
enum Stream {
    /// The guest has not dialled.
    Listening {
        port: u32,
    },
    Open(ConnectionId),
    /// The guest has closed its side and [`Event::Disconnected`] was given.
    Over(ConnectionId),
}

/// The reading end of the pipe to which the backend writes the guest's console.
struct ConsolePipe {
    pipe: io::PipeReader,
    ring: Console,
    /// The total that the caller knows of.
    reported: u64,
    /// Until then nobody looks.
    pause: Instant,
    /// The other end is closed and nothing is left.
    over: bool,
}

/// A running VM. Dropping it stops the VM and leaves no process, file or thread.
pub struct Session {
    vm: Box<dyn Vm>,
    link: Arc<Link>,
    stream: Stream,
    console: ConsolePipe,
    end: Option<VmEnd>,
}

impl Session {
    /// A session with a VM that runs, whose console comes out of `console`, a non-blocking pipe,
    /// and whose vsock device is `link`, on which `port` is listened to already.
    pub(crate) fn new(
        vm: Box<dyn Vm>,
        link: Arc<Link>,
        port: u32,
        console: io::PipeReader,
    ) -> Session {
        Session {
            vm,
            link,
            stream: Stream::Listening { port },
            console: ConsolePipe {
                pipe: console,
                ring: Console::default(),
                reported: 0,
                pause: Instant::now(),
                over: false,
            },
            end: None,
        }
    }

    /// Waits for the next event. What is ready is reported even if the deadline is over, so that a
    /// caller which was itself held up takes no guest for hung; only the console, which may never
    /// be silent, gives way to the deadline.
    ///
    /// The interrupt comes first and is reported as long as its descriptor is readable.
    ///
    /// # Errors
    /// If waiting fails, which is a fault of this machine.
    pub fn next(
        &mut self,
        deadline: Instant,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> io::Result<Event> {
        let interrupt = interrupt.map(|fd| fd.as_raw_fd());
        let mut interrupted = match interrupt {
            Some(fd) => poll::readable(&[fd], Instant::now())?,
            None => false,
        };
        loop {
            if interrupted {
                return Ok(Event::Interrupted);
            }
            self.link.clear_news();
            self.advance();
            if let Some(event) = self.stream_event() {
                return Ok(event);
            }
            if self.end.is_some() {
                return Ok(Event::Ended);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Event::Deadline);
            }
            if now >= self.console.pause {
                self.console.drain();
                if self.console.ring.total() > self.console.reported {
                    self.console.reported = self.console.ring.total();
                    self.console.pause = now + CONSOLE_PAUSE;
                    return Ok(Event::Console);
                }
            }
            interrupted = self.wait(deadline, interrupt)?;
        }
    }

    /// Writes all bytes to the stream, or as many as the guest takes until the deadline.
    ///
    /// # Errors
    /// [`ErrorKind::NotConnected`] before [`Event::Connected`], [`ErrorKind::BrokenPipe`] if the
    /// guest has closed the stream or is gone, [`ErrorKind::TimedOut`] at the deadline.
    pub fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let (Stream::Open(id) | Stream::Over(id)) = self.stream else {
            return Err(ErrorKind::NotConnected.into());
        };
        let mut left = bytes;
        loop {
            self.link.clear_news();
            let written = self.link.with(|device| device.write(id, left));
            left =
                &left[written.map_err(|closed| io::Error::new(ErrorKind::BrokenPipe, closed))?..];
            if left.is_empty() {
                return Ok(());
            }
            self.advance();
            if self.end.is_some() {
                return Err(ErrorKind::BrokenPipe.into());
            }
            if Instant::now() >= deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            // A guest that waits for its console to take bytes does not read ours.
            self.console.drain();
            self.wait(deadline, None)?;
        }
    }

    /// The console, with everything that the kernel has printed until now. Text that a user program
    /// writes to the console goes through the tty and may come a little later.
    pub fn console(&mut self) -> &Console {
        self.console.drain();
        self.console.reported = self.console.ring.total();
        &self.console.ring
    }

    /// gdb's argument for `target remote`, if the VM waits for a debugger.
    #[must_use]
    pub fn debugger(&self) -> Option<&str> {
        self.vm.debugger()
    }

    /// The VM as it was when its guest dialled, or why it could not be kept. `None` if
    /// [`crate::machine::VmSpec::keep`] was not set, the guest has not dialled, or the backend keeps
    /// no VMs.
    #[must_use]
    pub fn kept(&self) -> Option<Result<Kept, String>> {
        self.vm.kept()
    }

    /// What keeps a guest of which nothing is heard any more: one line for each vCPU, and one if it
    /// does not read what was sent to it. Empty if the backend cannot see it.
    pub fn whereabouts(&mut self) -> Vec<String> {
        let mut lines = if self.end.is_none() { self.vm.whereabouts() } else { Vec::new() };
        if self.link.with(|device| device.has_packet()) {
            lines.push("the guest does not read what the host sends".to_owned());
        }
        lines
    }

    /// Waits until the VM has ended by itself, at most for `patience`, then stops it; what the
    /// guest still sends is dropped. Says how it ended; a panic counts as one also if the kernel
    /// had to be stopped after it.
    #[must_use]
    pub fn finish(mut self, patience: Duration) -> VmEnd {
        let deadline = Instant::now() + patience;
        // A guest that sends without end never lets the deadline be reported.
        while let Ok(event) = self.next(deadline, None) {
            if event == Event::Ended || Instant::now() >= deadline {
                break;
            }
        }
        let end = self.end.take().unwrap_or(VmEnd::Stopped);
        match (end, self.console().panic()) {
            (
                VmEnd::Restart | VmEnd::Stopped | VmEnd::TripleFault(_) | VmEnd::CannotGoOn { .. },
                Some(line),
            ) => VmEnd::Panic(line),
            (end, _) => end,
        }
    }

    /// Lets the backend work, and takes what the guest sent last when it is gone.
    fn advance(&mut self) {
        if self.end.is_none() {
            self.end = self.vm.advance();
            if self.end.is_some() {
                self.link.pump();
                self.console.drain();
            }
        }
    }

    /// What there is to say of the stream.
    fn stream_event(&mut self) -> Option<Event> {
        let stream = &mut self.stream;
        self.link.with(|device| match *stream {
            Stream::Listening { port } => {
                let id = device.accept(port)?;
                device.ignore(port);
                *stream = Stream::Open(id);
                Some(Event::Connected)
            }
            Stream::Open(id) => {
                let mut bytes = Vec::new();
                match device.read(id, &mut bytes, READ_LIMIT) {
                    Read::Bytes(_) => Some(Event::Bytes(bytes)),
                    Read::Empty => None,
                    Read::End => {
                        *stream = Stream::Over(id);
                        Some(Event::Disconnected)
                    }
                }
            }
            Stream::Over(_) => None,
        })
    }

    /// Waits for anything. True if it was the interrupt.
    fn wait(&self, deadline: Instant, interrupt: Option<RawFd>) -> io::Result<bool> {
        let mut descriptors = vec![interrupt.unwrap_or(-1), self.link.news()];
        descriptors.extend(self.vm.descriptors());
        let mut until = deadline;
        if Instant::now() < self.console.pause {
            until = until.min(self.console.pause);
        } else if !self.console.over {
            descriptors.push(self.console.pipe.as_raw_fd());
        }
        let ready = poll::wait(&descriptors, until)?;
        Ok(ready[0])
    }
}

impl ConsolePipe {
    /// Takes what is in the pipe now, and not what a guest that never stops adds meanwhile.
    fn drain(&mut self) {
        let mut left = poll::pending(self.pipe.as_raw_fd());
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.pipe.read(&mut chunk) {
                Ok(0) => {
                    self.over = true;
                    return;
                }
                Ok(count) => {
                    self.ring.push(&chunk[..count]);
                    left = left.saturating_sub(count);
                    if left == 0 {
                        return;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
