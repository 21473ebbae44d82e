// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch together with restartable sequences (rseq(2)).

use super::registers::expect_next_instruction;
use crate::arch::{self, Gate};
use crate::case::{Case, Check, Failure, Need, case_not_in_core};
use crate::rseq::{self, CriticalSection, RseqArea};
use crate::support::*;
use crate::sys::WaitStatus;
use std::sync::atomic::Ordering;
use sudbox_protocol::Feature;

const NEEDS_RSEQ: &[Feature] = &[Feature::Dispatch, Feature::Rseq];

pub(super) const CASES: &[Case] = &[
    case_not_in_core(
        "rseq/section-aborted",
        "a dispatch in a critical section aborts the section, and the signal frame has the abort address",
        "rseq_signal_deliver()",
        section_aborted,
    )
    .features(NEEDS_RSEQ)
    .known_bugs(&["rseq-ignores-signals-of-calls"]),
    case_not_in_core(
        "rseq/other-section-left",
        "a dispatch from outside the critical section continues after the call",
        "rseq_signal_deliver()",
        other_section_left,
    )
    .features(NEEDS_RSEQ),
    case_not_in_core(
        "rseq/section-checked",
        "a kernel that kills for a call in a critical section also kills for a dispatched call there",
        "rseq_syscall()",
        section_checked,
    )
    .needs(&[Need::BootArgument("rseq_debug=1")])
    .features(NEEDS_RSEQ),
];

/// Registers an rseq area. Sections of this gate abort to [`Gate::other_continuation`].
fn register_area(gate: &Gate) -> Result<&'static RseqArea, Failure> {
    let area = Box::leak(Box::new(RseqArea::new()));
    // SAFETY: the area is never freed.
    unsafe { area.register(gate) }.map_err(broken("rseq"))?;
    Ok(area)
}

/// Creates a critical section, which aborts to `gate.other_continuation()`. Returns its address.
fn section_address(gate: &Gate, start: u64, length: u64) -> u64 {
    Box::leak(Box::new(CriticalSection::new(gate, start, length))).address()
}

/// Creates a critical section around the system call instruction of a gate. Returns its address.
fn section_around_call(gate: &Gate) -> u64 {
    Box::leak(Box::new(CriticalSection::around_call(gate))).address()
}

/// The number of context switches of this task. A context switch between the store of the section's address
/// and the call clears that address, so that the trial must be repeated.
fn context_switches() -> Result<i64, Failure> {
    rseq::context_switches().map_err(broken("getrusage"))
}

/// Exit code of a child that had a context switch.
const CONTEXT_SWITCHED: i32 = 98;

/// Forks a child that calls `trial` and then exits with 0. Returns how the child ended. Repeats both until a
/// child has no context switch.
fn run_without_context_switch(trial: impl Fn() -> Check) -> Result<WaitStatus, Failure> {
    loop {
        let status = wait_for_change(spawn_child(|| {
            let Ok(before) = context_switches() else { return SETUP_FAILED };
            if trial().is_err() {
                return SETUP_FAILED;
            }
            match context_switches() {
                Ok(after) if after == before => 0,
                Ok(_) => CONTEXT_SWITCHED,
                Err(_) => SETUP_FAILED,
            }
        })?)?;
        if status != WaitStatus::Exited(CONTEXT_SWITCHED) {
            return Ok(status);
        }
    }
}

/// Whether this kernel kills for a call in a critical section: a kernel with `CONFIG_DEBUG_RSEQ`, or since
/// 6.19 with the boot argument `rseq_debug=1`.
fn kills_in_section(gate: &Gate, area: &'static RseqArea, section: u64) -> Result<bool, Failure> {
    let regs = fresh_umask_call();
    let status = run_without_context_switch(|| {
        area.section.store(section, Ordering::SeqCst);
        let _ = gate.issue(&regs);
        Ok(())
    })?;
    match status {
        WaitStatus::Exited(0) => Ok(false),
        WaitStatus::Killed { signal: libc::SIGSEGV, .. } => Ok(true),
        other => {
            Err(mismatch("a call in a critical section returns or kills", format!("it {other}")))
        }
    }
}

fn section_aborted() -> Check {
    let gate = arch::gate();
    let area = register_area(&gate)?;
    let section = section_around_call(&gate);
    if kills_in_section(&gate, area, section)? {
        return Err(Failure::Unmet("calls in critical sections".into()));
    }
    handle_dispatches(do_nothing)?;
    arm()?;
    let (after, section_after) = loop {
        let regs = fresh_umask_call();
        reset_dispatch_count();
        let before = context_switches()?;
        // Between this store and the call, this task may issue no other call.
        area.section.store(section, Ordering::SeqCst);
        let after = issue_blocked(&gate, &regs);
        let section_after = area.section.load(Ordering::SeqCst);
        area.section.store(0, Ordering::SeqCst);
        if context_switches()? == before {
            break (after, section_after);
        }
    };
    disarm()?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    let record = first_sigsys_record()?;
    expect_equal_hex("si_call_addr", record.call_address(), gate.compared_address())?;
    expect_next_instruction(&after, &record, gate.other_continuation())?;
    expect_result_kept("after the dispatch", &after)?;
    expect_equal_hex("the critical section", section_after, 0)?;
    expect_equal("effect", take_umask_effect(), false)
}

fn other_section_left() -> Check {
    let gate = arch::gate();
    let area = register_area(&gate)?;
    handle_dispatches(do_nothing)?;
    arm()?;
    // The kernel compares the section with the address after the instruction. One section ends just before
    // that address, the other section begins just after it.
    for (start, length) in
        [(gate.call_address() - 1, arch::CALL_LENGTH + 1), (gate.compared_address() + 1, 1)]
    {
        let section = section_address(&gate, start, length);
        let after = loop {
            let regs = fresh_umask_call();
            reset_dispatch_count();
            let before = context_switches()?;
            area.section.store(section, Ordering::SeqCst);
            let after = issue_blocked(&gate, &regs);
            area.section.store(0, Ordering::SeqCst);
            if context_switches()? == before {
                break after;
            }
        };
        expect_equal("SIGSYS handled", dispatch_count(), 1)?;
        let record = first_sigsys_record()?;
        expect_next_instruction(&after, &record, gate.compared_address())?;
        expect_equal("effect", take_umask_effect(), false)?;
    }
    disarm()
}

fn section_checked() -> Check {
    let gate = arch::gate();
    let area = register_area(&gate)?;
    let section = section_around_call(&gate);
    if !kills_in_section(&gate, area, section)? {
        return Err(Failure::Unmet(Feature::RseqChecks.as_str().into()));
    }
    handle_dispatches(do_nothing)?;
    let regs = fresh_umask_call();
    let status = run_without_context_switch(|| {
        // The call of an earlier trial may have been dispatched.
        reset_dispatch_count();
        arm()?;
        set_selector(BLOCK);
        area.section.store(section, Ordering::SeqCst);
        let _ = gate.issue(&regs);
        set_selector(ALLOW);
        Ok(())
    })?;
    expect_killed(status, libc::SIGSEGV, 0)
}
