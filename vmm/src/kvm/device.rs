// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The thread that serves the transmit queue of the vsock device.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::seccomp::{self, Thread};
use crate::poll;
use crate::vsock::link::Link;
use crate::vsock::queue::TX;

/// Stack of the thread in bytes.
const STACK_SIZE: usize = 256 * 1024;

/// Longest wait for an event. Nothing happens at its end; it only keeps a wait from being endless.
const WAIT_LIMIT: Duration = Duration::from_secs(3600);

/// State that the thread and its owner share.
struct Shared {
    /// Wakes the thread after `stopping` or `paused` was changed, or if it has more to do.
    wake_evt: Arc<EventFd>,
    stopping: AtomicBool,
    /// The thread leaves packets in the transmit queue, because a snapshot is to be taken first.
    paused: AtomicBool,
    /// Becomes readable when `connected` or `failure` has changed.
    changed_evt: EventFd,
    failure: OnceLock<String>,
    connected: AtomicBool,
}

/// The running thread. Dropping it ends it.
pub(super) struct DeviceThread {
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl DeviceThread {
    /// Starts the thread. The guest wakes it by `queue_evts`, its notifications for each queue, this
    /// process by `wake_evt`. If `paused`, the thread leaves packets in the transmit queue until
    /// [`DeviceThread::resume`].
    ///
    /// # Errors
    /// If a thread or a descriptor cannot be had.
    pub(super) fn start(
        link: Arc<Link>,
        queue_evts: Vec<EventFd>,
        wake_evt: Arc<EventFd>,
        paused: bool,
    ) -> io::Result<DeviceThread> {
        let shared = Arc::new(Shared {
            wake_evt,
            stopping: AtomicBool::new(false),
            paused: AtomicBool::new(paused),
            changed_evt: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            failure: OnceLock::new(),
            connected: AtomicBool::new(false),
        });
        let thread_shared = shared.clone();
        let thread = thread::Builder::new()
            .name("vsock".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || run_thread(&link, &queue_evts, &thread_shared))?;
        Ok(DeviceThread { thread: Some(thread), shared })
    }

    /// Returns an event that is readable when [`DeviceThread::has_connected`] or
    /// [`DeviceThread::failure`] may have changed.
    pub(super) fn changed_evt(&self) -> &EventFd {
        &self.shared.changed_evt
    }

    /// Returns true if the guest has sent its first packet while the thread was paused.
    pub(super) fn has_connected(&self) -> bool {
        self.shared.connected.load(Ordering::SeqCst)
    }

    /// Returns why the device does not work, if it does not.
    pub(super) fn failure(&self) -> Option<&str> {
        self.shared.failure.get().map(String::as_str)
    }

    /// Takes packets of the guest from now on.
    pub(super) fn resume(&self) {
        self.shared.paused.store(false, Ordering::SeqCst);
        // Fails only if the counter is full, and then the event is readable anyway.
        let _ = self.shared.wake_evt.write(1);
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = self.shared.wake_evt.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Body of the thread. If it ends without an order, by a panic too, the owner is told: the guest
/// would look hung otherwise.
fn run_thread(link: &Link, queue_evts: &[EventFd], shared: &Shared) {
    let failure = match panic::catch_unwind(AssertUnwindSafe(|| serve(link, queue_evts, shared))) {
        Ok(Ok(())) => return,
        Ok(Err(message)) => message,
        Err(_) => "the vsock device's thread panicked, which is a bug of sudbox".to_owned(),
    };
    let _ = shared.failure.set(failure);
    let _ = shared.changed_evt.write(1);
}

/// Serves the queue until the thread is to end.
fn serve(link: &Link, queue_evts: &[EventFd], shared: &Shared) -> Result<(), String> {
    seccomp::confine(Thread::Device)
        .map_err(|e| format!("no seccomp filter for the vsock device: {e}"))?;
    let mut fds = vec![poll::event_fd(&shared.wake_evt)];
    fds.extend(queue_evts.iter().map(poll::event_fd));
    loop {
        let ready = poll::readable(&fds, Instant::now() + WAIT_LIMIT)
            .map_err(|e| format!("the vsock device cannot wait for the guest: {e}"))?;
        let _ = shared.wake_evt.read();
        for event in queue_evts {
            let _ = event.read();
        }
        if shared.stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
        if !shared.paused.load(Ordering::SeqCst) {
            link.receive_all();
        } else if ready[1 + TX] {
            shared.connected.store(true, Ordering::SeqCst);
            let _ = shared.changed_evt.write(1);
        }
    }
}
