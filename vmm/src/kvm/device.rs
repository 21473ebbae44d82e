//! The thread that serves the vsock device: it takes what the guest has sent when it is told to.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::seccomp::{self, Thread};
use crate::poll;
use crate::vsock::link::Link;
use crate::vsock::queue::TX;

/// Bytes of the thread's stack.
const STACK: usize = 256 * 1024;

/// Longest wait for an event, so that a wait is never for ever; nothing happens at its end.
const WAIT: Duration = Duration::from_secs(3600);

/// What the thread and its owner share.
struct Shared {
    /// Wakes the thread: to carry on, or to end.
    poke: Arc<EventFd>,
    stopping: AtomicBool,
    /// Packets of the guest are left in its queue, as its state is to be kept first.
    holding: AtomicBool,
    /// Becomes readable when the guest has sent its first packet while that is so, or when the
    /// thread cannot do its work.
    news: EventFd,
    failure: OnceLock<String>,
    dialled: AtomicBool,
}

/// The running thread. Dropping it ends it.
pub(super) struct DeviceThread {
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl DeviceThread {
    /// Starts it. It is woken by `kicks`, the guest's notifications by queue, and by `poke`. With
    /// `hold`, it leaves what the guest sends in the queue until [`DeviceThread::release`].
    ///
    /// # Errors
    /// If a thread or a descriptor cannot be had.
    pub(super) fn start(
        link: Arc<Link>,
        kicks: Vec<EventFd>,
        poke: Arc<EventFd>,
        hold: bool,
    ) -> io::Result<DeviceThread> {
        let shared = Arc::new(Shared {
            poke,
            stopping: AtomicBool::new(false),
            holding: AtomicBool::new(hold),
            news: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            failure: OnceLock::new(),
            dialled: AtomicBool::new(false),
        });
        let theirs = shared.clone();
        let thread = thread::Builder::new()
            .name("vsock".to_owned())
            .stack_size(STACK)
            .spawn(move || serve(&link, &kicks, &theirs))?;
        Ok(DeviceThread { thread: Some(thread), shared })
    }

    /// Readable when [`DeviceThread::has_dialled`] or [`DeviceThread::failure`] may have changed.
    pub(super) fn news(&self) -> &EventFd {
        &self.shared.news
    }

    /// Whether the guest has sent its first packet, which is held.
    pub(super) fn has_dialled(&self) -> bool {
        self.shared.dialled.load(Ordering::SeqCst)
    }

    /// Why the device does not work.
    pub(super) fn failure(&self) -> Option<&str> {
        self.shared.failure.get().map(String::as_str)
    }

    /// From now on, packets of the guest are taken.
    pub(super) fn release(&self) {
        self.shared.holding.store(false, Ordering::SeqCst);
        // Only fails when the counter is full, and then it is readable anyway.
        let _ = self.shared.poke.write(1);
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = self.shared.poke.write(1);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so on stderr.
            let _ = thread.join();
        }
    }
}

fn serve(link: &Link, kicks: &[EventFd], shared: &Shared) {
    if let Err(e) = seccomp::confine(Thread::Device) {
        let _ = shared.failure.set(format!("no seccomp filter for the vsock device: {e}"));
        let _ = shared.news.write(1);
        return;
    }
    let mut descriptors = vec![poll::event_fd(&shared.poke)];
    descriptors.extend(kicks.iter().map(poll::event_fd));
    while let Ok(ready) = poll::readable(&descriptors, Instant::now() + WAIT) {
        let _ = shared.poke.read();
        for kick in kicks {
            let _ = kick.read();
        }
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        if !shared.holding.load(Ordering::SeqCst) {
            link.pump();
        } else if ready[1 + TX] {
            shared.dialled.store(true, Ordering::SeqCst);
            let _ = shared.news.write(1);
        }
    }
}
