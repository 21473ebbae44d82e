//! The threads that run the vCPUs.
//!
//! ```text
//!            order: Run            order: Park                 order: Stop
//!   (start) ----------> KVM_RUN  ------------> state is saved ------------> (end)
//!                       ^  |  ^                   |
//!                       +--+  +-------------------+
//!                  exit handled    order: Run
//! ```
//!
//! Orders are given by the session's thread. A thread sees one when it comes out of `KVM_RUN`, of
//! which a kick gets it; the first thread whose guest ends says how, and stops.

use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::arch::{Cpu, VcpuState};
use super::bus::Bus;
use super::kick::kick_signal;
use super::seccomp::{self, Thread};
use crate::machine::VmEnd;

/// A kick is repeated after so long: it may have come just before the thread began a wait of
/// another kind.
const KICK_PAUSE: Duration = Duration::from_millis(10);

/// Bytes of a vCPU thread's stack. It makes shallow calls and keeps no buffers there but KVM's
/// structures, of which the largest has 4 KiB.
const STACK: usize = 256 * 1024;

/// What the threads are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Order {
    Run,
    Park,
    Stop,
}

/// The order, where it can be read without a lock.
struct Orders(AtomicU8);

impl Orders {
    fn is(&self, order: Order) -> bool {
        self.0.load(Ordering::SeqCst) == order as u8
    }

    fn give(&self, order: Order) {
        self.0.store(order as u8, Ordering::SeqCst);
    }
}

/// What the threads share.
struct Shared {
    bus: Arc<Bus>,
    orders: Orders,
    table: Mutex<Table>,
    changed: Condvar,
    /// Becomes readable when the guest is at its end.
    ended: EventFd,
    /// Written to, it makes a thread drop what it cannot write to the console.
    hush: EventFd,
}

/// What the threads say.
struct Table {
    /// By vCPU: its state while it is parked.
    parked: Vec<Option<Arc<VcpuState>>>,
    /// How the guest ended; the first who says it is believed.
    end: Option<VmEnd>,
}

/// The vCPUs of one VM. Dropping it stops them.
pub(super) struct Vcpus {
    threads: Vec<VcpuThread>,
    shared: Arc<Shared>,
}

/// One thread as others see it.
struct VcpuThread {
    handle: JoinHandle<Cpu>,
    exit_now: ExitNow,
}

/// `immediate_exit` in the `kvm_run` of a vCPU, which two threads use.
#[derive(Clone, Copy)]
struct ExitNow(*const AtomicU8);

// SAFETY: the byte is only ever used as an atomic from here, and by the kernel; it lives as long as
// the thread's Cpu, which is dropped after the thread is joined and forgotten.
unsafe impl Send for ExitNow {}

impl ExitNow {
    fn of(cpu: &mut Cpu) -> ExitNow {
        ExitNow((&raw mut cpu.fd.get_kvm_run().immediate_exit).cast())
    }

    fn set(self, value: u8) {
        // SAFETY: see `Send`.
        unsafe { &*self.0 }.store(value, Ordering::SeqCst);
    }
}

/// What one turn in `KVM_RUN` came to.
pub(super) enum Turn {
    /// An exit was handled.
    Handled,
    /// It was kicked.
    Interrupted,
    /// The guest is at its end.
    End(VmEnd),
}

impl Vcpus {
    /// Starts a thread for each vCPU, in the order of their ids.
    ///
    /// # Errors
    /// If a thread or a descriptor cannot be had.
    pub(super) fn start(cpus: Vec<Cpu>, bus: Arc<Bus>, hush: EventFd) -> io::Result<Vcpus> {
        let shared = Arc::new(Shared {
            bus,
            orders: Orders(AtomicU8::new(Order::Run as u8)),
            hush,
            table: Mutex::new(Table { parked: vec![None; cpus.len()], end: None }),
            changed: Condvar::new(),
            ended: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
        });
        let mut all = Vcpus { threads: Vec::new(), shared: shared.clone() };
        for (index, mut cpu) in cpus.into_iter().enumerate() {
            let exit_now = ExitNow::of(&mut cpu);
            let shared = shared.clone();
            let handle = thread::Builder::new()
                .name(format!("vcpu-{index}"))
                .stack_size(STACK)
                .spawn(move || Vcpu { index, cpu, exit_now, shared }.live())?;
            all.threads.push(VcpuThread { handle, exit_now });
        }
        Ok(all)
    }

    /// Readable when [`Vcpus::end`] has an answer.
    pub(super) fn ended(&self) -> &EventFd {
        &self.shared.ended
    }

    /// How the guest ended, if it has.
    pub(super) fn end(&self) -> Option<VmEnd> {
        self.shared.table().end.clone()
    }

