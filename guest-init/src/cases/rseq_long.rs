// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch together with the extended rseq area. With such an area the kernel checks a critical section only
//! after an interrupt, and not at every signal.

use super::check_on;
use super::registers::expect_next_instruction;
use crate::arch::{self, Gate};
use crate::case::{Case, Check, Need, OnlyArchs, case_not_in_core};
use crate::rseq::{self, CriticalSection};
use crate::support::*;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use sudbox_protocol::Feature;

const NEEDS_RSEQ: &[Feature] = &[Feature::Dispatch, Feature::RseqSlices];

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "rseq/optimized-section",
        "with an extended rseq area a dispatch from within a critical section does not abort the section, \
         unless an interrupt came",
        "rseq_signal_deliver()",
        section_not_aborted,
    )
    .features(NEEDS_RSEQ),
    case_not_in_core(
        "rseq/slice-ended",
        "a dispatched call ends the time slice extension of its thread before the handler runs, as an \
         allowed call does; a breakpoint instruction does not end it",
        "rseq_syscall_enter_work()",
        check_on!("x86_64", this_arch::slices::slice_ended),
    )
    .features(NEEDS_RSEQ)
    .needs(&[Need::Root, Need::FastMachine])
    .only(OnlyArchs::TIME_SLICE_EXTENSIONS)
    .known_bugs(&["slice-kept-over-dispatch"]),
];

/// `struct rseq` with the fields of 7.0 (include/uapi/linux/rseq.h). The kernel recognises the extended
/// interface by the size of the structure.
#[repr(C, align(64))]
pub(super) struct LongRseqArea {
    cpu_start: AtomicU32,
    cpu: AtomicU32,
    section: AtomicU64,
    flags: AtomicU32,
    node: AtomicU32,
    mm_cid: AtomicU32,
    /// Set by the thread to request a time slice extension.
    pub(super) request: AtomicU8,
    /// Set by the kernel while the thread has a time slice extension.
    pub(super) granted: AtomicU8,
    rest: [u8; 34],
}

pub(super) static AREA: LongRseqArea = LongRseqArea {
    cpu_start: AtomicU32::new(0),
    cpu: AtomicU32::new(0),
    section: AtomicU64::new(0),
    flags: AtomicU32::new(0),
    node: AtomicU32::new(0),
    mm_cid: AtomicU32::new(0),
    request: AtomicU8::new(0),
    granted: AtomicU8::new(0),
    rest: [0; 34],
};

/// Registers [`AREA`]. When the kernel aborts a critical section of this gate, the thread continues at
/// [`Gate::other_continuation`].
pub(super) fn register_area(gate: &Gate) -> Check {
    // SAFETY: the area is a static whose fields are atomics.
    unsafe { rseq::register(&raw const AREA as u64, size_of::<LongRseqArea>(), gate) }
        .map_err(broken("rseq"))
}

fn section_not_aborted() -> Check {
    let gate = arch::gate();
    register_area(&gate)?;
    let section = Box::leak(Box::new(CriticalSection::around_call(&gate)));
    handle_dispatches(do_nothing)?;
    let regs = fresh_umask_call();
    arm()?;
    // A timer interrupt in the section aborts it, and the kernel then clears the section's address. After
    // that, try again.
    for _ in 0..100 {
        reset_dispatch_count();
        AREA.section.store(section.address(), Ordering::SeqCst);
        let after = issue_blocked(&gate, &regs);
        let section_after = AREA.section.swap(0, Ordering::SeqCst);
        expect_equal("SIGSYS handled", dispatch_count(), 1)?;
        let record = first_sigsys_record()?;
        if section_after == 0 {
            continue;
        }
        disarm()?;
        expect_next_instruction(&after, &record, gate.compared_address())?;
        expect_result_kept("after the dispatch", &after)?;
        return expect_equal("effect", take_umask_effect(), false);
    }
    Err(mismatch("100 calls in a section, of which at least one is not aborted", "all are aborted"))
}
