// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Times batches of an operation by the processor's counter.

use super::interrupts;
use crate::arch::{OperationLoop, OperationMarks, clock_counter, emulated_call_count};
use crate::case::Failure;
use crate::support::{broken, expect_equal, pin_to_current_cpu};
use crate::sys;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use sudbox_protocol::Measurement;

/// The batches of a measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batches {
    /// The number of operations in each batch.
    pub(super) operations: u32,
    /// The number of batches.
    pub(super) count: usize,
}

/// The batches for operations of at most one system call: many batches fit between two timer
/// interrupts.
pub(super) const BATCHES_FOR_CALLS: Batches = Batches { operations: 64, count: 256 };

/// The batches for operations that switch to another task and back.
pub(super) const BATCHES_FOR_SWITCHES: Batches = Batches { operations: 16, count: 128 };

/// The number of measured batches per warm-up batch. Warm-up batches run first, fill caches and
/// branch predictors, and are not measured.
const BATCHES_PER_WARM_UP: usize = 8;

/// The number of operations after the batches that are marked for a tracer on the host. When the tracer
/// resumes the guest, an interrupt lengthens the first.
const MARKED_OPERATIONS: usize = 4;

/// The number with which the operations of this process are marked.
static OPERATION_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Sets the number with which the operations of this process and its children are marked.
pub(super) fn set_operation_number(number: u64) {
    OPERATION_NUMBER.store(number, Ordering::Relaxed);
}

/// Time to sleep before tasks become real-time tasks, and after a thread has changed its CPU.
pub(super) const SETTLE_TIME: Duration = Duration::from_millis(100);

/// The measurement of this process's case.
static MEASUREMENT: Mutex<Option<Measurement>> = Mutex::new(None);

/// Takes the measurement of this process's case.
pub(crate) fn take_measurement() -> Option<Measurement> {
    MEASUREMENT.lock().ok()?.take()
}

/// A measurement in progress, on one CPU.
pub(super) struct Stopwatch {
    planned: Batches,
    /// Ticks of each batch, in memory that children share.
    batches: &'static mut [u64],
    /// Ticks of each batch of the empty loop.
    empty_batches: Vec<u64>,
    /// Counter and clock at the start.
    start: (u64, Duration),
    /// Calls that this process had emulated at the start.
    emulated_before: u64,
    /// Interrupts of all CPUs at the start, if known.
    interrupts_before: Option<u64>,
    /// `None` if the operations are not marked.
    marks: Option<OperationMarks>,
}

impl Stopwatch {
    /// Pins this process to its current CPU, and times the empty loop.
    pub(super) fn start(planned: Batches) -> Result<Stopwatch, Failure> {
        pin_to_current_cpu()?;
        if planned.operations == BATCHES_FOR_SWITCHES.operations {
            make_real_time()?;
        }
        let bytes = sys::map_shared(planned.count * size_of::<u64>()).map_err(broken("mmap"))?;
        // SAFETY: newly mapped, aligned, zeroed, and never unmapped.
        let batches = unsafe { std::slice::from_raw_parts_mut(bytes.cast(), planned.count) };
        let mut empty_batches = vec![0; planned.count];
        let start = read_clocks();
        time_batches(&mut empty_batches, planned.operations, &|count| {
            let _ = OperationLoop::empty().repeat(count);
        });
        Ok(Stopwatch {
            planned,
            batches,
            empty_batches,
            start,
            emulated_before: emulated_call_count(),
            interrupts_before: interrupts::count(),
            marks: OperationMarks::map(),
        })
    }

    /// Does not mark the operations, because another CPU takes part in them.
    pub(super) fn without_marks(self) -> Stopwatch {
        Stopwatch { marks: None, ..self }
    }

    /// Times batches of `run`, whose argument is the number of operations to do. Between the
    /// operations it issues no system calls, does not allocate, and causes no page faults.
    pub(super) fn time(&mut self, run: impl Fn(u64)) {
        time_batches(self.batches, self.planned.operations, &run);
        let number = OPERATION_NUMBER.load(Ordering::Relaxed);
        if let Some(marks) = self.marks {
            marks.begin(number);
        }
        for _ in 0..MARKED_OPERATIONS {
            run(1);
            if let Some(marks) = self.marks {
                marks.next();
            }
        }
        if let Some(marks) = self.marks {
            marks.end();
        }
    }

    /// The number of operations that [`Stopwatch::time`] does, warm-up and marked ones included.
    pub(super) fn total(&self) -> u64 {
        let batches = self.planned.count + self.planned.count / BATCHES_PER_WARM_UP;
        u64::from(self.planned.operations) * batches as u64 + MARKED_OPERATIONS as u64
    }

    /// Checks that `expected` calls were emulated in this process since the start.
    pub(super) fn expect_emulated(&self, expected: u64) -> Result<(), Failure> {
        expect_equal("emulated calls", emulated_call_count() - self.emulated_before, expected)
    }

    /// Stores the measurement for the runner.
    pub(super) fn store(self) -> Result<(), Failure> {
        let end = read_clocks();
        let interrupts = self.interrupts_before.zip(interrupts::count());
        let interrupts = interrupts.map_or(0, |(before, now)| now.wrapping_sub(before));
        let nanoseconds = end.1.saturating_sub(self.start.1).as_nanos();
        let total_operations = self.total();
        let measurement = Measurement {
            operations: self.planned.operations,
            batches: self.batches.to_vec(),
            empty_batches: self.empty_batches,
            ticks: end.0.wrapping_sub(self.start.0),
            nanoseconds: u64::try_from(nanoseconds).unwrap_or(u64::MAX),
            interrupts,
            total_operations,
        };
        *MEASUREMENT.lock().map_err(broken("storing the measurement"))? = Some(measurement);
        Ok(())
    }
}

/// Times each batch, after the warm-up.
fn time_batches(batches: &mut [u64], operations: u32, run: &impl Fn(u64)) {
    let count = operations.into();
    for _ in 0..batches.len() / BATCHES_PER_WARM_UP {
        run(count);
    }
    for ticks in batches {
        let start = clock_counter();
        run(count);
        *ticks = clock_counter().wrapping_sub(start);
    }
}

/// Makes this task and its children real-time tasks (`SCHED_FIFO`), which run in turn. Under the
/// fair scheduler, its work at a switch would depend on how long each task has run before. An
/// ordinary user may not do this; the benchmark then runs under the fair scheduler.
///
/// Sleeps first: without that, one boot in four had 12 more instructions in every switch.
fn make_real_time() -> Result<(), Failure> {
    sys::sleep(SETTLE_TIME);
    let least = libc::sched_param { sched_priority: 1 };
    let fifo = u64::from(libc::SCHED_FIFO.cast_unsigned());
    // SAFETY: reads the structure.
    match unsafe { sys::call(libc::SYS_sched_setscheduler, &[0, fifo, &raw const least as u64]) } {
        Ok(_) | Err(sys::Errno(libc::EPERM)) => Ok(()),
        Err(error) => Err(broken("sched_setscheduler")(error)),
    }
}

/// Reads the counter and the clock at the same moment: of eight tries the fastest, which no
/// interrupt has delayed.
fn read_clocks() -> (u64, Duration) {
    let sample = |_| {
        let (before, clock) = (clock_counter(), sys::clock(libc::CLOCK_MONOTONIC_RAW));
        (clock_counter().wrapping_sub(before), before, clock)
    };
    let (_, count, clock) = (0..8).map(sample).min_by_key(|(took, ..)| *took).unwrap_or_default();
    (count, clock)
}
