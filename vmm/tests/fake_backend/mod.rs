// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A backend without a VM: the guest is a function in a thread of the test, and its byte stream is
//! a unix socket pair. It uses only the public interface, like a backend in another crate.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use sudbox_vmm::console;
use sudbox_vmm::machine::{
    BootError, DeviceDiscovery, HostStream, Machine, RunningVm, Vm, VmEnd, VmSpec,
};
use sudbox_vmm::poll::{self, PollFd, PollFlags};

/// Boots [`Guest`]s.
pub(crate) struct FakeBackend {
    guest: fn(Guest) -> VmEnd,
}

/// The guest's side of the machine.
pub(crate) struct Guest {
    pub(crate) spec: VmSpec,
    pub(crate) stream: UnixStream,
    pub(crate) console: PipeWriter,
}

impl FakeBackend {
    /// A machine that runs `guest`, whose return value is how the VM ends.
    pub(crate) fn new(guest: fn(Guest) -> VmEnd) -> FakeBackend {
        FakeBackend { guest }
    }
}

impl Machine for FakeBackend {
    fn describe(&self, _: DeviceDiscovery) -> String {
        "played by the test".to_owned()
    }

    fn boot(&self, spec: &VmSpec) -> Result<RunningVm, BootError> {
        let system = |source| BootError::System { action: "start the played guest", source };
        if spec.wait_for_gdb {
            return Err(BootError::Refused {
                backend: "played".to_owned(),
                message: "it has no debugger's stub".to_owned(),
            });
        }
        let (host, stream) = UnixStream::pair().map_err(system)?;
        host.set_nonblocking(true).map_err(system)?;
        let (console, console_writer) = console::pipe().map_err(system)?;
        let (alive, alive_writer) = io::pipe().map_err(system)?;
        let (result, end) = mpsc::channel();
        let (play, spec) = (self.guest, spec.clone());
        let thread = thread::spawn(move || {
            let _ = result.send(play(Guest { spec, stream, console: console_writer }));
            drop(alive_writer);
        });
        let stop = host.try_clone().map_err(system)?;
        Ok(RunningVm {
            vm: Box::new(PlayedVm { thread: Some(thread), stop, alive, end }),
            stream: Box::new(SocketStream(host)),
            console,
        })
    }
}

struct PlayedVm {
    thread: Option<JoinHandle<()>>,
    /// The host's end of the stream, shut down to end the guest.
    stop: UnixStream,
    /// Closed at its other end once the guest has ended.
    alive: PipeReader,
    end: Receiver<VmEnd>,
}

impl Vm for PlayedVm {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.alive.as_fd()]
    }

    fn handle_events(&mut self) -> Option<VmEnd> {
        self.end.try_recv().ok()
    }
}

impl Drop for PlayedVm {
    fn drop(&mut self) {
        let _ = self.stop.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A connected socket as a stream: the guest counts as connected once it has written something.
struct SocketStream(UnixStream);

impl HostStream for SocketStream {
    fn accept(&mut self) -> io::Result<bool> {
        Ok(poll::wait_readable(&[self.0.as_fd()], Instant::now())?[0])
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    fn read_event(&self) -> PollFd<'_> {
        PollFd::new(&self.0, PollFlags::IN)
    }

    fn write_event(&self) -> PollFd<'_> {
        PollFd::new(&self.0, PollFlags::OUT)
    }
}
