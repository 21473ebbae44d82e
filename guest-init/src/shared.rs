// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Memory that the runner, a case's child and its subjects share: the case's report to the
//! runner, and what handlers saw, which survives the death of the process in which they ran.

use crate::arch::Registers;
use crate::sys;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Room for a case's messages: texts are cut at 16 KiB by the protocol, two to a failure.
const REPORT_BYTES: usize = 64 * 1024;

/// How many of the dispatches of a case are kept in full.
pub const KEPT: usize = 8;

/// One SIGSYS as its handler saw it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Seen {
    /// `struct siginfo`, whole.
    pub info: [u8; 128],
    /// The registers in the signal frame.
    pub registers: Registers,
    /// The flags when the handler began.
    pub flags: u64,
    /// The stack pointer in the handler.
    pub stack: u64,
    /// The mask in the signal frame.
    pub frame_mask: u64,
}

/// The shared memory. All of it is zero when a case begins.
#[repr(C)]
pub struct Shared {
    /// How many SIGSYS reached a handler, in all processes of the case.
    pub dispatches: AtomicU32,
    /// How many other signals reached a handler.
    pub others: AtomicU32,
    /// For a case's own use.
    pub marks: [AtomicU64; 16],
    seen: UnsafeCell<[Seen; KEPT]>,
    report_length: AtomicU32,
    report: UnsafeCell<[u8; REPORT_BYTES]>,
}

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

/// Makes the shared memory; once, by the runner.
///
/// # Errors
/// As `mmap(2)`.
pub fn create() -> sys::Result<()> {
    SHARED.store(sys::map(size_of::<Shared>(), true)?.cast(), Ordering::Relaxed);
    Ok(())
}

/// The shared memory.
#[must_use]
pub fn shared() -> &'static Shared {
    // SAFETY: the runner made it before any case, it is never unmapped, zero bytes are a valid
    // value of every field, and what is not atomic is reached through the methods below only.
    unsafe { &*SHARED.load(Ordering::Relaxed) }
}

impl Shared {
    /// Makes all zero again but the report's text; by the runner between cases.
    pub fn clear(&self) {
        let start = std::ptr::from_ref(self).cast_mut().cast::<u8>();
        // SAFETY: zero is valid for every field; no other process has the memory now.
        unsafe { start.write_bytes(0, std::mem::offset_of!(Shared, report)) };
    }

    /// Keeps what a handler saw, if there is room; counts it in any case. Gives its index.
    pub fn record(&self, seen: &Seen) -> u32 {
        let index = self.dispatches.fetch_add(1, Ordering::SeqCst);
        if (index as usize) < KEPT {
            // SAFETY: the counter gives each slot to one handler only.
            unsafe { (*self.seen.get())[index as usize] = *seen };
        }
        index
    }

    /// What the handler saw at the dispatch with this index, counted from 0.
    #[must_use]
    pub fn seen(&self, index: usize) -> Option<Seen> {
        let count = self.dispatches.load(Ordering::SeqCst) as usize;
        // SAFETY: the slot was filled before its handler returned, and the asker comes after.
        (index < count.min(KEPT)).then(|| unsafe { (*self.seen.get())[index] })
    }

    /// Leaves the case's messages for the runner.
    pub fn leave_report(&self, frames: &[u8]) {
        let length = frames.len().min(REPORT_BYTES);
        // SAFETY: one child writes, the runner reads after its death.
        unsafe { (&mut (*self.report.get()))[..length].copy_from_slice(&frames[..length]) };
        self.report_length.store(u32::try_from(length).unwrap_or(0), Ordering::SeqCst);
    }

    /// The messages that the case left; empty if none.
    #[must_use]
    pub fn report(&self) -> Vec<u8> {
        let length = (self.report_length.load(Ordering::SeqCst) as usize).min(REPORT_BYTES);
        // SAFETY: the case's child is dead, nobody writes.
        unsafe { (&(*self.report.get()))[..length].to_vec() }
    }
}
