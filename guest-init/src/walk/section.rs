// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Critical sections of rseq(2) around the call of the first gate.

use crate::arch::{self, Gate};
use crate::rseq::{CriticalSection, RseqArea};
use crate::support::{spawn_child, wait_for_change};
use crate::sys::{self, WaitStatus};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The area of the first task of a process that is not in another task's memory. A forked child has its own copy.
/// The kernel accesses the area until the task has ended, so the area is in no stack frame.
pub(super) static FIRST_AREA: RseqArea = RseqArea::new();

/// Whether sections can be used.
static USABLE: AtomicBool = AtomicBool::new(false);

/// The section around the call of the first gate. It contains the compared address, for which the
/// kernel looks.
static SECTION: OnceLock<CriticalSection> = OnceLock::new();

/// Registers an area for this task, if sections can be used. The area must outlive the task.
pub(super) fn register(area: &RseqArea) -> sys::Result<()> {
    if !USABLE.load(Ordering::SeqCst) {
        return Ok(());
    }
    // SAFETY: the area outlives the task.
    unsafe { area.register(&arch::gate()) }
}

/// Starts the section. This task may issue no other call before that of the gate.
pub(super) fn start_section(area: &RseqArea) {
    area.section.store(SECTION.get().map_or(0, CriticalSection::address), Ordering::SeqCst);
}

/// Ends the section.
pub(super) fn end_section(area: &RseqArea) {
    area.section.store(0, Ordering::SeqCst);
}

/// Prepares sections for all sequences of this process. Returns false if calls in sections cannot be
/// tested: a kernel that checks rseq(2) kills for them (`CONFIG_DEBUG_RSEQ`).
pub(super) fn prepare() -> bool {
    let gate: Gate = arch::gate();
    SECTION.get_or_init(|| CriticalSection::around_call(&gate));
    let umask = arch::Registers::for_call(libc::SYS_umask.cast_unsigned(), [0; 6]);
    let end = spawn_child(|| {
        USABLE.store(true, Ordering::SeqCst);
        let area = &FIRST_AREA;
        if register(area).is_err() {
            return 1;
        }
        start_section(area);
        let _ = gate.issue(&umask);
        end_section(area);
        0
    })
    .and_then(wait_for_change);
    let usable = matches!(end, Ok(WaitStatus::Exited(0)));
    USABLE.store(usable, Ordering::SeqCst);
    usable
}
