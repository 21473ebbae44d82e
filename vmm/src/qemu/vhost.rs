//! The vhost-user adapter: QEMU's vsock device, served by threads of this process.
//!
//! QEMU shares the guest's memory and hands over an event descriptor for each direction of each
//! queue. The guest's kick wakes the worker thread of vhost-user-backend here without a detour
//! through QEMU.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vhost::vhost_user::Listener;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringMutex, VringT};
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::vsock::device::Device;
use crate::vsock::link::{Link, Rings};
use crate::vsock::packet::GUEST_CID;
use crate::vsock::queue::{self, Moved, RX, TX};

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

impl Vrings {
    /// Runs one round on a queue and interrupts the guest if it wants that.
    fn round(
        &self,
        index: usize,
        device: &mut Device,
        round: fn(&mut Device, &mut Queue, &GuestMemoryMmap) -> Moved,
    ) -> bool {
        let mut vring = self.vrings[index].get_mut();
        let memory = self.memory.memory();
        let moved = round(device, vring.get_queue_mut(), &memory);
        if moved.interrupt {
            // Only fails when the counter is full, and then the interrupt is pending anyway.
            let _ = vring.signal_used_queue();
        }
        moved.more
    }
}

impl Rings for Vrings {
    fn receive(&self, device: &mut Device) -> bool {
        self.round(TX, device, queue::from_guest)
    }

    fn deliver(&self, device: &mut Device) {
        if device.has_packet() && self.round(RX, device, queue::to_guest) {
            let _ = self.poke.write(1);
        }
    }

    fn last_words(&self, device: &mut Device) {
        // QEMU stops the queue by a message that may overtake the guest's last kick. What the
        // guest made available before is still there, and it may say which case killed it.
        // One round takes as many chains as the queue holds.
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
    backend: Arc<Backend>,
    daemon: Option<VhostUserDaemon<Arc<Backend>>>,
}

impl Adapter {
    /// Starts to serve `link`; QEMU is to be given the other end of the connection, which is
    /// returned.
    pub(super) fn start(link: Arc<Link>) -> io::Result<(Adapter, UnixStream)> {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let poke = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
        let backend = Arc::new(Backend {
            link,
            memory: memory.clone(),
            poke: poke.clone(),
            stopping: AtomicBool::new(false),
        });
        let daemon = VhostUserDaemon::new("vhost-user".to_owned(), backend.clone(), memory)
            .map_err(|e| io::Error::other(e.to_string()))?;
        // From here on, dropping `adapter` ends the worker that the daemon has started.
        let mut adapter = Adapter { backend, daemon: Some(daemon) };
        let daemon = adapter.daemon.as_mut().expect("was just put there");
        for handler in daemon.get_epoll_handlers() {
            handler.register_listener(poke.as_raw_fd(), EventSet::IN, u64::from(POKE))?;
        }
        let peer = connect(daemon)?;
        Ok((adapter, peer))
    }
}

/// Connects the daemon. It insists on a listener with an address, so one is made in a directory
/// of our own and is gone before QEMU starts: no VM can meet another's socket.
fn connect(daemon: &mut VhostUserDaemon<Arc<Backend>>) -> io::Result<UnixStream> {
    let dir = tempfile::Builder::new().prefix("sudbox-").tempdir()?;
    let path = dir.path().join("vsock");
    let mut listener = Listener::new(&path, false).map_err(|e| io::Error::other(e.to_string()))?;
    let peer = UnixStream::connect(&path)?;
    daemon.start(&mut listener).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(peer)
}

impl Drop for Adapter {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.request_shutdown();
            // What it may say is that the connection ended in the middle of a message.
            let _ = daemon.wait();
            self.backend.stopping.store(true, Ordering::Release);
            let _ = self.backend.poke.write(1);
            // Joins the worker.
            drop(daemon);
        }
    }
}
