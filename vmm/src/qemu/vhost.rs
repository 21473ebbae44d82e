//! The vhost-user adapter: QEMU's vsock device, served by threads of this process.
//!
//! QEMU shares the guest's memory and hands over an event descriptor for each direction of each
//! queue. The guest's kick wakes the worker thread of vhost-user-backend here without a detour
//! through QEMU.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

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
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::poll::event_fd;
use crate::vsock::device::Device;
use crate::vsock::link::{Link, Rings, Round};
use crate::vsock::packet::GUEST_CID;
use crate::vsock::queue::TX;

/// Queues that the back end serves. The event queue stays with QEMU (`vhost-vsock-common.c`).
const QUEUES: usize = 2;

/// Most descriptors in a queue: what virtio-mmio lets the guest choose (`VIRTQUEUE_MAX_SIZE` in
/// QEMU), whatever the device asked for.
const QUEUE_SIZE: usize = 1024;

/// The worker's own event; the numbers up to [`QUEUES`] are vhost-user-backend's.
const POKE: u16 = 3;

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;
type Vring = VringMutex<Memory>;

/// What the threads share.
struct Backend {
    link: Arc<Link>,
    memory: Memory,
    /// Wakes the worker: to carry on, or to end.
    poke: Arc<EventFd>,
    stopping: AtomicBool,
}

/// The guest's queues as vhost-user-backend keeps them.
struct Vrings {
    vrings: [Vring; QUEUES],
    memory: Memory,
    poke: Arc<EventFd>,
}

impl Rings for Vrings {
    fn round(&self, index: usize, device: &mut Device, round: Round) -> bool {
        let mut vring = self.vrings[index].get_mut();
        let memory = self.memory.memory();
        let moved = round(device, vring.get_queue_mut(), &memory);
        if moved.interrupt {
            // Only fails when the counter is full, and then the interrupt is pending anyway.
            let _ = vring.signal_used_queue();
        }
        moved.more
    }

    fn poke(&self) {
        let _ = self.poke.write(1);
    }

    fn last_words(&self, device: &mut Device) {
        // QEMU stops the queue by a message that may overtake the guest's last kick. What the
        // guest made available before is still there, and it may say which case killed it.
        self.vrings[TX].get_mut().get_queue_mut().set_ready(true);
        self.receive(device);
        self.vrings[TX].get_mut().get_queue_mut().set_ready(false);
    }
}

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
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
        // The queues know by themselves; vhost-user-backend tells them.
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        // struct virtio_vsock_config: the guest's CID (virtio 1.2, section 5.10.4).
        let config = GUEST_CID.to_le_bytes();
        let from = config.len().min(offset as usize);
        let to = config.len().min(from.saturating_add(size as usize));
        config[from..to].to_vec()
    }

    fn update_memory(&self, _memory: Memory) -> io::Result<()> {
        // The same object that this has held from the beginning.
        Ok(())
    }

    fn stop_vring(&self, index: u32) -> io::Result<()> {
        if index as usize == TX {
            self.link.last_words();
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
        if event == POKE {
            let _ = self.poke.read();
            if self.stopping.load(Ordering::Acquire) {
                // Ends the worker. `exit_event` would do the same, but vhost-user-backend 0.24
                // never closes the descriptor that it takes for that.
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        let [rx, tx] = vrings else { return Ok(()) };
        self.link.attach(|| {
            Box::new(Vrings {
                vrings: [rx.clone(), tx.clone()],
                memory: self.memory.clone(),
                poke: self.poke.clone(),
            })
        });
        self.link.pump();
        Ok(())
    }
}

/// The running adapter. Dropping it joins its threads, for which QEMU must be dead or dying.
pub(super) struct Adapter {
    shutdown: ShutdownHandle,
    /// Waits for the daemon's thread; its result is why the device failed, if it did.
    watcher: Option<JoinHandle<()>>,
    failure: Arc<Failure>,
}

/// Why the device stopped working under a QEMU that still runs.
struct Failure {
    words: OnceLock<String>,
    event: EventFd,
}

impl Adapter {
    /// Starts to serve `link`; QEMU is to be given the other end of the connection, which is
    /// returned.
    pub(super) fn start(link: Arc<Link>) -> io::Result<(Adapter, UnixStream)> {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let backend = Arc::new(Backend {
            link,
            memory: memory.clone(),
            poke: Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?),
            stopping: AtomicBool::new(false),
        });
        let failure = Arc::new(Failure {
            words: OnceLock::new(),
            event: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
        });
        let mut server = Server::start(backend, memory)?;
        let (peer, shutdown) = server.connect()?;
        let theirs = failure.clone();
        let watcher = thread::Builder::new()
            .name("vhost-watch".to_owned())
            .spawn(move || server.watch(&theirs))?;
        Ok((Adapter { shutdown, watcher: Some(watcher), failure }, peer))
    }

    /// Why the device does not work any more, though QEMU has not closed the connection.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.words.get().map(String::as_str)
    }

    /// Readable when there is a failure.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        event_fd(&self.failure.event)
    }
}

