// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The selector: when the kernel reads it, how many bytes, the meaning of each value, and the effect of a
//! selector that cannot be read.

use super::check_on;
use crate::arch::{self, Registers};
use crate::case::{Case, Check, Failure, Need, OnlyArchs, case, outside_core};
use crate::support::*;
use crate::sys::{self, SigAction};
use std::sync::atomic::{AtomicU8, Ordering};
use sudbox_protocol::Feature;

const DISPATCH_FUNCTION: &str = "syscall_user_dispatch()";
const EXIT_FUNCTION: &str = "force_exit_sig()";

pub(super) const CASES: &[Case] = &[
    case("selector/allow-executes", "with ALLOW a call is executed", DISPATCH_FUNCTION, allow_executes),
    case(
        "selector/allowed-number-unknown",
        "with ALLOW an unknown number is ENOSYS, also -1, the number of skipped calls",
        "syscall_trace_enter()",
        allowed_number_unknown,
    ),
    case(
        "selector/block-dispatches",
        "with BLOCK a call is dispatched",
        DISPATCH_FUNCTION,
        block_dispatches,
    ),
    case("selector/flips", "each flip applies from the next call on", DISPATCH_FUNCTION, flips),
    outside_core(
        "selector/flip-from-afar",
        "a flip by another process, through shared memory, applies",
        DISPATCH_FUNCTION,
        flip_by_other_process,
    ),
    case(
        "selector/invalid-value-kills",
        "any other value kills with SIGSYS, past the handler",
        EXIT_FUNCTION,
        invalid_value_kills,
    ),
    case(
        "selector/invalid-value-kills-always",
        "any other value kills also if SIGSYS is blocked or ignored",
        EXIT_FUNCTION,
        invalid_value_kills_if_blocked_or_ignored,
    ),
    case(
        "selector/invalid-value-kills-all-threads",
        "any other value kills the whole process, not only the thread",
        EXIT_FUNCTION,
        invalid_value_kills_all_threads,
    ),
    outside_core(
        "selector/kill-dumps-core",
        "a process that its selector kills dumps core if its limit permits, else not",
        "do_coredump()",
        kill_dumps_core,
    )
    .needs(&[Need::Vm]),
    case(
        "selector/unreadable-kills",
        "a selector without read permission kills with SIGSEGV, past any handler",
        EXIT_FUNCTION,
        unreadable_kills,
    ),
    case(
        "selector/unmapped-kills",
        "an unmapped selector kills with SIGSEGV, past any handler",
        EXIT_FUNCTION,
        unmapped_kills,
    ),
    case(
        "selector/past-end-of-file-kills",
        "a selector past the end of its file kills with SIGSEGV, past any handler",
        EXIT_FUNCTION,
        past_end_of_file_kills,
    ),
    case(
        "selector/protection-key-kills",
        "a selector that a protection key protects kills with SIGSEGV, past any handler",
        EXIT_FUNCTION,
        check_on!("x86_64", keys::protection_key_kills),
    )
    .features(&[Feature::Dispatch, Feature::Pkeys])
    .needs(&[Need::CpuFeature("pku")])
    .only(OnlyArchs::PROTECTION_KEYS),
    case(
        "selector/protection-key-in-handler",
        "a selector that a protection key protects kills the caller in a handler, which has no access to \
         the key, and is obeyed again after the handler",
        DISPATCH_FUNCTION,
        check_on!("x86_64", keys::protection_key_in_handler),
    )
    .features(&[Feature::Dispatch, Feature::Pkeys])
    .needs(&[Need::CpuFeature("pku")])
    .only(OnlyArchs::PROTECTION_KEYS),
    case(
        "selector/one-byte-read",
        "exactly one byte is read, and the bytes beside it may be unreadable",
        DISPATCH_FUNCTION,
        one_byte_read,
    ),
    case(
        "selector/read-only-suffices",
        "a selector on a read-only page is obeyed",
        DISPATCH_FUNCTION,
        read_only_suffices,
    ),
    case(
        "selector/never-written",
        "neither the selector nor a byte around it is ever written",
        DISPATCH_FUNCTION,
        never_written,
    ),
    case(
        "selector/faulted-in",
        "a selector whose page was dropped is read from the new page",
        DISPATCH_FUNCTION,
        faulted_in,
    ),
    case(
        "selector/not-read-in-range",
        "a call from the allowed range does not read the selector",
        DISPATCH_FUNCTION,
        not_read_in_range,
    ),
];

fn allow_executes() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    expect_executed(&arch::gate())?;
    expect_executed(&arch::second_gate())
}

