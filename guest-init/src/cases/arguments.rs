// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The arguments that `prctl(PR_SET_SYSCALL_USER_DISPATCH)` accepts and refuses, and their effect.

use super::check_on;
use crate::arch::{self};
use crate::case::{Case, Check, OnlyArchs, all_but, case, case_not_in_core};
use crate::support::*;
use std::sync::atomic::{AtomicU8, Ordering};
use sudbox_protocol::Feature;

const SET_FUNCTION: &str = "task_set_syscall_user_dispatch()";

pub(super) const CASES: &[Case] = &[
    case(
        "arguments/unknown-mode-refused",
        "a mode that does not exist is EINVAL, also if only its upper bits are wrong, and arms nothing",
        SET_FUNCTION,
        unknown_mode_refused,
    ),
    case(
        "arguments/off-refuses-arguments",
        "OFF with an offset, length or selector is EINVAL and leaves dispatch armed",
        SET_FUNCTION,
        off_refuses_arguments,
    ),
    case(
        "arguments/off-disarms",
        "OFF disarms, whatever the selector's value, and may be repeated",
        SET_FUNCTION,
        off_disarms,
    ),
    case(
        "arguments/zero-offset-any-length",
        "an exclusive range from 0 is accepted with any length, and arms",
        SET_FUNCTION,
        zero_offset_any_length,
    ),
    case(
        "arguments/wrapping-range-refused",
        "an exclusive range that is empty or wraps is EINVAL; a range up to the last address is accepted",
        SET_FUNCTION,
        wrapping_range_refused,
    ),
    case(
        "arguments/inclusive-range-checked",
        "an inclusive range that is empty or wraps is EINVAL, also from 0; others are accepted",
        SET_FUNCTION,
        inclusive_range_checked,
    )
    .features(&[Feature::Dispatch, Feature::Inclusive]),
    case(
        "arguments/kernel-selector-refused",
        "a selector at a kernel address is EFAULT and arms nothing",
        SET_FUNCTION,
        kernel_selector_refused,
    )
    .only(OnlyArchs {
        archs: all_but!(S390x),
        reason: "on s390x the kernel has its own address space, and refuses no address",
    }),
    case(
        "arguments/unmapped-selector-accepted",
        "an unreadable selector is accepted: the kernel first reads it at a call outside the range",
        SET_FUNCTION,
        unmapped_selector_accepted,
    ),
    case(
        "arguments/range-checked-before-selector",
        "a bad mode or range is EINVAL even if the selector is bad too",
        SET_FUNCTION,
        range_checked_before_selector,
    ),
    case(
        "arguments/refusal-keeps-configuration",
        "a refused call leaves the configuration unchanged",
        SET_FUNCTION,
        refusal_keeps_configuration,
    ),
    case(
        "arguments/rearming-replaces",
        "arming again replaces range and selector: the old ones have no effect",
        SET_FUNCTION,
        rearming_replaces,
    ),
    case_not_in_core(
        "arguments/range-across-4-gib-32",
        "a 32-bit program may arm with a range that ends above 4 GiB, and the range does not wrap",
        SET_FUNCTION,
        check_on!("x86_64", this_arch::compat_programs::range_across_compat_limit),
    )
    .features(&[Feature::Dispatch, Feature::Ia32])
    .only(OnlyArchs::PROGRAMS_OF_32_BITS),
];

const EINVAL: i32 = libc::EINVAL;
const EFAULT: i32 = libc::EFAULT;

fn unknown_mode_refused() -> Check {
    handle_dispatches(do_nothing)?;
    let inside = arch::inside();
    for mode in [3, 4, 0xff, 0x100, 0x7fff_ffff, 1 << 32, 1 << 32 | 1, 1 << 63 | 1, u64::MAX] {
        expect_refused(mode, 0, 0, 0, EINVAL)?;
        expect_refused(mode, inside.start, inside_length(), selector_address(&SELECTOR), EINVAL)?;
    }
    expect_executed_despite_block(&arch::gate())
}

fn off_refuses_arguments() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let selector = selector_address(&SELECTOR);
    for (offset, length, selector) in
        [(1, 0, 0), (0, 1, 0), (0, 0, selector), (1 << 32, 0, 0), (0, 1 << 63, 0), (1, 1, selector)]
    {
        expect_refused(MODE_OFF, offset, length, selector, EINVAL)?;
        expect_dispatched(&arch::gate())?;
    }
    Ok(())
}

fn off_disarms() -> Check {
    handle_dispatches(do_nothing)?;
    disarm()?;
    arm()?;
    expect_dispatched(&arch::gate())?;
    disarm()?;
    expect_executed_despite_block(&arch::gate())?;
    disarm()?;
    expect_executed_despite_block(&arch::gate())
}

fn zero_offset_any_length() -> Check {
    handle_dispatches(flip_to_allow)?;
    // The gate is in none of these ranges, so its calls must be dispatched.
    for length in [0, 1, 4096] {
        expect_accepted(MODE_EXCLUSIVE, 0, length, selector_address(&SELECTOR))?;
        expect_dispatched(&arch::gate())?;
    }
    // These ranges contain the gate, so its calls must be executed.
    for length in [1 << 63, u64::MAX] {
        expect_accepted(MODE_EXCLUSIVE, 0, length, selector_address(&SELECTOR))?;
        expect_executed_despite_block(&arch::gate())?;
    }
    Ok(())
}

