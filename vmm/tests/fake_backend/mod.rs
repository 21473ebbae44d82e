// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A backend without a VM: the guest is a function in a thread of the test, and its byte stream is a
//! unix socket pair. The backend uses only the public interface, like a backend in another crate.

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

/// A machine whose guests are threads that run one function.
pub(crate) struct FakeBackend {
    guest: fn(Guest) -> VmEnd,
}

/// The guest's ends of stream and console.
pub(crate) struct Guest {
    pub(crate) spec: VmSpec,
    pub(crate) stream: UnixStream,
    pub(crate) console: PipeWriter,
}

impl FakeBackend {
    /// Creates a machine whose guests run `guest`, which returns the VM's end.
    pub(crate) fn new(guest: fn(Guest) -> VmEnd) -> FakeBackend {
        FakeBackend { guest }
    }
}

impl Machine for FakeBackend {
    fn describe(&self, _: DeviceDiscovery) -> String {
        "thread of the test".to_owned()
    }

    fn boot(&self, spec: &VmSpec) -> Result<RunningVm, BootError> {
        let system = |source| BootError::System { action: "start the guest's thread", source };
        if spec.wait_for_gdb {
            return Err(BootError::Refused {
                backend: "the test's backend".to_owned(),
                message: "it has no gdb stub".to_owned(),
            });
        }
        let (host, stream) = UnixStream::pair().map_err(system)?;
        host.set_nonblocking(true).map_err(system)?;
        let (console, console_writer) = console::pipe().map_err(system)?;
        let (ended, running) = io::pipe().map_err(system)?;
        let (end_sender, end) = mpsc::channel();
        let (guest, spec) = (self.guest, spec.clone());
        let thread = thread::spawn(move || {
            let _ = end_sender.send(guest(Guest { spec, stream, console: console_writer }));
            drop(running);
        });
        let host_stream = host.try_clone().map_err(system)?;
        Ok(RunningVm {
            vm: Box::new(FakeVm { thread: Some(thread), host_stream, ended, end }),
            stream: Box::new(SocketStream(host)),
            console,
        })
    }
}

struct FakeVm {
    thread: Option<JoinHandle<()>>,
    /// The host's end of the stream. Its shutdown makes the guest end.
    host_stream: UnixStream,
    /// Becomes readable when the guest has ended, because the write end is then closed.
    ended: PipeReader,
    end: Receiver<VmEnd>,
}

impl Vm for FakeVm {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.ended.as_fd()]
    }

    fn handle_events(&mut self) -> Option<VmEnd> {
        self.end.try_recv().ok()
    }
}

impl Drop for FakeVm {
    fn drop(&mut self) {
        let _ = self.host_stream.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A connected socket as a stream. The guest counts as connected when it has written a byte.
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
