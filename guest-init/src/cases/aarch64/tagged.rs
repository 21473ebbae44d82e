// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Selectors at tagged addresses. The processor ignores the tag, or with MTE compares it with the tag of the
//! memory.

use crate::arch;
use crate::case::{Check, Failure};
use crate::support::*;
use crate::sys;
use crate::tracee::{Config, Tracee, pause_for_tracer};
use std::sync::atomic::{AtomicU8, Ordering};

/// `PR_SET_TAGGED_ADDR_CTRL` and its flags (include/uapi/linux/prctl.h).
const PR_SET_TAGGED_ADDR_CTRL: i32 = 55;
const TAGGED_ADDR_ENABLE: u64 = 1;
const MTE_SYNCHRONOUS: u64 = 1 << 1;
/// `PROT_MTE` (arch/arm64/include/uapi/asm/mman.h).
const PROT_MTE: i32 = 0x20;

/// The address of [`SELECTOR`], once with each tag bit alone and once with all tag bits.
fn tagged_selectors() -> impl Iterator<Item = u64> {
    let single_bits = arch::TAG_BITS.map(|bit| 1 << bit);
    let all_bits = single_bits.clone().fold(0, |tags, tag| tags | tag);
    single_bits.chain([all_bits]).map(|tag| selector_address(&SELECTOR) | tag)
}

/// Enables tagged addresses in system calls, with these further flags of `PR_SET_TAGGED_ADDR_CTRL`
/// (Documentation/arch/arm64/tagged-address-abi.rst).
fn enable_tags(flags: u64) -> Check {
    // SAFETY: takes no pointers.
    unsafe { sys::prctl(PR_SET_TAGGED_ADDR_CTRL, TAGGED_ADDR_ENABLE | flags, 0, 0, 0) }
        .map(drop)
        .map_err(broken("PR_SET_TAGGED_ADDR_CTRL"))
}

pub(crate) fn obeyed() -> Check {
    handle_dispatches(do_nothing)?;
    enable_tags(0)?;
    for selector in tagged_selectors() {
        arm_with_selector(selector)?;
        expect_dispatched(&arch::gate())?;
        expect_executed(&arch::gate())?;
        disarm()?;
    }
    Ok(())
}

pub(crate) fn kills_unasked() -> Check {
    handle_dispatches(do_nothing)?;
    for selector in tagged_selectors() {
        reset_dispatch_count();
        let status = run_vforked(|| {
            let regs = fresh_umask_call();
            if arm_with_selector(selector).is_err() {
                return SETUP_FAILED;
            }
            let _ = arch::gate().issue(&regs);
            0
        })?;
        expect_killed(status, libc::SIGSEGV, 0)?;
    }
    Ok(())
}

pub(crate) fn set_by_tracer() -> Check {
    handle_dispatches(do_nothing)?;
    let tracee = Tracee::start(|| {
        if enable_tags(0).is_err() {
            return SETUP_FAILED;
        }
        for _ in tagged_selectors() {
            pause_for_tracer();
            let obeyed =
                expect_dispatched(&arch::gate()).and_then(|()| expect_executed(&arch::gate()));
            if obeyed.and_then(|()| disarm()).is_err() {
                return 1;
            }
        }
        0
    })?;
    for (round, selector) in tagged_selectors().enumerate() {
        if round > 0 {
            tracee.resume_to_signal(libc::PTRACE_CONT, libc::SIGSYS, libc::SIGSTOP)?;
        }
        let (offset, length) = (arch::inside().start, inside_length());
        let config = Config { mode: MODE_EXCLUSIVE, selector, offset, length };
        expect_equal(
            &format!("setting selector {selector:#x}"),
            tracee.set_config(&config),
            Ok(()),
        )?;
        expect_equal("configuration after it", tracee.config()?, config)?;
        tracee.resume_to_signal(libc::PTRACE_CONT, 0, libc::SIGSYS)?;
    }
    expect_success(tracee.resume(libc::PTRACE_CONT, libc::SIGSYS)?)
}

/// Allocates a selector in memory with this tag (`PROT_MTE`), and returns its tagged address. The selector
/// can be read only through an address with this tag.
fn selector_in_tagged_memory(tag: u64) -> Result<u64, Failure> {
    let page = map_pages(1)?;
    protect(page, 1, libc::PROT_READ | libc::PROT_WRITE | PROT_MTE)?;
    let tagged = page as u64 | tag << 56;
    // SAFETY: the page belongs to the case and has tags.
    unsafe { arch::tag_memory(tagged) };
    Ok(tagged)
}

pub(crate) fn memory_tag_checked() -> Check {
    const TAG: u64 = 5;
    handle_dispatches(do_nothing)?;
    enable_tags(MTE_SYNCHRONOUS)?;
    let tagged_address = selector_in_tagged_memory(TAG)?;
    // SAFETY: a byte of memory that is never unmapped, at an address with the memory's tag.
    let selector: &AtomicU8 = unsafe { &*(tagged_address as *const AtomicU8) };
    arm_with_selector(tagged_address)?;
    for (value, expected) in [(BLOCK, 1), (ALLOW, 0)] {
        reset_dispatch_count();
        let regs = fresh_umask_call();
        selector.store(value, Ordering::SeqCst);
        let _ = arch::gate().issue(&regs);
        selector.store(ALLOW, Ordering::SeqCst);
        expect_equal(&format!("SIGSYS handled with selector {value}"), dispatch_count(), expected)?;
        expect_equal("effect", take_umask_effect(), expected == 0)?;
    }
    disarm()?;
    for tag in [0, TAG ^ 1, TAG ^ 8] {
        let wrongly_tagged = tagged_address ^ TAG << 56 ^ tag << 56;
        reset_dispatch_count();
        let status = run_vforked(|| {
            let regs = fresh_umask_call();
            if arm_with_selector(wrongly_tagged).is_err() {
                return SETUP_FAILED;
            }
            let _ = arch::gate().issue(&regs);
            0
        })?;
        expect_killed(status, libc::SIGSEGV, 0)?;
    }
    Ok(())
}