fn allowed_number_unknown() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    // Each number is issued inside the range, and outside it with ALLOW.
    for number in [(-1i64).cast_unsigned(), 0xffff_ffff, arch::UNUSED_NUMBER] {
        reset_dispatch_count();
        // SAFETY: the call does not exist.
        let inside = unsafe { arch::issue_inside(number, [0; 6]) };
        let outside = arch::gate().issue(&Registers::for_call(number, [0; 6])).result();
        let expected = -i64::from(libc::ENOSYS);
        expect_equal(
            &format!("results of {number:#x} in range and out"),
            [inside, outside],
            [expected; 2],
        )?;
        expect_equal("SIGSYS handled for an allowed call", dispatch_count(), 0)?;
        issue_dispatched(&arch::gate(), &Registers::for_call(number, [0; 6]))?;
    }
    Ok(())
}

fn block_dispatches() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    expect_dispatched(&arch::gate())?;
    expect_dispatched(&arch::second_gate())
}

fn flips() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    // Both values in runs of different lengths, so that a cached value of an earlier call is noticed.
    let mut pattern = 0x9d2c_5680_u32;
    for _ in 0..32 {
        if pattern & 1 == 1 {
            expect_dispatched(&arch::gate())?;
        } else {
            expect_executed(&arch::gate())?;
        }
        pattern >>= 1;
    }
    Ok(())
}

fn flip_by_other_process() -> Check {
    handle_dispatches(do_nothing)?;
    let page = sys::map_shared(PAGE_SIZE).map_err(broken("mmap"))?;
    // SAFETY: a byte of memory that is never unmapped, which two processes share.
    let selector: &AtomicU8 = unsafe { &*page.cast() };
    let rounds = 6;
    let other = spawn_child(|| {
        for round in 1..=rounds {
            await_shared_word(0, 2 * round - 1);
            selector.store(if round % 2 == 1 { BLOCK } else { ALLOW }, Ordering::SeqCst);
            set_shared_word(0, 2 * round);
        }
        0
    })?;
    arm_with_selector(page as u64)?;
    let gate = arch::gate();
    let mut disobeyed = 0;
    for round in 1..=rounds {
        reset_dispatch_count();
        let regs = fresh_umask_call();
        set_shared_word(0, 2 * round - 1);
        await_shared_word(0, 2 * round);
        let _ = gate.issue(&regs);
        let expected = u32::from(round % 2 == 1);
        if dispatch_count() != expected || take_umask_effect() == (expected == 1) {
            disobeyed += 1;
        }
    }
    disarm()?;
    expect_success(wait_for_change(other)?)?;
    expect_equal("calls that did not obey the other process", disobeyed, 0)
}

/// The shared word that is 1 once a call that must kill has returned.
const CALL_RETURNED: usize = 15;

/// Checks that a call of a child that is armed with this selector kills the child by this signal and
/// has no effect. The child calls `prepare` before it arms.
fn expect_kill(selector: u64, signal: i32, prepare: impl FnOnce()) -> Check {
    reset_dispatch_count();
    // The call would enlarge a file, so that its effect would outlive the child.
    let fd = sys::memory_file().map_err(broken("memfd_create"))?;
    let file = u64::from(fd.cast_unsigned());
    let enlarge = Registers::for_call(call_number(libc::SYS_ftruncate), [file, 77, 0, 0, 0, 0]);
    let end = run_vforked(|| {
        prepare();
        if arm_with_selector(selector).is_err() {
            return 99;
        }
        set_shared_word(CALL_RETURNED, 0);
        let _ = arch::gate().issue(&enlarge);
        set_shared_word(CALL_RETURNED, 1);
        0
    })?;
    expect_killed(end, signal, 0)?;
    expect_equal("instructions run after the call", shared_word(CALL_RETURNED), 0)?;
    // SAFETY: takes no pointers.
    let size = unsafe { sys::call(libc::SYS_lseek, &[file, 0, 2]) }.map_err(broken("lseek"))?;
    sys::close(fd).map_err(broken("close"))?;
    expect_equal("bytes in the file that the call would enlarge", size, 0)
}

/// Checks that a call with this selector, which is neither ALLOW nor BLOCK, kills the child with SIGSYS.
fn expect_invalid_kills(value: u8, prepare: impl FnOnce()) -> Check {
    let selector = AtomicU8::new(value);
    expect_kill(selector_address(&selector), libc::SIGSYS, prepare)
        .map_err(|failure| with_context(&format!("selector {value:#x}"), failure))
}

/// Prefixes the expectation of a failure.
fn with_context(context: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Mismatch { expected, got } => mismatch(format!("{context}: {expected}"), got),
        other => other,
    }
}

fn invalid_value_kills() -> Check {
    handle_dispatches(do_nothing)?;
    // Each bit alone, and the values that a signed, a partial or a bounded comparison would accept.
    for value in [2, 3, 4, 8, 16, 32, 64, 0x7f, 0x80, 0x81, 0xfe, 0xff] {
        expect_invalid_kills(value, || {})?;
    }
    Ok(())
}

