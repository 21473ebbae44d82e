// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The threads that run the vCPUs.
//!
//! ```text
//!             Order::Run           Order::Park                Order::Stop
//!   (start) ----------> KVM_RUN  ------------> parked, state ------------> (end)
//!                       ^  |  ^                saved  |
//!                       +--+  +-----------------------+
//!                  exit handled      Order::Run
//! ```
//!
//! The session's thread gives the orders. A vCPU thread reads the order after each exit from
//! `KVM_RUN`; a kick (`kick.rs`) forces an exit. A thread that sees the end of the guest reports
//! it, unless another thread has done so, and ends.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};
use vmm_sys_util::signal::Killable;

use super::arch::{Cpu, VcpuState};
use super::bus::Bus;
use super::kick::{ImmediateExit, kick_signal};
use super::seccomp::{self, ThreadKind};
use crate::machine::VmEnd;

/// Time after which a kick is repeated. A kick that arrives just before the thread begins to wait
/// outside `KVM_RUN`, for example for the console, does not end that wait: `immediate_exit` ends
/// only `KVM_RUN`.
const KICK_INTERVAL: Duration = Duration::from_millis(10);

/// Stack size of a vCPU thread in bytes. Calls are shallow, and the largest buffers are KVM's
/// structures of at most 4 KiB.
const STACK_SIZE: usize = 256 * 1024;

/// An order to all vCPU threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Order {
    /// Run the guest.
    Run,
    /// Leave the guest, save the vCPU's state and wait.
    Park,
    /// End the thread.
    Stop,
}

/// The current order. A vCPU thread reads the order without a lock before each `KVM_RUN`.
struct CurrentOrder(AtomicU8);

impl CurrentOrder {
    fn is(&self, order: Order) -> bool {
        self.0.load(Ordering::SeqCst) == order as u8
    }

    fn set(&self, order: Order) {
        self.0.store(order as u8, Ordering::SeqCst);
    }
}

/// State that the vCPU threads and the session's thread share.
struct SharedState {
    bus: Arc<Bus>,
    order: CurrentOrder,
    reports: Mutex<Reports>,
    /// Notified when `order` or `reports` has changed.
    changed_condvar: Condvar,
    /// Becomes readable when the guest has ended.
    ended_evt: EventFd,
    /// Once written, vCPU threads drop console output that does not fit into the pipe.
    console_abort_evt: EventFd,
}

/// Reports of the vCPU threads.
struct Reports {
    /// The state of each vCPU that is parked.
    parked_states: Vec<Option<Arc<VcpuState>>>,
    /// The end of the guest, reported by the first thread that saw it.
    end: Option<VmEnd>,
}

/// The vCPUs of one VM. Dropping this value stops the vCPUs.
pub(super) struct Vcpus {
    threads: Vec<VcpuThread>,
    shared: Arc<SharedState>,
}

/// A vCPU thread, as the session's thread sees it.
struct VcpuThread {
    handle: JoinHandle<()>,
    immediate_exit: Arc<ImmediateExit>,
}

/// Result of one `KVM_RUN`.
pub(super) enum RunResult {
    /// An exit was handled.
    Handled,
    /// The thread was kicked.
    Interrupted,
    /// The guest has ended.
    Ended(VmEnd),
}

impl Vcpus {
    /// Starts a thread for each vCPU, in the order of their ids.
    ///
    /// # Errors
    /// If a thread, a descriptor or a mapping cannot be created.
    pub(super) fn start(
        cpus: Vec<Cpu>,
        bus: Arc<Bus>,
        console_abort_evt: EventFd,
    ) -> io::Result<Vcpus> {
        let shared = Arc::new(SharedState {
            bus,
            order: CurrentOrder(AtomicU8::new(Order::Run as u8)),
            console_abort_evt,
            reports: Mutex::new(Reports { parked_states: vec![None; cpus.len()], end: None }),
            changed_condvar: Condvar::new(),
            ended_evt: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
        });
        let mut vcpus = Vcpus { threads: Vec::new(), shared: shared.clone() };
        for (index, cpu) in cpus.into_iter().enumerate() {
            let immediate_exit = Arc::new(ImmediateExit::map(&cpu.fd)?);
            let vcpu =
                Vcpu { index, cpu, immediate_exit: immediate_exit.clone(), shared: shared.clone() };
            let handle = thread::Builder::new()
                .name(format!("vcpu-{index}"))
                .stack_size(STACK_SIZE)
                .spawn(move || vcpu.run_thread())?;
            vcpus.threads.push(VcpuThread { handle, immediate_exit });
        }
        Ok(vcpus)
    }

    /// Returns an event that is readable once [`Vcpus::end`] returns `Some`.
    pub(super) fn ended_evt(&self) -> &EventFd {
        &self.shared.ended_evt
    }

    /// Returns the end of the guest, if the guest has ended.
    pub(super) fn end(&self) -> Option<VmEnd> {
        self.shared.reports().end.clone()
    }