fn wrapping_range_refused() -> Check {
    handle_dispatches(do_nothing)?;
    let selector = selector_address(&SELECTOR);
    for (offset, length) in [
        (1, 0),
        (0x40_0000, 0),
        (u64::MAX, 0),
        (1, u64::MAX),
        (u64::MAX, 1),
        (u64::MAX, u64::MAX),
        (0x1000, u64::MAX - 0xfff),
        (0x1000, u64::MAX - 0xffe),
        (1 << 63, 1 << 63),
    ] {
        expect_refused(MODE_EXCLUSIVE, offset, length, selector, EINVAL)?;
    }
    expect_executed_despite_block(&arch::gate())?;
    for (offset, length) in [(1, u64::MAX - 1), (u64::MAX - 1, 1), (1 << 63, (1 << 63) - 1)] {
        expect_accepted(MODE_EXCLUSIVE, offset, length, selector)?;
        disarm()?;
    }
    Ok(())
}

fn inclusive_range_checked() -> Check {
    handle_dispatches(do_nothing)?;
    let selector = selector_address(&SELECTOR);
    for (offset, length) in [
        (0, 0),
        (1, 0),
        (u64::MAX, 0),
        (1, u64::MAX),
        (u64::MAX, 1),
        (0x1000, u64::MAX - 0xfff),
        (1 << 63, 1 << 63),
    ] {
        expect_refused(MODE_INCLUSIVE, offset, length, selector, EINVAL)?;
    }
    expect_executed_despite_block(&arch::gate())?;
    for (offset, length) in [(0, 1), (0, u64::MAX), (1, u64::MAX - 1), (0x40_0000, 0x1000)] {
        expect_accepted(MODE_INCLUSIVE, offset, length, selector)?;
        disarm()?;
    }
    Ok(())
}

fn kernel_selector_refused() -> Check {
    handle_dispatches(do_nothing)?;
    let inside = arch::inside();
    for selector in [arch::KERNEL_ADDRESS, arch::UPPER_HALF_BIT, u64::MAX] {
        expect_refused(MODE_EXCLUSIVE, inside.start, inside_length(), selector, EFAULT)?;
        expect_refused(MODE_EXCLUSIVE, 0, 0, selector, EFAULT)?;
    }
    expect_executed_despite_block(&arch::gate())
}

fn unmapped_selector_accepted() -> Check {
    let page = map_pages(1)?;
    protect(page, 1, libc::PROT_NONE)?;
    for selector in [1, 0xfff, page as u64] {
        arm_with_selector(selector)?;
    }
    disarm()
}

fn range_checked_before_selector() -> Check {
    let selector = arch::KERNEL_ADDRESS;
    expect_refused(MODE_EXCLUSIVE, 1, 0, selector, EINVAL)?;
    expect_refused(MODE_EXCLUSIVE, 1, u64::MAX, selector, EINVAL)?;
    expect_refused(MODE_OFF, 0, 0, selector, EINVAL)?;
    expect_refused(9, 0, 0, selector, EINVAL)
}

fn refusal_keeps_configuration() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let inside = arch::inside();
    let other = AtomicU8::new(ALLOW);
    let bad_selectors = [
        (MODE_EXCLUSIVE, arch::gate().compared_address(), 1, arch::KERNEL_ADDRESS, EFAULT),
        (MODE_EXCLUSIVE, 0, u64::MAX, arch::KERNEL_ADDRESS, EFAULT),
    ];
    for (mode, offset, length, selector, errno) in [
        (9, inside.start, inside_length(), selector_address(&other), EINVAL),
        (MODE_OFF, 1, 0, 0, EINVAL),
        (MODE_EXCLUSIVE, 1, u64::MAX, selector_address(&other), EINVAL),
    ]
    .into_iter()
    .chain(bad_selectors.into_iter().filter(|_| arch::REFUSES_KERNEL_ADDRESSES))
    {
        expect_refused(mode, offset, length, selector, errno)?;
        expect_dispatched(&arch::gate())?;
        expect_executed(&arch::gate())?;
    }
    Ok(())
}

fn rearming_replaces() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    expect_dispatched(&arch::gate())?;
    // With a new selector the value of the old one has no effect.
    let other = AtomicU8::new(ALLOW);
    arm_with_selector(selector_address(&other))?;
    expect_executed_despite_block(&arch::gate())?;
    reset_dispatch_count();
    let regs = fresh_umask_call();
    other.store(BLOCK, Ordering::SeqCst);
    let _ = arch::gate().issue(&regs);
    other.store(ALLOW, Ordering::SeqCst);
    expect_equal("SIGSYS handled for the new selector", dispatch_count(), 1)?;
    ensure(!take_umask_effect(), "a dispatched call has no effect", || "it took effect".into())?;
    // The new range contains the first gate but not the second.
    let start = arch::inside().start;
    let length = arch::gate().compared_address() + 1 - start;
    expect_accepted(MODE_EXCLUSIVE, start, length, selector_address(&SELECTOR))?;
    expect_executed_despite_block(&arch::gate())?;
    expect_dispatched(&arch::second_gate())?;
    arm()?;
    expect_dispatched(&arch::gate())
}
