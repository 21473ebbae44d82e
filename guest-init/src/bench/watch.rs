// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Times batches of one operation by the processor's counter.

use crate::arch::{Repeat, answered, counter};
use crate::case::Failure;
use crate::support::{broken, equal};
use crate::sys;
use std::sync::Mutex;
use std::time::Duration;
use sudbox_protocol::Measurement;

/// How many batches there are, and how often each does the operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) operations: u32,
    pub(super) batches: usize,
}

/// Of what takes a call of the kernel or less: between two interrupts of its timer there is room for
/// many batches.
pub(super) const CALLS: Size = Size { operations: 64, batches: 256 };

/// Of what takes another task's help.
pub(super) const SWITCHES: Size = Size { operations: 16, batches: 128 };

/// One batch of so many is left out, before those that count: caches and predictors learn in them.
const WARM_UP: usize = 8;

/// How long tasks that help each other let this CPU be before they take it.
const QUIET: Duration = Duration::from_millis(100);

/// What the case of this process measured.
static MEASURED: Mutex<Option<Measurement>> = Mutex::new(None);

/// What the case of this process measured, once.
pub(crate) fn take() -> Option<Measurement> {
    MEASURED.lock().ok()?.take()
}

/// A measurement that goes on, on one CPU.
pub(super) struct Watch {
    size: Size,
    /// In memory that is shared with children.
    batches: &'static mut [u64],
    empty: Vec<u64>,
    start: (u64, Duration),
    answered: u64,
}

impl Watch {
    /// Takes the CPU that this runs on as the only one, and the time of the empty loop.
    pub(super) fn start(size: Size) -> Result<Watch, Failure> {
        pin()?;
        if size.operations == SWITCHES.operations {
            take_turns()?;
        }
        let bytes = sys::map(size.batches * size_of::<u64>(), true).map_err(broken("mmap"))?;
        // SAFETY: memory of its own, aligned and zero, that is never unmapped.
        let batches = unsafe { std::slice::from_raw_parts_mut(bytes.cast(), size.batches) };
        let mut empty = vec![0; size.batches];
        let start = moment();
        fill(&mut empty, size.operations, &|count| {
            let _ = Repeat::nothing().run(count);
        });
        Ok(Watch { size, batches, empty, start, answered: answered() })
    }

    /// Times batches of what `run` does as often as it is told. Enters the kernel by nothing but that,
    /// allocates nothing and touches only memory that it has touched before.
    pub(super) fn time(&mut self, run: impl Fn(u64)) {
        fill(self.batches, self.size.operations, &run);
    }

    /// How often [`Watch::time`] has the operation done.
    pub(super) fn total(&self) -> u64 {
        let batches = self.size.batches + self.size.batches / WARM_UP;
        u64::from(self.size.operations) * batches as u64
    }

    /// Whoever answers calls here has answered so many since the start.
    pub(super) fn expect_answers(&self, due: u64) -> Result<(), Failure> {
        equal("calls that were handed back", answered() - self.answered, due)
    }

    /// Keeps what was measured for the runner.
    pub(super) fn keep(self) -> Result<(), Failure> {
        let end = moment();
        let nanoseconds = end.1.saturating_sub(self.start.1).as_nanos();
        let measurement = Measurement {
            operations: self.size.operations,
            batches: self.batches.to_vec(),
            empty: self.empty,
            ticks: end.0.wrapping_sub(self.start.0),
            nanoseconds: u64::try_from(nanoseconds).unwrap_or(u64::MAX),
        };
        *MEASURED.lock().map_err(broken("what was measured"))? = Some(measurement);
        Ok(())
    }
}

fn fill(batches: &mut [u64], operations: u32, run: &impl Fn(u64)) {
    let count = operations.into();
    for _ in 0..batches.len() / WARM_UP {
        run(count);
    }
    for ticks in batches {
        let start = counter();
        run(count);
        *ticks = counter().wrapping_sub(start);
    }
}

/// Lets tasks that help each other run in turn, as real-time tasks: else it would depend on what each
/// has run before how often the scheduler looks at them. Not for an ordinary user, who has no right to
/// it.
///
/// It sleeps before: of boots that did not, one in four had 12 instructions more in every switch to the last
/// batch, of those that do all have.
fn take_turns() -> Result<(), Failure> {
    sys::sleep(QUIET);
    let least = libc::sched_param { sched_priority: 1 };
    let fifo = u64::from(libc::SCHED_FIFO.cast_unsigned());
    // SAFETY: reads the structure.
    match unsafe { sys::call(libc::SYS_sched_setscheduler, &[0, fifo, &raw const least as u64]) } {
        Ok(_) | Err(sys::Errno(libc::EPERM)) => Ok(()),
        Err(error) => Err(broken("sched_setscheduler")(error)),
    }
}

/// The counter and the clock, at once: of a few looks the one that took least, as an interrupt between
/// the two would tell them apart. The first is for the page faults that it costs a child.
fn moment() -> (u64, Duration) {
    let look = |_| {
        let (before, clock) = (counter(), sys::clock(libc::CLOCK_MONOTONIC_RAW));
        (counter().wrapping_sub(before), before, clock)
    };
    let (_, count, clock) = (0..8).map(look).min_by_key(|(took, ..)| *took).unwrap_or_default();
    (count, clock)
}

/// Lets this thread and whom it starts run on no other CPU than this one: their counter is one, and
/// their caches are.
fn pin() -> Result<(), Failure> {
    const WORD: u32 = u64::BITS;
    let (mut cpu, mut mask) = (0u32, [0u64; 128]);
    // SAFETY: writes the number.
    unsafe { sys::call(libc::SYS_getcpu, &[&raw mut cpu as u64, 0, 0]) }
        .map_err(broken("getcpu"))?;
    let word = mask.get_mut((cpu / WORD) as usize).ok_or_else(|| {
        Failure::Broken(format!("CPU {cpu} is beyond what is asked of sched_setaffinity"))
    })?;
    *word = 1 << (cpu % WORD);
    // SAFETY: reads the mask.
    unsafe {
        sys::call(
            libc::SYS_sched_setaffinity,
            &[0, size_of_val(&mask) as u64, mask.as_ptr() as u64],
        )
    }
    .map_err(broken("sched_setaffinity"))?;
    Ok(())
}