/// The daemon, whose worker has to be told to end before it is dropped: that joins it.
struct Server {
    daemon: VhostUserDaemon<Arc<Backend>>,
    backend: Arc<Backend>,
}

impl Server {
    fn start(backend: Arc<Backend>, memory: Memory) -> io::Result<Server> {
        let daemon = VhostUserDaemon::new("vhost-user".to_owned(), backend.clone(), memory)
            .map_err(|e| io::Error::other(e.to_string()))?;
        for handler in daemon.get_epoll_handlers() {
            let poke = backend.poke.as_raw_fd();
            if let Err(e) = handler.register_listener(poke, EventSet::IN, u64::from(POKE)) {
                // The worker cannot be told to end, so it must not be waited for.
                std::mem::forget(daemon);
                return Err(e);
            }
        }
        Ok(Server { daemon, backend })
    }

    /// Connects the daemon. It insists on a listener with an address, so one is made in a
    /// directory of our own and is gone before QEMU starts: no VM can meet another's socket.
    fn connect(&mut self) -> io::Result<(UnixStream, ShutdownHandle)> {
        let dir = tempfile::Builder::new().prefix("sudbox-").tempdir()?;
        let path = dir.path().join("vsock");
        let mut listener =
            Listener::new(&path, false).map_err(|e| io::Error::other(e.to_string()))?;
        let peer = UnixStream::connect(&path)?;
        self.daemon.start(&mut listener).map_err(|e| io::Error::other(e.to_string()))?;
        let shutdown = self.daemon.shutdown_handle();
        Ok((peer, shutdown.ok_or_else(|| io::Error::other("the daemon is not connected"))?))
    }

    /// Waits until the connection is over and notes why, if it was not QEMU or we that closed it.
    fn watch(mut self, failure: &Failure) {
        use vhost::vhost_user::Error as Broken;
        match self.daemon.wait() {
            Ok(()) | Err(Error::HandleRequest(Broken::Disconnected | Broken::PartialMessage)) => {}
            Err(e) => {
                let _ = failure.words.set(e.to_string());
                let _ = failure.event.write(1);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.backend.stopping.store(true, Ordering::Release);
        let _ = self.backend.poke.write(1);
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        self.shutdown.shutdown();
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll;
    use crate::vsock::packet::{HOST_CID, Header, TYPE_STREAM, op};
    use std::io::Write;
    use std::time::{Duration, Instant};
    use vm_memory::{Bytes, GuestAddress};

    #[test]
    fn what_a_stopped_queue_holds_is_not_lost() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
        let request = Header {
            src_cid: GUEST_CID,
            dst_cid: HOST_CID,
            src_port: 1,
            dst_port: 7,
            kind: TYPE_STREAM,
            op: op::REQUEST,
            ..Header::default()
        };
        memory.write_slice(&request.encode(), GuestAddress(0x4000)).unwrap();
        // One descriptor, made available, in a queue that was stopped before the kick was seen.
        memory.write_obj(0x4000u64, GuestAddress(0x1000)).unwrap();
        memory.write_obj(44u32, GuestAddress(0x1008)).unwrap();
        memory.write_obj(1u16, GuestAddress(0x2002)).unwrap();
        let memory = GuestMemoryAtomic::new(memory);
        let vrings = [0, 1].map(|_| Vring::new(memory.clone(), 16).unwrap());
        vrings[TX].set_queue_info(0x1000, 0x2000, 0x3000).unwrap();
        vrings[TX].set_queue_ready(false);
        let poke = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let rings = Vrings { vrings: vrings.clone(), memory, poke };

        let mut device = Device::new();
        device.listen(7);
        assert!(!rings.receive(&mut device));
        assert!(device.accept(7).is_none(), "the queue is stopped");
        rings.last_words(&mut device);
        assert!(device.accept(7).is_some());
        assert!(!vrings[TX].get_ref().get_queue().ready());
        assert_eq!(vrings[TX].queue_next_avail(), 1);
    }

    #[test]
    fn a_guest_reads_its_cid() {
        let link = Arc::new(Link::new(Device::new()).unwrap());
        let poke = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let backend = Backend { link, memory, poke, stopping: AtomicBool::new(false) };
        assert_eq!(backend.get_config(0, 8), GUEST_CID.to_le_bytes());
        assert_eq!(backend.get_config(4, 100), [0; 4]);
        assert!(backend.get_config(9, u32::MAX).is_empty());
    }

    #[test]
    fn a_broken_connection_is_a_failure_and_a_closed_one_is_not() {
        let link = || Arc::new(Link::new(Device::new()).unwrap());
        let (adapter, peer) = Adapter::start(link()).unwrap();
        // A request that does not exist.
        (&peer).write_all(&[0xff; 12]).unwrap();
        let soon = Instant::now() + Duration::from_secs(20);
        assert!(poll::readable(&[adapter.descriptor()], soon).unwrap()[0]);
        assert!(adapter.failure().is_some());

        let (mut adapter, peer) = Adapter::start(link()).unwrap();
        drop(peer);
        adapter.watcher.take().unwrap().join().unwrap();
        assert_eq!(adapter.failure(), None);
    }
}
