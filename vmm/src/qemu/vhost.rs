// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The vhost-user back end: QEMU's vsock device, served by threads of this process.
//!
//! QEMU shares guest memory and passes two eventfds for each queue: the kick descriptor, by which
//! the guest's notification wakes the worker thread of vhost-user-backend, and the call descriptor,
//! which interrupts the guest.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use rustix::io::FdFlags;

use vhost::vhost_user::Listener;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{
    Error, ShutdownHandle, VhostUserBackend, VhostUserDaemon, VringMutex, VringT,
};
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use virtio_queue::QueueT;
use vm_memory::{
    GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::poll::borrow_eventfd;
use crate::vsock::device::Device;
use crate::vsock::packet::GUEST_CID;
use crate::vsock::queue::TX;
use crate::vsock::shared_device::{GuestQueues, QueueStep, SharedDevice};

/// Number of queues that the back end serves. QEMU keeps the event queue itself
/// (`vhost-vsock-common.c`).
const QUEUE_COUNT: usize = 2;

/// Maximum size of a queue in descriptors that QEMU's virtio-mmio allows the guest
/// (`VIRTQUEUE_MAX_SIZE`), regardless of the device.
const MAX_QUEUE_SIZE: usize = 1024;

/// The event number of [`VhostDevice::wake_evt`]. vhost-user-backend uses the numbers up to
/// [`QUEUE_COUNT`].
const WAKE_EVENT: u16 = 3;

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;
type Vring = VringMutex<Memory>;

/// The device, shared by the threads of vhost-user-backend.
struct VhostDevice {
    shared_device: Arc<SharedDevice>,
    memory: Memory,
    /// Wakes the worker to continue or to end.
    wake_evt: Arc<EventFd>,
    is_stopping: AtomicBool,
    failure: Arc<Failure>,
}

impl VhostDevice {
    fn new(shared_device: Arc<SharedDevice>, memory: Memory) -> io::Result<VhostDevice> {
        Ok(VhostDevice {
            shared_device,
            memory,
            wake_evt: Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?),
            is_stopping: AtomicBool::new(false),
            failure: Arc::new(Failure {
                message: OnceLock::new(),
                event: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            }),
        })
    }

    /// Handles an event of a queue, or of `wake_evt`.
    fn handle(&self, event: u16, vrings: &[Vring]) -> io::Result<()> {
        if event == WAKE_EVENT {
            let _ = self.wake_evt.read();
            if self.is_stopping.load(Ordering::Acquire) {
                // Return an error to end the worker, because `exit_event` of vhost-user-backend
                // 0.24 leaks a descriptor.
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        let [rx, tx] = vrings else { return Ok(()) };
        self.shared_device.attach(|| {
            for vring in [rx, tx] {
                let state = vring.get_ref();
                let kick_fd = state.get_kick().as_ref().map(AsRawFd::as_raw_fd);
                let call_fd = state.get_call().as_ref().map(AsRawFd::as_raw_fd);
                // The call does not fail for an open descriptor.
                let _ = kick_fd.into_iter().chain(call_fd).try_for_each(close_on_exec);
            }
            Box::new(Vrings {
                vrings: [rx.clone(), tx.clone()],
                memory: self.memory.clone(),
                wake_evt: self.wake_evt.clone(),
            })
        });
        self.shared_device.receive_all();
        Ok(())
    }
}

/// The guest's queues, as objects of vhost-user-backend.
struct Vrings {
    vrings: [Vring; QUEUE_COUNT],
    memory: Memory,
    wake_evt: Arc<EventFd>,
}

impl GuestQueues for Vrings {
    fn process(&self, index: usize, device: &mut Device, step: QueueStep) -> bool {
        let mut vring = self.vrings[index].get_mut();
        let memory = self.memory.memory();
        let step_result = step(device, vring.get_queue_mut(), &memory);
        if step_result.wants_interrupt {
            // The call fails only if the counter is full, in which case the interrupt is pending.
            let _ = vring.signal_used_queue();
        }
        step_result.has_more
    }

    fn wake(&self) {
        let _ = self.wake_evt.write(1);
    }

    fn receive_last(&self, device: &mut Device) {
        // QEMU's message that stops the queue may overtake the guest's last notification. Take the
        // packets that are still in the queue, because they may contain the reason for the guest's
        // end.
        self.vrings[TX].get_mut().get_queue_mut().set_ready(true);
        self.receive(device);
        self.vrings[TX].get_mut().get_queue_mut().set_ready(false);
    }
}

impl VhostUserBackend for VhostDevice {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        QUEUE_COUNT
    }

    fn max_queue_size(&self) -> usize {
        MAX_QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG
    }

    fn set_event_idx(&self, _enabled: bool) {
        // vhost-user-backend configures the queues itself.
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        // struct virtio_vsock_config: the guest's CID (virtio 1.2, section 5.10.4).
        let config = GUEST_CID.to_le_bytes();
        let start = config.len().min(offset as usize);
        let end = config.len().min(start.saturating_add(size as usize));
        config[start..end].to_vec()
    }

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        // `memory` is a clone of `self.memory`, so `self` need not store `memory`.
        for region in memory.memory().iter() {
            if let Some(file) = region.file_offset() {
                close_on_exec(file.file().as_raw_fd())?;
            }
        }
        Ok(())
    }

    fn stop_vring(&self, index: u32) -> io::Result<()> {
        if index as usize == TX {
            self.shared_device.receive_last();
        }
        Ok(())
    }

    fn handle_event(
        &self,
        event: u16,
        _events: EventSet,
        vrings: &[Vring],
        _thread: usize,
    ) -> io::Result<()> {
        // vhost-user-backend joins the worker only at the end of the VM. A panic that nobody reports
        // would let the guest wait for its packets for ever.
        catch_unwind(AssertUnwindSafe(|| self.handle(event, vrings))).unwrap_or_else(|_| {
            let message = "the vsock device's worker panicked, which is a bug of sudbox";
            self.failure.report(message.to_owned());
            Err(io::Error::other(message))
        })
    }
}