fn invalid_value_kills_if_blocked_or_ignored() -> Check {
    handle_dispatches(do_nothing)?;
    let mask = sys::signal_bit(libc::SIGSYS);
    expect_invalid_kills(2, || {
        let _ = sys::sigmask(libc::SIG_BLOCK, mask);
    })?;
    let ignore = SigAction { handler: 1, ..SigAction::default() };
    expect_invalid_kills(0xff, || {
        // SAFETY: SIG_IGN has no handler.
        let _ = unsafe { sys::sigaction(libc::SIGSYS, &ignore) };
    })
}

/// A thread that runs until its process is killed.
extern "C" fn run_until_killed(_: u64) -> u64 {
    set_shared_word(0, 1);
    loop {
        sys::sched_yield();
    }
}

fn invalid_value_kills_all_threads() -> Check {
    handle_dispatches(do_nothing)?;
    // A call of the main thread kills the process, then a call of another thread.
    expect_invalid_kills(2, || {
        if spawn_thread(run_until_killed, 0).is_ok() {
            await_shared_word(0, 1);
        }
    })?;
    expect_equal("the other thread ran", shared_word(0), 1)?;
    reset_dispatch_count();
    let end = run_vforked(|| {
        extern "C" fn make_blocked_call(_: u64) -> u64 {
            if arm().is_ok() {
                set_selector(0x55);
                let _ = arch::gate().issue(&fresh_umask_call());
            }
            0
        }
        if spawn_thread(make_blocked_call, 0).is_err() {
            return 99;
        }
        loop {
            sys::sched_yield();
        }
    })?;
    expect_killed(end, libc::SIGSYS, 0)
}

fn kill_dumps_core() -> Check {
    handle_dispatches(do_nothing)?;
    let nowhere = map_pages(1)?;
    protect(nowhere, 1, libc::PROT_NONE)?;
    let invalid = AtomicU8::new(2);
    for (selector, signal) in
        [(selector_address(&invalid), libc::SIGSYS), (nowhere as u64, libc::SIGSEGV)]
    {
        // The kernel dumps core from one page on (`min_coredump` of ELF).
        for limit in [PAGE_SIZE as u64, 0] {
            let limits = [limit; 2];
            let child = spawn_child(|| {
                let resource = u64::from(libc::RLIMIT_CORE);
                // SAFETY: the structure is live.
                let set = unsafe {
                    sys::call(libc::SYS_prlimit64, &[0, resource, limits.as_ptr() as u64, 0])
                };
                if set.is_err() || arm_with_selector(selector).is_err() {
                    return 99;
                }
                let _ = arch::gate().issue(&fresh_umask_call());
                0
            })?;
            let expected = sys::WaitStatus::Killed { signal, core: limit != 0 };
            expect_equal(
                &format!("the end with a limit of {limit}"),
                wait_for_change(child)?,
                expected,
            )?;
        }
    }
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}

/// Checks that a call with this selector kills with SIGSEGV, without running a handler.
pub(super) fn expect_segv(selector: u64, prepare: impl FnOnce()) -> Check {
    handle_dispatches(do_nothing)?;
    install_counting_handler(libc::SIGSEGV)?;
    install_counting_handler(libc::SIGBUS)?;
    expect_kill(selector, libc::SIGSEGV, prepare)
}

fn unreadable_kills() -> Check {
    let page = map_pages(1)?;
    protect(page, 1, libc::PROT_NONE)?;
    expect_segv(page as u64, || {})
}

fn unmapped_kills() -> Check {
    let page = map_pages(1)?;
    // Unmap the page in the child only, so that nothing else is mapped there.
    expect_segv(page as u64, || {
        // SAFETY: the page belongs to this case, and is unused.
        let _ = unsafe { sys::unmap(page, PAGE_SIZE) };
    })?;
    // An address that is never mapped, and not null.
    expect_segv(8, || {})
}

fn past_end_of_file_kills() -> Check {
    let fd = sys::memory_file().map_err(broken("memfd_create"))?;
    let page = sys::map_at(0, PAGE_SIZE, libc::MAP_SHARED, fd).map_err(broken("mmap"))?;
    expect_segv(page as u64, || {})
}

/// Checks that the kernel obeys both values of a selector at this address. `write` sets the value.
fn expect_obeyed(selector: *mut u8, write: impl Fn(u8) -> Check) -> Check {
    for (value, expected) in [(BLOCK, 1), (ALLOW, 0), (BLOCK, 1)] {
        disarm()?;
        write(value)?;
        reset_dispatch_count();
        let regs = fresh_umask_call();
        arm_with_selector(selector as u64)?;
        let _ = arch::gate().issue(&regs);
        disarm()?;
        expect_equal(&format!("SIGSYS handled with selector {value}"), dispatch_count(), expected)?;
        expect_equal(&format!("effect with selector {value}"), take_umask_effect(), expected == 0)?;
    }
    disarm()
}

