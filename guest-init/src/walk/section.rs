// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Critical sections of rseq(2) around the call of the first gate.

use crate::arch::{self, Gate};
use crate::rseq::{CriticalSection, RseqArea};
use crate::support::{spawn_child, wait_for_change};
use crate::sys::{self, WaitStatus};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The rseq area of the first task of a process with its own memory; a forked child has its own copy. The area
/// is static, since the kernel accesses it until the task has ended.
pub(super) static FIRST_AREA: RseqArea = RseqArea::new();

/// Whether the kernel permits system calls in critical sections.
static USABLE: AtomicBool = AtomicBool::new(false);

/// The section around the call of the first gate.
static SECTION: OnceLock<CriticalSection> = OnceLock::new();

/// Registers an area for this task, if sections can be used. The area must outlive the task.
pub(super) fn register(area: &RseqArea) -> sys::Result<()> {
    if !USABLE.load(Ordering::SeqCst) {
        return Ok(());
    }
    // SAFETY: the area outlives the task.
    unsafe { area.register(&arch::gate()) }
}

/// Starts the section. The task must issue no other call before the gate's call.
pub(super) fn start_section(area: &RseqArea) {
    area.section.store(SECTION.get().map_or(0, CriticalSection::address), Ordering::SeqCst);
}

/// Ends the section.
pub(super) fn end_section(area: &RseqArea) {
    area.section.store(0, Ordering::SeqCst);
}

/// Prepares sections for all sequences of this process. Returns false if calls in sections cannot be
/// tested: a kernel with `CONFIG_DEBUG_RSEQ` kills a process that issues a call in a section.
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
