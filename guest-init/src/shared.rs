// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Memory that the runner shares with a case's child and with the processes that the child starts. The
//! case's report and the records of dispatches are in this memory, so that they survive their process.

use crate::arch::Registers;
use crate::sys;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Maximum number of bytes of a case's report. A failure has two texts, which the protocol cuts at 16
/// KiB each.
const REPORT_CAPACITY: usize = 64 * 1024;

/// Maximum number of dispatches of a case that are recorded in full; later ones are only counted.
pub const MAX_RECORDED: usize = 8;

/// The state at the entry of the SIGSYS handler, as the handler records it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SigsysRecord {
    /// The whole `siginfo_t`.
    pub info: [u8; 128],
    /// The registers in the signal frame.
    pub registers: Registers,
    /// The processor flags at the handler's entry.
    pub flags: u64,
    /// The stack pointer in the handler.
    pub stack: u64,
    /// The signal mask in the signal frame.
    pub frame_mask: u64,
}

/// The shared memory. It is zeroed before each case.
#[repr(C)]
pub struct Shared {
    /// The number of SIGSYS handled, in all processes of the case.
    pub dispatches: AtomicU32,
    /// The number of other signals handled.
    pub other_signals: AtomicU32,
    /// Words by which the processes of a case synchronise and report values to each other.
    pub words: [AtomicU64; 16],
    /// The number of [`KernelChange`]s.
    kernel_changes: AtomicU32,
    records: UnsafeCell<[SigsysRecord; MAX_RECORDED]>,
    report_length: AtomicU32,
    report: UnsafeCell<[u8; REPORT_CAPACITY]>,
}

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

/// Maps the shared memory. The runner calls this once.
///
/// # Errors
/// As `mmap(2)`.
pub fn create() -> sys::Result<()> {
    SHARED.store(sys::map_shared(size_of::<Shared>())?.cast(), Ordering::Relaxed);
    Ok(())
}

/// The shared memory.
#[must_use]
pub fn shared() -> &'static Shared {
    // SAFETY: the runner maps the memory before any case and never unmaps it; zeros are valid for every
    // field; only the methods of `Shared` access the fields that are not atomic.
    unsafe { &*SHARED.load(Ordering::Relaxed) }
}

/// A change of the kernel's state that outlives the processes of the case, such as a sysctl or a trace
/// event. It counts until [`KernelChange::end`]: also after a drop, if undoing the change failed.
#[derive(Debug)]
pub struct KernelChange(());

impl KernelChange {
    /// Counts a change.
    #[must_use]
    pub fn begin() -> KernelChange {
        shared().kernel_changes.fetch_add(1, Ordering::SeqCst);
        KernelChange(())
    }

    /// No longer counts the change, which is undone.
    pub fn end(self) {
        shared().kernel_changes.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    /// Whether the case ended without undoing all its [`KernelChange`]s.
    #[must_use]
    pub fn is_kernel_changed(&self) -> bool {
        self.kernel_changes.load(Ordering::SeqCst) != 0
    }

    /// Zeroes all fields before the report. The runner calls this between cases.
    pub fn clear(&self) {
        let start = std::ptr::from_ref(self).cast_mut().cast::<u8>();
        // SAFETY: zeros are valid for every field, and no other process uses the memory now.
        unsafe { start.write_bytes(0, std::mem::offset_of!(Shared, report)) };
    }

    /// Counts a dispatch, and stores its record if there is space. Returns the number of earlier dispatches.
    pub fn record_sigsys(&self, record: &SigsysRecord) -> u32 {
        let index = self.dispatches.fetch_add(1, Ordering::SeqCst);
        if (index as usize) < MAX_RECORDED {
            // SAFETY: the counter gives each index to one handler only.
            unsafe { (*self.records.get())[index as usize] = *record };
        }
        index
    }

    /// The record of the dispatch with this index, from 0. `None` if that dispatch was not recorded.
    #[must_use]
    pub fn sigsys_record(&self, index: usize) -> Option<SigsysRecord> {
        let count = self.dispatches.load(Ordering::SeqCst) as usize;
        // SAFETY: the handler wrote the record before it returned, and cases read it after that.
        (index < count.min(MAX_RECORDED)).then(|| unsafe { (*self.records.get())[index] })
    }

    /// Stores the case's messages, as frames, for the runner.
    pub fn store_report(&self, frames: &[u8]) {
        let length = frames.len().min(REPORT_CAPACITY);
        // SAFETY: only the case's child writes, and the runner reads after its death.
        unsafe { (&mut (*self.report.get()))[..length].copy_from_slice(&frames[..length]) };
        self.report_length.store(u32::try_from(length).unwrap_or(0), Ordering::SeqCst);
    }

    /// The messages that the case stored, as frames; empty if none.
    #[must_use]
    pub fn report(&self) -> Vec<u8> {
        let length = (self.report_length.load(Ordering::SeqCst) as usize).min(REPORT_CAPACITY);
        // SAFETY: the case's child is dead, so nothing writes.
        unsafe { (&(*self.report.get()))[..length].to_vec() }
    }
}