fn one_byte_read() -> Check {
    handle_dispatches(do_nothing)?;
    let page = map_pages(3)?;
    protect(page, 1, libc::PROT_NONE)?;
    // SAFETY: the third of three pages.
    protect(unsafe { page.add(2 * PAGE_SIZE) }, 1, libc::PROT_NONE)?;
    for offset in [PAGE_SIZE, 2 * PAGE_SIZE - 1] {
        // SAFETY: in the second of three pages, which is readable and writable.
        let selector = unsafe { page.add(offset) };
        expect_obeyed(selector, |value| {
            // SAFETY: as above.
            unsafe { selector.write_volatile(value) };
            Ok(())
        })?;
    }
    Ok(())
}

fn read_only_suffices() -> Check {
    handle_dispatches(do_nothing)?;
    let page = map_pages(1)?;
    expect_obeyed(page, |value| {
        protect(page, 1, libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: writable now.
        unsafe { page.write_volatile(value) };
        protect(page, 1, libc::PROT_READ)
    })
}

fn never_written() -> Check {
    handle_dispatches(do_nothing)?;
    const FILL: u8 = 0xa5;
    let page = map_pages(1)?;
    // SAFETY: the page belongs to this case; one byte of it is the selector.
    let selector = unsafe {
        page.write_bytes(FILL, PAGE_SIZE);
        page.add(PAGE_SIZE / 2)
    };
    for value in [BLOCK, ALLOW] {
        // SAFETY: the byte is in the page.
        unsafe { selector.write_volatile(value) };
        let regs = fresh_umask_call();
        arm_with_selector(selector as u64)?;
        let _ = arch::gate().issue(&regs);
        disarm()?;
        // SAFETY: nothing else uses the page.
        let bytes = unsafe { std::slice::from_raw_parts(page, PAGE_SIZE) };
        let expected = |i: usize| if i == PAGE_SIZE / 2 { value } else { FILL };
        let written = (0..PAGE_SIZE).find(|i| bytes[*i] != expected(*i));
        ensure(written.is_none(), "the selector's page as it was", || {
            format!("byte {written:?} written, the selector is byte {}", PAGE_SIZE / 2)
        })?;
    }
    Ok(())
}

fn faulted_in() -> Check {
    handle_dispatches(do_nothing)?;
    let page = map_pages(1)?;
    let drop_page = || {
        // SAFETY: the page belongs to this case.
        unsafe {
            sys::call(libc::SYS_madvise, &[page as u64, PAGE_SIZE as u64, MADV_DONTNEED])
                .map_err(broken("madvise"))
        }
    };
    // A dropped private page is zero again, which is ALLOW.
    // SAFETY: the page is writable.
    unsafe { page.write_volatile(BLOCK) };
    drop_page()?;
    arm_with_selector(page as u64)?;
    expect_executed(&arch::gate())?;
    disarm()?;
    // A dropped file page has the file's content again.
    let fd = sys::memory_file().map_err(broken("memfd_create"))?;
    let file = u64::from(fd.cast_unsigned());
    // SAFETY: writes one byte from memory of this case to its own file.
    unsafe { sys::call(libc::SYS_write, &[file, &raw const BLOCK_BYTE as u64, 1]) }
        .map_err(broken("write"))?;
    let page = sys::map_at(0, PAGE_SIZE, libc::MAP_PRIVATE, fd).map_err(broken("mmap"))?;
    reset_dispatch_count();
    let regs = fresh_umask_call();
    arm_with_selector(page as u64)?;
    let _ = arch::gate().issue(&regs);
    disarm()?;
    expect_equal("SIGSYS handled with BLOCK in the file", dispatch_count(), 1)?;
    expect_equal("effect of the dispatched call", take_umask_effect(), false)
}

static BLOCK_BYTE: u8 = BLOCK;
const MADV_DONTNEED: u64 = libc::MADV_DONTNEED.cast_unsigned() as u64;

fn not_read_in_range() -> Check {
    handle_dispatches(do_nothing)?;
    install_counting_handler(libc::SIGSEGV)?;
    let page = map_pages(1)?;
    protect(page, 1, libc::PROT_NONE)?;
    let end = run_vforked(|| {
        if arm_with_selector(page as u64).is_err() {
            return 99;
        }
        // Calls from inside, one of which ends the child.
        let _ = fresh_umask_call();
        // SAFETY: takes no pointers.
        let old = unsafe { sys::call(libc::SYS_umask, &[0o111]) };
        exit_code(old == Ok(0o022) && sys::getpid() > 0)
    })?;
    expect_success(end)?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}