    /// Gets all vCPUs out of the guest and returns their states; they wait for [`Vcpus::resume`].
    /// `None` if they do not come within `patience`, or the guest is at its end: then they run on.
    pub(super) fn park(&self, patience: Duration) -> Option<Vec<Arc<VcpuState>>> {
        let deadline = Instant::now() + patience;
        self.shared.orders.give(Order::Park);
        let mut table = self.shared.table();
        while table.parked.iter().any(Option::is_none) {
            if table.end.is_some() || Instant::now() >= deadline {
                drop(table);
                self.resume();
                return None;
            }
            self.kick();
            table = self.shared.wait(table, KICK_PAUSE);
        }
        table.parked.iter().cloned().collect()
    }

    /// Lets parked vCPUs run on.
    pub(super) fn resume(&self) {
        // With the lock, so that a thread which is about to wait does not miss it.
        let table = self.shared.table();
        self.shared.orders.give(Order::Run);
        self.shared.changed.notify_all();
        drop(table);
    }

    /// Ends all threads.
    pub(super) fn stop(&mut self) {
        {
            let _table = self.shared.table();
            self.shared.orders.give(Order::Stop);
            self.shared.changed.notify_all();
        }
        let _ = self.shared.hush.write(1);
        while self.threads.iter().any(|thread| !thread.handle.is_finished()) {
            self.kick();
            // Not a wait for an event, as a thread's very end is none; a kick takes some 10 µs.
            thread::sleep(Duration::from_micros(50));
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on stderr.
            let _ = thread.handle.join();
        }
    }

    fn kick(&self) {
        for thread in self.threads.iter().filter(|thread| !thread.handle.is_finished()) {
            thread.exit_now.set(1);
            // SAFETY: the thread is not joined yet, so that its id is its own; the signal has a
            // handler.
            unsafe { libc::pthread_kill(thread.handle.as_pthread_t(), kick_signal()) };
        }
    }
}

impl Drop for Vcpus {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // A thread that panicked with the lock held left a table that is still well-formed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how the guest ended, unless somebody has.
    fn end(&self, end: VmEnd) {
        self.table().end.get_or_insert(end);
        self.changed.notify_all();
        // Only fails when the counter is full, and then it is readable anyway.
        let _ = self.ended.write(1);
    }

    fn wait<'t>(&self, table: MutexGuard<'t, Table>, most: Duration) -> MutexGuard<'t, Table> {
        self.changed.wait_timeout(table, most).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Dropped when a vCPU's thread panics: the VM must not wait for it.
struct Farewell<'a>(&'a Shared);

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        self.0
            .end(VmEnd::Failed("a vCPU's thread panicked, which is a fault of sudbox".to_owned()));
    }
}

/// One vCPU, in its thread.
struct Vcpu {
    index: usize,
    cpu: Cpu,
    exit_now: ExitNow,
    shared: Arc<Shared>,
}

impl Vcpu {
    fn live(mut self) -> Cpu {
        let shared = self.shared.clone();
        let farewell = Farewell(&shared);
        let end = match seccomp::confine(Thread::Vcpu) {
            Ok(()) => self.run(),
            Err(e) => Some(VmEnd::Failed(format!("no seccomp filter for a vCPU: {e}"))),
        };
        std::mem::forget(farewell);
        if let Some(end) = end {
            shared.end(end);
        }
        // Its mapping holds the byte by which this thread is kicked, so it outlives the thread.
        self.cpu
    }

    /// Obeys orders until the end: of the guest, or by order.
    fn run(&mut self) -> Option<VmEnd> {
        loop {
            // In this order: a kick that comes after this line is seen at the latest by KVM_RUN,
            // one that came before it by the line after.
            self.exit_now.set(0);
            if self.shared.orders.is(Order::Stop) {
                return None;
            }
            if self.shared.orders.is(Order::Park)
                && let Some(end) = self.park()
            {
                return Some(end);
            }
            if let Turn::End(end) = self.turn() {
                return Some(end);
            }
        }
    }

    /// Saves the state and waits until the order is another.
    fn park(&mut self) -> Option<VmEnd> {
        // KVM finishes an access of the guest to a device on the next entry only.
        loop {
            self.exit_now.set(1);
            match self.turn() {
                Turn::Handled => {}
                Turn::Interrupted => break,
                Turn::End(end) => return Some(end),
            }
        }
        let state = match self.cpu.save() {
            Ok(state) => state,
            Err(e) => return Some(VmEnd::Failed(format!("cannot read a vCPU's state: {e}"))),
        };
        let mut table = self.shared.table();
        table.parked[self.index] = Some(Arc::new(state));
        self.shared.changed.notify_all();
        while self.shared.orders.is(Order::Park) {
            table = self.shared.changed.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        table.parked[self.index] = None;
        None
    }

    fn turn(&mut self) -> Turn {
        self.cpu.turn(self.index, &self.shared.bus)
    }
}
