// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The exact bounds of the range, in exclusive and inclusive mode.

use crate::arch::{self, Gate, Registers};
use crate::case::{Case, Check, Failure, case};
use crate::support::*;
use crate::{sys, vdso};
use sudbox_protocol::Feature;

const DISPATCH_FUNCTION: &str = "syscall_user_dispatch()";

pub(super) const CASES: &[Case] = &[
    case(
        "range/first-byte",
        "a range of one byte, at the address after the instruction, allows the call",
        DISPATCH_FUNCTION,
        first_byte,
    ),
    case(
        "range/instruction-itself",
        "a range that contains the instruction but ends with it does not allow the call",
        DISPATCH_FUNCTION,
        instruction_itself,
    ),
    case(
        "range/end-excluded",
        "the end of the range is not part of it",
        DISPATCH_FUNCTION,
        end_excluded,
    ),
    case(
        "range/start-included",
        "the start of the range is part of it",
        DISPATCH_FUNCTION,
        start_included,
    ),
    case(
        "range/everything",
        "a range from 0 over all addresses allows every call",
        DISPATCH_FUNCTION,
        everything,
    ),
    case("range/nothing", "a range from 0 of length 0 allows no call", DISPATCH_FUNCTION, nothing),
    case(
        "range/full-width",
        "all 64 bits of addresses are compared",
        DISPATCH_FUNCTION,
        full_width,
    ),
    case(
        "range/inclusive",
        "an inclusive range dispatches the calls whose compared address is in it, and no others",
        "task_set_syscall_user_dispatch()",
        inclusive,
    )
    .features(&[Feature::Dispatch, Feature::Inclusive]),
    case(
        "range/inclusive-outside-not-read",
        "for calls outside an inclusive range the selector is not read",
        DISPATCH_FUNCTION,
        inclusive_outside_not_read,
    )
    .features(&[Feature::Dispatch, Feature::Inclusive]),
    case(
        "range/no-selector",
        "without a selector every call outside the range is dispatched",
        DISPATCH_FUNCTION,
        no_selector,
    ),
    case(
        "range/prctl-too",
        "a prctl(2) that would disarm is dispatched like any other call",
        DISPATCH_FUNCTION,
        prctl_too,
    ),
    case(
        "range/vdso-fallback",
        "a system call that the vDSO issues is dispatched, with an address in the vDSO",
        DISPATCH_FUNCTION,
        vdso_fallback,
    ),
];

/// Arms with a range, issues a [`fresh_umask_call`] with BLOCK, and returns whether the kernel executed it.
fn is_executed(mode: u64, start: u64, length: u64, gate: &Gate) -> Result<bool, Failure> {
    handle_dispatches(flip_to_allow)?;
    let regs = fresh_umask_call();
    reset_dispatch_count();
    expect_accepted(mode, start, length, selector_address(&SELECTOR))?;
    let _ = issue_blocked(gate, &regs);
    disarm()?;
    match (dispatch_count(), take_umask_effect()) {
        (0, true) => Ok(true),
        (1, false) => Ok(false),
        (signals, effect) => Err(mismatch(
            "a call is either executed or dispatched",
            format!("{signals} SIGSYS, effect: {effect}"),
        )),
    }
}

/// Checks whether a call of the first gate is executed with this allowed range and BLOCK.
fn expect_allowed(start: u64, length: u64, expected: bool) -> Check {
    let gate = arch::gate();
    let is_allowed = is_executed(MODE_EXCLUSIVE, start, length, &gate)?;
    let after = gate.compared_address();
    expect_equal(
        &format!("range {start:#x}+{length:#x} allows a call before {after:#x}"),
        is_allowed,
        expected,
    )
}

fn first_byte() -> Check {
    expect_allowed(arch::gate().compared_address(), 1, true)
}

fn instruction_itself() -> Check {
    let gate = arch::gate();
    expect_allowed(gate.call_address(), arch::CALL_LENGTH, false)?;
    expect_allowed(gate.call_address(), arch::CALL_LENGTH + 1, true)
}

fn end_excluded() -> Check {
    let after = arch::gate().compared_address();
    expect_allowed(after - 0x1000, 0x1000, false)?;
    expect_allowed(after - 0x1000, 0x1001, true)?;
    expect_allowed(0, after, false)?;
    expect_allowed(0, after + 1, true)
}

fn start_included() -> Check {
    let after = arch::gate().compared_address();
    expect_allowed(after + 1, 0x1000, false)?;
    expect_allowed(after, 0x1000, true)?;
    expect_allowed(after + 1, u64::MAX - after - 1, false)?;
    expect_allowed(after, u64::MAX - after, true)
}

fn everything() -> Check {
    expect_allowed(0, u64::MAX, true)
}

fn nothing() -> Check {
    expect_allowed(0, 0, false)
}

