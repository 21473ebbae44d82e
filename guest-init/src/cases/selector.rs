// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The selector: when the kernel reads it, how many bytes it reads, the meaning of each value, and the
//! effect of a selector that cannot be read.

use super::check_on;
use crate::arch::{self, Registers};
use crate::case::{Case, Check, Failure, Need, OnlyArchs, case, case_not_in_core};
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
        "with ALLOW a call with an unknown number returns ENOSYS; so does -1, which the kernel also gives to \
         calls that it skips",
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
    case_not_in_core(
        "selector/flip-from-afar",
        "a flip by another process, through shared memory, applies",
        DISPATCH_FUNCTION,
        flip_by_other_process,
    ),
    case(
        "selector/invalid-value-kills",
        "any other value kills with SIGSYS, without running the handler",
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
    case_not_in_core(
        "selector/kill-dumps-core",
        "a process that its selector kills dumps core if and only if RLIMIT_CORE permits",
        "do_coredump()",
        kill_dumps_core,
    )
    .needs(&[Need::Vm]),
    case(
        "selector/unreadable-kills",
        "a selector without read permission kills with SIGSEGV, without running a handler",
        EXIT_FUNCTION,
        unreadable_kills,
    ),
    case(
        "selector/unmapped-kills",
        "an unmapped selector kills with SIGSEGV, without running a handler",
        EXIT_FUNCTION,
        unmapped_kills,
    ),
    case(
        "selector/past-end-of-file-kills",
        "a selector past the end of its file kills with SIGSEGV, without running a handler",
        EXIT_FUNCTION,
        past_end_of_file_kills,
    ),
    case(
        "selector/protection-key-kills",
        "a selector that a protection key protects kills with SIGSEGV, without running a handler",
        EXIT_FUNCTION,
        check_on!("x86_64", this_arch::keys::protection_key_kills),
    )
    .features(&[Feature::Dispatch, Feature::Pkeys])
    .needs(&[Need::CpuFeature("pku")])
    .only(OnlyArchs::PROTECTION_KEYS),
    case(
        "selector/protection-key-in-handler",
        "a handler has no access to a selector that a protection key protects: a call in the handler kills, \
         and calls after the handler obey the selector again",
        DISPATCH_FUNCTION,
        check_on!("x86_64", this_arch::keys::protection_key_in_handler),
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
    // Issue a call with each number inside the range, and outside the range with ALLOW and BLOCK.
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
    // One bit for each call: 1 for BLOCK. Each value stays for runs of calls of different lengths, so that
    // a kernel that uses the value of an earlier call is noticed.
    let mut block_bits = 0x9d2c_5680_u32;
    for _ in 0..32 {
        if block_bits & 1 == 1 {
            expect_dispatched(&arch::gate())?;
        } else {
            expect_executed(&arch::gate())?;
        }
        block_bits >>= 1;
    }
    Ok(())
}

fn flip_by_other_process() -> Check {
    handle_dispatches(do_nothing)?;
    let page = sys::map_shared(PAGE_SIZE).map_err(broken("mmap"))?;
    // SAFETY: a byte of memory that is never unmapped, which two processes share.
    let selector: &AtomicU8 = unsafe { &*page.cast() };
    const ROUNDS: u64 = 6;
    /// The index of a shared word that is odd while the child must flip the selector, and even once the child
    /// has flipped it.
    const TURN: usize = 0;
    let flipping_child = spawn_child(|| {
        for round in 1..=ROUNDS {
            await_shared_word(TURN, 2 * round - 1);
            selector.store(if round % 2 == 1 { BLOCK } else { ALLOW }, Ordering::SeqCst);
            set_shared_word(TURN, 2 * round);
        }
        0
    })?;
    arm_with_selector(page as u64)?;
    let gate = arch::gate();
    let mut disobeying_calls = 0;
    for round in 1..=ROUNDS {
        reset_dispatch_count();
        let regs = fresh_umask_call();
        set_shared_word(TURN, 2 * round - 1);
        await_shared_word(TURN, 2 * round);
        let _ = gate.issue(&regs);
        let is_blocked = round % 2 == 1;
        if dispatch_count() != u32::from(is_blocked) || take_umask_effect() == is_blocked {
            disobeying_calls += 1;
        }
    }
    disarm()?;
    expect_success(wait_for_change(flipping_child)?)?;
    expect_equal("calls that did not obey the other process", disobeying_calls, 0)
}

/// The index of the shared word that is 1 once a call that must kill has returned.
const CALL_RETURNED: usize = 15;

/// Arms a child with this selector. Checks that the child's next call kills the child by this signal and
/// has no effect. The child calls `prepare` before it arms.
fn expect_kill(selector: u64, signal: i32, prepare: impl FnOnce()) -> Check {
    const ENLARGED_SIZE: u64 = 77;
    reset_dispatch_count();
    // The call would enlarge a file, an effect that outlives the child.
    let fd = sys::memory_file().map_err(broken("memfd_create"))?;
    let file = u64::from(fd.cast_unsigned());
    let enlarge =
        Registers::for_call(call_number(libc::SYS_ftruncate), [file, ENLARGED_SIZE, 0, 0, 0, 0]);
    let status = run_vforked(|| {
        prepare();
        if arm_with_selector(selector).is_err() {
            return SETUP_FAILED;
        }
        set_shared_word(CALL_RETURNED, 0);
        let _ = arch::gate().issue(&enlarge);
        set_shared_word(CALL_RETURNED, 1);
        0
    })?;
    expect_killed(status, signal, 0)?;
    expect_equal("instructions run after the call", shared_word(CALL_RETURNED), 0)?;
    let seek_end = u64::from(libc::SEEK_END.cast_unsigned());
    // SAFETY: takes no pointers.
    let size =
        unsafe { sys::call(libc::SYS_lseek, &[file, 0, seek_end]) }.map_err(broken("lseek"))?;
    sys::close(fd).map_err(broken("close"))?;
    expect_equal("bytes in the file that the call would enlarge", size, 0)
}

/// Checks that a call with this selector value, which is neither ALLOW nor BLOCK, kills a child with SIGSYS.
fn expect_invalid_kills(value: u8, prepare: impl FnOnce()) -> Check {
    let selector = AtomicU8::new(value);
    expect_kill(selector_address(&selector), libc::SIGSYS, prepare)
        .map_err(|failure| with_context(&format!("selector {value:#x}"), failure))
}

/// Prefixes the expectation of a failure with `context`.
fn with_context(context: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Mismatch { expected, got } => mismatch(format!("{context}: {expected}"), got),
        other => other,
    }
}

