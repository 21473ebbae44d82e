// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The thread that serves the transmit queue of the vsock device.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::seccomp::{self, ThreadKind};
use crate::poll;
use crate::vsock::queue::TX;
use crate::vsock::shared_device::SharedDevice;

/// Stack size of the thread in bytes.
const STACK_SIZE: usize = 256 * 1024;

/// Maximum duration of one wait for events. The thread then waits again, so any value would do.
const WAIT_LIMIT: Duration = Duration::from_secs(3600);

/// State that the thread and its owner share.
struct SharedState {
    /// Wakes the thread when `is_stopping` or `is_paused` has changed, or when packets were left in
    /// the queue.
    wake_evt: Arc<EventFd>,
    is_stopping: AtomicBool,
    /// Whether the thread leaves packets in the transmit queue until a snapshot is taken.
    is_paused: AtomicBool,
    /// Becomes readable when `has_connected` or `failure` has changed.
    changed_evt: EventFd,
    failure: OnceLock<String>,
    has_connected: AtomicBool,
}

/// The running thread. Dropping this value ends the thread.
pub(super) struct DeviceThread {
    thread: Option<JoinHandle<()>>,
    shared: Arc<SharedState>,
}

impl DeviceThread {
    /// Starts the thread. The queue notifications of the guest (`queue_evts`) and this process
    /// (`wake_evt`) wake the thread. If `is_paused`, the thread leaves packets in the transmit
    /// queue until [`DeviceThread::resume`].
    ///
    /// # Errors
    /// If a thread or a descriptor cannot be created.
    pub(super) fn start(
        shared_device: Arc<SharedDevice>,
        queue_evts: Vec<EventFd>,
        wake_evt: Arc<EventFd>,
        is_paused: bool,
    ) -> io::Result<DeviceThread> {
        let shared = Arc::new(SharedState {
            wake_evt,
            is_stopping: AtomicBool::new(false),
            is_paused: AtomicBool::new(is_paused),
            changed_evt: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            failure: OnceLock::new(),
            has_connected: AtomicBool::new(false),
        });
        let thread_shared = shared.clone();
        let thread = thread::Builder::new()
            .name("vsock".to_owned())
            .stack_size(STACK_SIZE)
            .spawn(move || run_thread(&shared_device, &queue_evts, &thread_shared))?;
        Ok(DeviceThread { thread: Some(thread), shared })
    }

    /// Returns an event that is readable when [`DeviceThread::has_connected`] or
    /// [`DeviceThread::failure`] may have changed.
    pub(super) fn changed_evt(&self) -> &EventFd {
        &self.shared.changed_evt
    }

    /// Returns true if the guest has sent a packet while the thread was paused.
    pub(super) fn has_connected(&self) -> bool {
        self.shared.has_connected.load(Ordering::SeqCst)
    }

    /// Returns the reason for a failure of the thread, if it has failed.
    pub(super) fn failure(&self) -> Option<&str> {
        self.shared.failure.get().map(String::as_str)
    }

    /// Lets a paused thread take packets from the transmit queue.
    pub(super) fn resume(&self) {
        self.shared.is_paused.store(false, Ordering::SeqCst);
        // The write fails only if the counter is full, and then the event is readable.
        let _ = self.shared.wake_evt.write(1);
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        let _ = self.shared.wake_evt.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs the thread. Reports a failure or panic to the owner: without a report, the guest would
/// appear to hang.
fn run_thread(shared_device: &SharedDevice, queue_evts: &[EventFd], shared: &SharedState) {
    let failure =
        match panic::catch_unwind(AssertUnwindSafe(|| serve(shared_device, queue_evts, shared))) {
            Ok(Ok(())) => return,
            Ok(Err(message)) => message,
            Err(_) => "the vsock device's thread panicked, which is a bug of sudbox".to_owned(),
        };
    let _ = shared.failure.set(failure);
    let _ = shared.changed_evt.write(1);
}

/// Serves the queue until the owner stops the thread.
fn serve(
    shared_device: &SharedDevice,
    queue_evts: &[EventFd],
    shared: &SharedState,
) -> Result<(), String> {
    seccomp::confine(ThreadKind::Device)
        .map_err(|error| format!("no seccomp filter for the vsock device: {error}"))?;
    let mut fds = vec![poll::borrow_eventfd(&shared.wake_evt)];
    fds.extend(queue_evts.iter().map(poll::borrow_eventfd));
    loop {
        let readable = poll::wait_readable(&fds, Instant::now() + WAIT_LIMIT)
            .map_err(|error| format!("the vsock device cannot wait for the guest: {error}"))?;
        let _ = shared.wake_evt.read();
        for event in queue_evts {
            let _ = event.read();
        }
        if shared.is_stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
        if !shared.is_paused.load(Ordering::SeqCst) {
            shared_device.receive_all();
        } else if readable[1 + TX] {
            // Index 0 is `wake_evt`; the queues' events follow.
            shared.has_connected.store(true, Ordering::SeqCst);
            let _ = shared.changed_evt.write(1);
        }
    }
}