    /// Parks all vCPUs until [`Vcpus::resume`], and returns their states. Returns `None` if the
    /// guest has ended, or if a vCPU is not parked within `time_limit`; the vCPUs then continue.
    pub(super) fn park(&self, time_limit: Duration) -> Option<Vec<Arc<VcpuState>>> {
        let deadline = Instant::now() + time_limit;
        self.shared.order.set(Order::Park);
        let mut reports = self.shared.reports();
        while reports.parked_states.iter().any(Option::is_none) {
            if reports.end.is_some() || Instant::now() >= deadline {
                drop(reports);
                self.resume();
                return None;
            }
            self.kick();
            reports = self.shared.wait(reports, KICK_INTERVAL);
        }
        reports.parked_states.iter().cloned().collect()
    }

    /// Lets parked vCPUs continue.
    pub(super) fn resume(&self) {
        // With the lock held, a thread that is about to wait does not miss the notification.
        let reports = self.shared.reports();
        self.shared.order.set(Order::Run);
        self.shared.changed_condvar.notify_all();
        drop(reports);
    }

    /// Ends all vCPU threads, and waits for their end.
    pub(super) fn stop(&mut self) {
        {
            let _reports = self.shared.reports();
            self.shared.order.set(Order::Stop);
            self.shared.changed_condvar.notify_all();
        }
        let _ = self.shared.console_abort_evt.write(1);
        while self.threads.iter().any(|thread| !thread.handle.is_finished()) {
            self.kick();
            // No event signals the end of a thread, so check periodically. A kick takes about 10
            // µs.
            thread::sleep(Duration::from_micros(50));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.handle.join();
        }
    }

    /// Makes every vCPU thread return from `KVM_RUN`.
    fn kick(&self) {
        for thread in self.threads.iter().filter(|thread| !thread.handle.is_finished()) {
            thread.immediate_exit.raise();
            // The call fails only if the thread has just ended.
            let _ = thread.handle.kill(kick_signal());
        }
    }
}

impl Drop for Vcpus {
    fn drop(&mut self) {
        self.stop();
    }
}

impl SharedState {
    fn reports(&self) -> MutexGuard<'_, Reports> {
        // The reports are consistent whenever the lock is released, even by a panic.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports how the guest ended, unless another thread has reported it.
    fn report_end(&self, end: VmEnd) {
        self.reports().end.get_or_insert(end);
        self.changed_condvar.notify_all();
        // The write fails only if the counter is full, and then the event is readable.
        let _ = self.ended_evt.write(1);
    }

    /// Releases the lock of the reports until the order or the reports have changed, or until
    /// `time_limit` has passed.
    fn wait<'t>(
        &self,
        reports: MutexGuard<'t, Reports>,
        time_limit: Duration,
    ) -> MutexGuard<'t, Reports> {
        let result = self.changed_condvar.wait_timeout(reports, time_limit);
        result.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A vCPU with everything that its thread needs.
struct Vcpu {
    index: usize,
    cpu: Cpu,
    immediate_exit: Arc<ImmediateExit>,
    shared: Arc<SharedState>,
}

impl Vcpu {
    /// Runs the vCPU until its thread ends. Reports the end of the guest and a panic of this
    /// thread, but no end by [`Order::Stop`].
    fn run_thread(mut self) {
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            seccomp::confine(ThreadKind::Vcpu)
                .map_err(|error| VmEnd::Failed(format!("no seccomp filter for a vCPU: {error}")))?;
            self.run()
        }));
        let end = match result {
            Ok(Ok(())) => return,
            Ok(Err(end)) => end,
            Err(_) => VmEnd::Failed("a vCPU thread panicked, which is a bug of sudbox".to_owned()),
        };
        self.shared.report_end(end);
    }

    /// Follows orders until [`Order::Stop`].
    ///
    /// # Errors
    /// The guest's end, if the guest ends before [`Order::Stop`].
    fn run(&mut self) -> Result<(), VmEnd> {
        loop {
            // Clear the flag before reading the order. A kick follows a change of the order: after
            // a kick before this line, the new order is read below; a kick after this line makes
            // KVM_RUN return.
            self.immediate_exit.clear();
            if self.shared.order.is(Order::Stop) {
                return Ok(());
            }
            if self.shared.order.is(Order::Park) {
                self.park()?;
            }
            if let RunResult::Ended(end) = self.run_once() {
                return Err(end);
            }
        }
    }

    /// Saves the vCPU's state and waits for another order.
    fn park(&mut self) -> Result<(), VmEnd> {
        // KVM completes the guest's access to a device only in the next KVM_RUN, which
        // `immediate_exit` then ends before the guest runs.
        loop {
            self.immediate_exit.raise();
            match self.run_once() {
                RunResult::Handled => {}
                RunResult::Interrupted => break,
                RunResult::Ended(end) => return Err(end),
            }
        }
        let state = self
            .cpu
            .save()
            .map_err(|error| VmEnd::Failed(format!("cannot read a vCPU's state: {error}")))?;
        let mut reports = self.shared.reports();
        reports.parked_states[self.index] = Some(Arc::new(state));
        self.shared.changed_condvar.notify_all();
        while self.shared.order.is(Order::Park) {
            reports =
                self.shared.changed_condvar.wait(reports).unwrap_or_else(PoisonError::into_inner);
        }
        reports.parked_states[self.index] = None;
        Ok(())
    }

    /// Makes one `KVM_RUN` and handles its exit.
    fn run_once(&mut self) -> RunResult {
        self.cpu.run(self.index, &self.shared.bus)
    }
}