fn invalid_value_kills() -> Check {
    handle_dispatches(do_nothing)?;
    // Values with one bit set, and values that the kernel would accept if it compared only some bits, or
    // compared signed values.
    for value in [2, 3, 4, 8, 16, 32, 64, 0x7f, 0x80, 0x81, 0xfe, 0xff] {
        expect_invalid_kills(value, || {})?;
    }
    Ok(())
}

fn invalid_value_kills_if_blocked_or_ignored() -> Check {
    handle_dispatches(do_nothing)?;
    let mask = sys::signal_bit(libc::SIGSYS);
    expect_invalid_kills(INVALID, || {
        let _ = sys::sigmask(libc::SIG_BLOCK, mask);
    })?;
    let ignore = SigAction { handler: libc::SIG_IGN as u64, ..SigAction::default() };
    expect_invalid_kills(0xff, || {
        // SAFETY: SIG_IGN has no handler.
        let _ = unsafe { sys::sigaction(libc::SIGSYS, &ignore) };
    })
}

/// The index of the shared word that is 1 once [`run_until_killed`] runs.
const THREAD_RUNS: usize = 0;

/// A thread that runs until its process is killed.
extern "C" fn run_until_killed(_: u64) -> u64 {
    set_shared_word(THREAD_RUNS, 1);
    loop {
        sys::sched_yield();
    }
}

fn invalid_value_kills_all_threads() -> Check {
    handle_dispatches(do_nothing)?;
    // A call of the main thread kills the process, then a call of another thread.
    expect_invalid_kills(INVALID, || {
        if spawn_thread(run_until_killed, 0).is_ok() {
            await_shared_word(THREAD_RUNS, 1);
        }
    })?;
    expect_equal("the other thread ran", shared_word(THREAD_RUNS), 1)?;
    reset_dispatch_count();
    let status = run_vforked(|| {
        extern "C" fn call_with_invalid_selector(_: u64) -> u64 {
            if arm().is_ok() {
                set_selector(INVALID);
                let _ = arch::gate().issue(&fresh_umask_call());
            }
            0
        }
        if spawn_thread(call_with_invalid_selector, 0).is_err() {
            return SETUP_FAILED;
        }
        loop {
            sys::sched_yield();
        }
    })?;
    expect_killed(status, libc::SIGSYS, 0)
}

fn kill_dumps_core() -> Check {
    handle_dispatches(do_nothing)?;
    let unreadable = map_pages(1)?;
    protect(unreadable, 1, libc::PROT_NONE)?;
    let invalid = AtomicU8::new(INVALID);
    for (selector, signal) in
        [(selector_address(&invalid), libc::SIGSYS), (unreadable as u64, libc::SIGSEGV)]
    {
        // One page is the smallest limit with which the kernel dumps core (`min_coredump` of
        // fs/binfmt_elf.c).
        for limit in [PAGE_SIZE as u64, 0] {
            let limits = [limit; 2];
            let child = spawn_child(|| {
                let resource = u64::from(libc::RLIMIT_CORE);
                // SAFETY: the structure is live.
                let limited = unsafe {
                    sys::call(libc::SYS_prlimit64, &[0, resource, limits.as_ptr() as u64, 0])
                };
                if limited.is_err() || arm_with_selector(selector).is_err() {
                    return SETUP_FAILED;
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

/// Checks that a call with this selector kills a child with SIGSEGV, without running a handler. The child
/// calls `prepare` before it arms.
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
    // The child unmaps the page just before it arms, so that nothing else can be mapped at the address.
    expect_segv(page as u64, || {
        // SAFETY: the page belongs to this case, and is unused.
        let _ = unsafe { sys::unmap(page, PAGE_SIZE) };
    })?;
    // A selector of 0 would mean no selector; 8 is in the same page, which is never mapped.
    expect_segv(8, || {})
}

fn past_end_of_file_kills() -> Check {
    let fd = sys::memory_file().map_err(broken("memfd_create"))?;
    // The file is empty.
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
            // SAFETY: the byte is in the second page.
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
        let changed_byte = (0..PAGE_SIZE).find(|i| bytes[*i] != expected(*i));
        ensure(changed_byte.is_none(), "the selector's page is unchanged", || {
            format!("byte {changed_byte:?} written, the selector is byte {}", PAGE_SIZE / 2)
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
    let status = run_vforked(|| {
        if arm_with_selector(page as u64).is_err() {
            return SETUP_FAILED;
        }
        // Calls from inside: umask(2) twice, getpid(2), and the child's exit.
        let _ = fresh_umask_call();
        // SAFETY: takes no pointers.
        let old_umask = unsafe { sys::call(libc::SYS_umask, &[0o111]) };
        exit_code(old_umask == Ok(RESET_UMASK) && sys::getpid() > 0)
    })?;
    expect_success(status)?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}
