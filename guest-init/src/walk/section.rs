// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Critical sections of rseq(2) around the call of the first gate.

use crate::arch::{self, Gate};
use crate::support::{spawn_child, wait_for_change};
use crate::sys::{self, Change};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The original `struct rseq` (include/uapi/linux/rseq.h) of a task.
#[repr(C, align(32))]
pub(super) struct RseqArea {
    cpu_start: AtomicU32,
    cpu: AtomicU32,
    /// The address of the critical section; 0 for none.
    section: AtomicU64,
    flags: u32,
    rest: [u32; 3],
}

/// `struct rseq_cs`.
#[repr(C, align(32))]
struct CriticalSection {
    version: u32,
    flags: u32,
    start: u64,
    length: u64,
    abort: u64,
}

/// The area of the first task of a process that is not in another task's memory. A forked child has its own copy.
/// The kernel accesses the area until the task has ended, so the area is in no stack frame.
pub(super) static FIRST_AREA: RseqArea = RseqArea::new();

/// Whether sections can be used.
static USABLE: AtomicBool = AtomicBool::new(false);

/// The section around the call of the first gate. It contains the compared address, for which the
/// kernel looks.
static SECTION: OnceLock<CriticalSection> = OnceLock::new();

impl RseqArea {
    pub(super) const fn new() -> RseqArea {
        RseqArea {
            cpu_start: AtomicU32::new(0),
            cpu: AtomicU32::new(u32::MAX),
            section: AtomicU64::new(0),
            flags: 0,
            rest: [0; 3],
        }
    }

    /// Registers the area for this task, if sections can be used. The area must outlive the task.
    pub(super) fn register(&self) -> sys::Result<()> {
        if !USABLE.load(Ordering::SeqCst) {
            return Ok(());
        }
        let place = std::ptr::from_ref(self) as u64;
        // The kernel compares the four bytes before the abort address with the signature that is registered
        // here. It accepts any signature, so register the bytes that the gate has there.
        let abort = arch::gate().other_continuation();
        // SAFETY: reads the gate's code.
        let signature = unsafe { ((abort - 4) as *const u32).read_unaligned() };
        let length = size_of::<RseqArea>() as u64;
        // SAFETY: the area outlives the task.
        unsafe { sys::call(libc::SYS_rseq, &[place, length, 0, signature.into()]) }.map(drop)
    }

    /// Starts the section. This task may issue no other call before that of the gate.
    pub(super) fn start_section(&self) {
        let section = SECTION.get().map_or(0, |section| std::ptr::from_ref(section) as u64);
        self.section.store(section, Ordering::SeqCst);
    }

    /// Ends the section.
    pub(super) fn end_section(&self) {
        self.section.store(0, Ordering::SeqCst);
    }
}

/// Prepares sections for all sequences of this process. Returns false if calls in sections cannot be
/// tested: a kernel that checks rseq(2) kills for them (`CONFIG_DEBUG_RSEQ`).
pub(super) fn prepare() -> bool {
    let gate: Gate = arch::gate();
    SECTION.get_or_init(|| CriticalSection {
        version: 0,
        flags: 0,
        start: gate.call_address(),
        length: arch::CALL_LENGTH + 1,
        abort: gate.other_continuation(),
    });
    let umask = arch::Registers::for_call(libc::SYS_umask.cast_unsigned(), [0; 6]);
    let end = spawn_child(|| {
        USABLE.store(true, Ordering::SeqCst);
        let area = &FIRST_AREA;
        if area.register().is_err() {
            return 1;
        }
        area.start_section();
        let _ = gate.issue(&umask);
        area.end_section();
        0
    })
    .and_then(wait_for_change);
    let usable = matches!(end, Ok(Change::Exited(0)));
    USABLE.store(usable, Ordering::SeqCst);
    usable
}

/// The number of context switches of this task (getrusage(2)), or -1.
pub(super) fn context_switches() -> i64 {
    // SAFETY: a structure of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let who = u64::from(libc::RUSAGE_THREAD.cast_unsigned());
    // SAFETY: the structure is live.
    match unsafe { sys::call(libc::SYS_getrusage, &[who, &raw mut usage as u64]) } {
        Ok(_) => usage.ru_nvcsw + usage.ru_nivcsw,
        Err(_) => -1,
    }
}
