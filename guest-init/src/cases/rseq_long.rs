// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch together with the extended rseq area, with which the kernel need not check critical sections at
//! every signal.

use super::check_on;
use super::registers::expect_next_instruction;
use crate::arch::{self, Gate};
use crate::case::{Case, Check, Failure, Need, OnlyArchs, outside_core};
use crate::rseq::{self, CriticalSection};
use crate::shared::shared;
use crate::support::*;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use sudbox_protocol::Feature;

const NEEDS_RSEQ: &[Feature] = &[Feature::Dispatch, Feature::RseqSlices];

pub(super) const CASES: &[Case] = &[
    outside_core(
        "rseq/optimized-section",
        "with an area of the longer form a dispatch from within a critical section leaves the section \
         alone, as no interrupt came in between",
        "rseq_signal_deliver()",
        optimized_section,
    )
    .features(NEEDS_RSEQ),
    outside_core(
        "rseq/slice-ended",
        "a dispatched call ends the time slice extension of its thread before the handler runs, as an \
         allowed call does, and a trap does not",
        "rseq_syscall_enter_work()",
        check_on!("x86_64", slices::slice_ended),
    )
    .features(NEEDS_RSEQ)
    .needs(&[Need::Root, Need::FastMachine])
    .only(OnlyArchs::TIME_SLICE_EXTENSIONS)
    .known_bugs(&["slice-kept-over-dispatch"]),
];

/// `struct rseq` with the fields of 7.0 (include/uapi/linux/rseq.h). By its size the kernel recognises the
/// extended interface.
#[repr(C, align(64))]
pub(super) struct LongRseqArea {
    cpu_start: AtomicU32,
    cpu: AtomicU32,
    section: AtomicU64,
    flags: AtomicU32,
    node: AtomicU32,
    id: AtomicU32,
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
    id: AtomicU32::new(0),
    request: AtomicU8::new(0),
    granted: AtomicU8::new(0),
    rest: [0; 34],
};

/// Registers [`AREA`]; sections of this gate are aborted to [`Gate::other_continuation`].
pub(super) fn register_area(gate: &Gate) -> Check {
    // SAFETY: the area is a static whose fields are atomics.
    unsafe { rseq::register(&raw const AREA as u64, size_of::<LongRseqArea>(), gate) }
        .map_err(broken("rseq"))
}

fn optimized_section() -> Check {
    let gate = arch::gate();
    register_area(&gate)?;
    let section = Box::leak(Box::new(CriticalSection::around_call(&gate)));
    handle_dispatches(do_nothing)?;
    let regs = fresh_umask_call();
    arm()?;
    // A timer interrupt in the section aborts it, which is correct; then try again.
    for _ in 0..100 {
        reset_dispatch_count();
        AREA.section.store(section.address(), Ordering::SeqCst);
        let after = issue_blocked(&gate, &regs);
        let section_after = AREA.section.swap(0, Ordering::SeqCst);
        expect_equal("SIGSYS handled", dispatch_count(), 1)?;
        let record =
            shared().sigsys_record(0).ok_or_else(|| Failure::Broken("nothing recorded".into()))?;
        if section_after == 0 {
            continue;
        }
        disarm()?;
        expect_next_instruction(&after, &record, gate.compared_address())?;
        expect_result_kept("after it", &after)?;
        return expect_equal("effect", take_umask_effect(), false);
    }
    Err(mismatch("a section that is left alone in one of 100 calls", "none"))
}