/// Sets `FD_CLOEXEC` on a descriptor that QEMU has sent, so that children do not inherit it.
/// `ScmSocket::recv_with_fds()` of vmm-sys-util does not set this flag.
fn close_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: the caller owns the descriptor.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)?)
}

/// The running back end. The drop of this value joins its threads, which end after QEMU, so QEMU
/// must be killed before.
pub(super) struct VhostServer {
    shutdown: ShutdownHandle,
    /// Waits for the daemon's thread and records the reason if the device failed.
    watcher: Option<JoinHandle<()>>,
    failure: Arc<Failure>,
}

/// Reason why the device stopped working while QEMU runs.
struct Failure {
    message: OnceLock<String>,
    event: EventFd,
}

impl Failure {
    /// Records the first reason, and wakes the thread that watches the VM.
    fn report(&self, message: String) {
        let _ = self.message.set(message);
        let _ = self.event.write(1);
    }
}

impl VhostServer {
    /// Starts serving the device. Returns the end of the connection for QEMU.
    pub(super) fn start(shared_device: Arc<SharedDevice>) -> io::Result<(VhostServer, UnixStream)> {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let backend = Arc::new(VhostDevice::new(shared_device, memory.clone())?);
        let failure = backend.failure.clone();
        let mut daemon = Daemon::start(backend, memory)?;
        let (qemu_end, shutdown) = daemon.connect()?;
        let watcher =
            thread::Builder::new().name("vhost-watch".to_owned()).spawn(move || daemon.watch())?;
        Ok((VhostServer { shutdown, watcher: Some(watcher), failure }, qemu_end))
    }

    /// Returns the reason if the device stopped working while QEMU had the connection open.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.message.get().map(String::as_str)
    }

    /// Returns a descriptor that is readable once there is a failure.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        borrow_eventfd(&self.failure.event)
    }
}

/// The daemon of vhost-user-backend. Dropping this value ends and joins its worker.
struct Daemon {
    daemon: VhostUserDaemon<Arc<VhostDevice>>,
    backend: Arc<VhostDevice>,
}

impl Daemon {
    fn start(backend: Arc<VhostDevice>, memory: Memory) -> io::Result<Daemon> {
        let daemon = VhostUserDaemon::new("vhost-user".to_owned(), backend.clone(), memory)
            .map_err(|error| io::Error::other(error.to_string()))?;
        for handler in daemon.get_epoll_handlers() {
            let wake_evt = backend.wake_evt.as_raw_fd();
            if let Err(error) =
                handler.register_listener(wake_evt, EventSet::IN, u64::from(WAKE_EVENT))
            {
                // Without the event, the worker never ends. Leak the daemon, because its drop would
                // join the worker and wait for ever.
                std::mem::forget(daemon);
                return Err(error);
            }
        }
        Ok(Daemon { daemon, backend })
    }

    /// Connects the daemon, which requires a listener with a path. The path is in a temporary
    /// directory that is removed before QEMU starts, so that no VM can reach another VM's socket.
    fn connect(&mut self) -> io::Result<(UnixStream, ShutdownHandle)> {
        let directory = tempfile::Builder::new().prefix("sudbox-").tempdir()?;
        let path = directory.path().join("vsock");
        let mut listener =
            Listener::new(&path, false).map_err(|error| io::Error::other(error.to_string()))?;
        let qemu_end = UnixStream::connect(&path)?;
        self.daemon.start(&mut listener).map_err(|error| io::Error::other(error.to_string()))?;
        let shutdown = self.daemon.shutdown_handle();
        Ok((qemu_end, shutdown.ok_or_else(|| io::Error::other("the daemon is not connected"))?))
    }

    /// Waits until the connection ends. Records the reason, unless one of the sides closed the
    /// connection.
    fn watch(mut self) {
        use vhost::vhost_user::Error as VhostError;
        match self.daemon.wait() {
            Ok(())
            | Err(Error::HandleRequest(VhostError::Disconnected | VhostError::PartialMessage)) => {}
            Err(error) => self.backend.failure.report(error.to_string()),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.backend.is_stopping.store(true, Ordering::Release);
        let _ = self.backend.wake_evt.write(1);
    }
}

impl Drop for VhostServer {
    fn drop(&mut self) {
        self.shutdown.shutdown();
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

#[cfg(test)]
mod tests;