fn full_width() -> Check {
    const FOUR_GIB: u64 = 0x1_0000_0000;
    let page =
        sys::map_at(arch::HIGH_MMAP_HINT, PAGE_SIZE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
            .map_err(broken("mmap"))?;
    // SAFETY: a page is longer than a gate, and is made executable before its use.
    let high_gate = unsafe { arch::copy_gate(page) };
    protect(page, 1, libc::PROT_READ | libc::PROT_EXEC)?;
    let after = high_gate.compared_address();
    ensure(after > FOUR_GIB, "memory above 4 GiB", || format!("{after:#x}"))?;
    let low_half = after & (FOUR_GIB - 1);
    for (start, length, expected) in [
        (after, 1, true),
        (low_half, 1, false),
        (after - FOUR_GIB, 1, false),
        (after + FOUR_GIB, 1, false),
        (after - FOUR_GIB, FOUR_GIB, false),
        (after - FOUR_GIB, FOUR_GIB + 1, true),
        // The low 32 bits of this length are 0.
        (after - 0x1000, FOUR_GIB, true),
    ] {
        let is_allowed = is_executed(MODE_EXCLUSIVE, start, length, &high_gate)?;
        let what = format!("range {start:#x}+{length:#x} allows a call before {after:#x}");
        expect_equal(&what, is_allowed, expected)?;
    }
    Ok(())
}

fn inclusive() -> Check {
    let gate = arch::gate();
    let after = gate.compared_address();
    for (start, length, expected) in [
        (after, 1, false),
        (after - 1, 1, true),
        (after + 1, 1, true),
        (gate.call_address(), arch::CALL_LENGTH, true),
        (after - 0x1000, 0x1001, false),
        (0, after, true),
        (0, after + 1, false),
        (0, u64::MAX, false),
        (after, u64::MAX - after, false),
        (after + 1, u64::MAX - after - 1, true),
    ] {
        let is_executed = is_executed(MODE_INCLUSIVE, start, length, &gate)?;
        let what = format!("inclusive {start:#x}+{length:#x} executes a call before {after:#x}");
        expect_equal(&what, is_executed, expected)?;
    }
    Ok(())
}

fn inclusive_outside_not_read() -> Check {
    handle_dispatches(do_nothing)?;
    let page = map_pages(1)?;
    protect(page, 1, libc::PROT_NONE)?;
    let other = arch::second_gate();
    let status = run_vforked(|| {
        if expect_accepted(MODE_INCLUSIVE, arch::gate().compared_address(), 1, page as u64).is_err()
        {
            return SETUP_FAILED;
        }
        exit_code(expect_executed(&other).is_ok())
    })?;
    expect_success(status)?;
    // A call from within the range reads the selector, which kills the child.
    let status = run_vforked(|| {
        if expect_accepted(MODE_INCLUSIVE, arch::gate().compared_address(), 1, page as u64).is_err()
        {
            return SETUP_FAILED;
        }
        exit_code(expect_executed(&arch::gate()).is_ok())
    })?;
    expect_killed(status, libc::SIGSEGV, 0)
}

fn no_selector() -> Check {
    handle_dispatches(do_nothing)?;
    let gate = arch::gate();
    let regs = fresh_umask_call();
    arm_with_selector(0)?;
    for _ in 0..3 {
        let _ = gate.issue(&regs);
    }
    let effect = take_umask_effect();
    disarm()?;
    expect_equal("SIGSYS handled for three calls", dispatch_count(), 3)?;
    expect_equal("effect of the dispatched calls", effect, false)?;
    expect_executed(&gate)
}

fn prctl_too() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let option = u64::from(sys::PR_SET_SYSCALL_USER_DISPATCH.cast_unsigned());
    let off = Registers::for_call(call_number(libc::SYS_prctl), [option, MODE_OFF, 0, 0, 0, 0]);
    let (_, record) = issue_dispatched(&arch::gate(), &off)?;
    expect_equal("si_syscall", i64::from(record.number()), libc::SYS_prctl)?;
    expect_dispatched(&arch::gate())
}

fn vdso_fallback() -> Check {
    handle_dispatches(do_nothing)?;
    let Some(vdso) = vdso::find() else {
        return Err(Failure::Unmet("a vDSO".into()));
    };
    let Some(clock_gettime) = vdso.clock_gettime else {
        return Err(Failure::Unmet("clock_gettime in the vDSO".into()));
    };
    let mut time = libc::timespec { tv_sec: -7, tv_nsec: -7 };
    arm()?;
    reset_dispatch_count();
    set_selector(BLOCK);
    // The vDSO has no data on a process's CPU time, so its function issues a system call.
    // SAFETY: the function is clock_gettime() of the vDSO, and the structure is live.
    let result = unsafe { clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    set_selector(ALLOW);
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    let record = first_sigsys_record()?;
    expect_equal("si_syscall", i64::from(record.number()), libc::SYS_clock_gettime)?;
    ensure(vdso.range.contains(&record.call_address()), "si_call_addr in the vDSO", || {
        format!("{:#x}, the vDSO is {:#x?}", record.call_address(), vdso.range)
    })?;
    expect_equal("time written", (time.tv_sec, time.tv_nsec), (-7, -7))?;
    // A dispatch leaves the result register unchanged, and the vDSO returns its value as the result.
    let clock = u64::from(libc::CLOCK_PROCESS_CPUTIME_ID.cast_unsigned());
    let call = Registers::for_call(call_number(libc::SYS_clock_gettime), [clock, 0, 0, 0, 0, 0]);
    ensure(
        is_result_value_kept(result.into(), &call),
        &format!("result: {}", call.result()),
        || result.to_string(),
    )
}
