// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch as real programs on x86-64 use it: Wine, and a binary rewriter of system calls.

use crate::arch::{self, NtFrame, Reg, Registers, Teb};
use crate::case::{Check, Failure};
use crate::shared::shared;
use crate::support::*;
use crate::sys;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The index of the shared word that each thread increments twice: after its calls, and after its last call
/// with dispatch off.
const COMPLETED_STEPS: usize = 0;
/// The index of the shared word with the first [`ThreadError`] of any thread.
const ERROR: usize = 1;
/// The index of the shared word with the value that caused the first error.
const ERROR_VALUE: usize = 2;
/// The index of the shared word that is 1 once the threads must make their last call.
const MUST_MAKE_LAST_CALL: usize = 3;
/// The number of calls that [`handle_unix_call`] handled.
static HANDLED_CALLS: AtomicU64 = AtomicU64::new(0);
/// The number of calls during which the thread pointer was wrong.
static WRONG_THREAD_POINTERS: AtomicU64 = AtomicU64::new(0);
/// Whether the handler must disarm at the next call.
static MUST_DISARM: AtomicU32 = AtomicU32::new(0);

/// An error of a thread, as its number in the shared word [`ERROR`].
#[derive(Clone, Copy)]
enum ThreadError {
    Setup = 1,
    Result,
    ChangedRegisters,
    Selector,
    SignalSending,
    CallAfterDisarming,
}

/// The number of calls of each thread.
const WINDOWS_CALLS: u64 = 12;
/// The number of `NtQueryPerformanceCounter` on some releases of Windows, and of `symlink` on Linux.
const WINDOWS_NUMBER: u32 = 0x58;

/// Handler body that acts like Wine's handler: stores the call's continuation and flags in the thread's frame,
/// and continues at the dispatcher, without reading the siginfo. If [`MUST_DISARM`] is set, the body instead
/// disarms, and the program issues the call again.
fn redirect_to_dispatcher(dispatch: Dispatch<'_>) {
    let registers = &mut dispatch.frame.registers;
    if MUST_DISARM.load(Ordering::SeqCst) == 1 {
        if sys::set_dispatch(MODE_OFF, 0, 0, 0).is_ok() {
            registers[Reg::INSTRUCTION_POINTER] -= arch::CALL_LENGTH;
        }
        return;
    }
    // SAFETY: threads with this handler have a TEB, which holds the address of a frame that nothing else
    // uses now.
    let frame = unsafe { &mut *(arch::teb().frame as *mut NtFrame) };
    frame.continuation = registers[Reg::INSTRUCTION_POINTER] + arch::NT_RETURN_OFFSET;
    frame.flags = registers[Reg::Flags];
    registers[Reg::Cx] = std::ptr::from_ref(frame) as u64;
    registers[Reg::R11] = frame.flags;
    registers[Reg::INSTRUCTION_POINTER] = arch::nt_dispatcher();
}

/// Handles a call of the Windows program as the Unix side of Wine does: issues a system call, and
/// returns a sum that depends on number and arguments.
extern "C" fn handle_unix_call(frame: &mut NtFrame) -> u64 {
    // SAFETY: the fifth and sixth arguments are above the return address and the four words of home space
    // (the Windows x64 calling convention).
    let stack_arguments = unsafe { [*frame.stack.add(5), *frame.stack.add(6)] };
    let mut pointer = 0u64;
    // SAFETY: writes one word, which is live.
    let result = unsafe {
        sys::call(libc::SYS_arch_prctl, &[arch::GET_THREAD_POINTER, &raw mut pointer as u64])
    };
    // SAFETY: the thread has a TEB.
    let expected = unsafe { arch::teb() }.unix_pointer;
    if result.is_err() || pointer != expected {
        WRONG_THREAD_POINTERS.fetch_add(1, Ordering::SeqCst);
    }
    HANDLED_CALLS.fetch_add(1, Ordering::SeqCst);
    // One decimal digit for each argument.
    let digits = frame
        .arguments
        .iter()
        .chain(&stack_arguments)
        .fold(0u64, |digits, value| digits * 10 + value);
    frame.number * 1_000_000 + digits
}

/// Sets a thread pointer by this operation of `arch_prctl(2)`. Returns whether the kernel accepted it.
fn set_thread_pointer(operation: u64, value: u64) -> bool {
    // SAFETY: such a thread does not use thread-local storage.
    unsafe { sys::call(libc::SYS_arch_prctl, &[operation, value]) }.is_ok()
}

/// Stores an error and the value that caused it, unless another error came first.
fn report_error(error: ThreadError, value: u64) {
    if shared_word(ERROR) == 0 {
        set_shared_word(ERROR_VALUE, value);
        set_shared_word(ERROR, error as u64);
    }
}

/// A thread of a Windows program. Its argument is the address of its TEB.
extern "C" fn windows_thread(argument: u64) -> u64 {
    const STACK_SIZE: usize = 16 * PAGE_SIZE;
    // SAFETY: the TEB belongs to this thread and is never freed.
    let teb = unsafe { &*(argument as *const Teb) };
    // SAFETY: the signal stack is never freed.
    let is_set_up = map_pages(STACK_SIZE / PAGE_SIZE)
        .is_ok_and(|stack| unsafe { sys::sigaltstack(stack as u64, STACK_SIZE as u64, 0).is_ok() })
        && set_thread_pointer(arch::SET_SECOND_THREAD_POINTER, argument)
        && sys::set_dispatch(
            MODE_EXCLUSIVE,
            arch::inside().start,
            inside_length(),
            selector_address(&teb.selector),
        )
        .is_ok()
        && set_thread_pointer(arch::SET_THREAD_POINTER, teb.program_pointer);
    if !is_set_up {
        report_error(ThreadError::Setup, 0);
    }
    teb.selector.store(BLOCK, Ordering::SeqCst);
    for call in 0..WINDOWS_CALLS {
        let arguments = [call % 10, 2, 3, 4, 5, 6];
        let number = WINDOWS_NUMBER + u32::from(call % 2 == 1);
        // SAFETY: the call is dispatched, or fails for its arguments.
        let (result, changed) = unsafe { arch::issue_as_windows_program(number, &arguments) };
        // The result of `handle_unix_call`: the last five arguments are the digits 2 to 6.
        if result != u64::from(number) * 1_000_000 + arguments[0] * 100_000 + 23_456 {
            report_error(ThreadError::Result, result);
        }
        if changed != 0 {
            report_error(ThreadError::ChangedRegisters, changed);
        }
        if teb.selector.load(Ordering::SeqCst) != BLOCK {
            report_error(ThreadError::Selector, 0);
        }
        if call % 4 == 3 {
            // The handler of the signal returns through a restorer outside, as handlers that the C library
            // installs do.
            if sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGUSR1).is_err() {
                report_error(ThreadError::SignalSending, 0);
            }
        }
    }
    let _ = set_thread_pointer(arch::SET_THREAD_POINTER, teb.unix_pointer);
    set_shared_word(COMPLETED_STEPS, shared_word(COMPLETED_STEPS) + 1);
    // The handler disarms at the last call, which the program then issues again.
    await_shared_word(MUST_MAKE_LAST_CALL, 1);
    let (result, _) = {
        let number = u32::try_from(libc::SYS_gettid).unwrap_or(0);
        // SAFETY: takes no pointers.
        unsafe { arch::issue_as_windows_program(number, &[0; 6]) }
    };
    if result != u64::from(sys::gettid().cast_unsigned()) {
        report_error(ThreadError::CallAfterDisarming, result);
    }
    set_shared_word(COMPLETED_STEPS, shared_word(COMPLETED_STEPS) + 1);
    0
}

/// Allocates a thread's TEB, and its frame and stack for the Unix side. Returns the TEB's address.
fn windows_teb() -> Result<u64, Failure> {
    const STACK_SIZE: usize = 8 * PAGE_SIZE;
    let page = map_pages(1)?;
    let stack = map_pages(STACK_SIZE / PAGE_SIZE)?;
    let frame = stack as u64 + (STACK_SIZE - size_of::<NtFrame>()) as u64;
    // SAFETY: a zeroed page is a valid TEB, and is never freed.
    let teb = unsafe { &mut *page.cast::<Teb>() };
    teb.self_address = page as u64;
    teb.unix_pointer = arch::thread_pointer();
    teb.program_pointer = page as u64;
    teb.handle_call = Some(handle_unix_call);
    teb.frame = frame;
    Ok(page as u64)
}

pub(crate) fn wine() -> Check {
    const THREADS: u64 = 2;
    // Wine's `server_block_set`: the signals that its handlers block.
    let blocked = [
        libc::SIGALRM,
        libc::SIGIO,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGCHLD,
    ];
    let mask = blocked.into_iter().fold(0, |mask, signal| mask | sys::signal_bit(signal));
    handle_dispatches_with(redirect_to_dispatcher, libc::SA_RESTART | libc::SA_ONSTACK, mask)?;
    install_counting_handler(libc::SIGUSR1)?;
    for _ in 0..THREADS {
        let completed_steps = shared_word(COMPLETED_STEPS);
        spawn_thread(windows_thread, windows_teb()?)?;
        // The threads make their calls one after the other, since each shared word may have only one writer
        // at a time.
        await_shared_word(COMPLETED_STEPS, completed_steps + 1);
    }
    MUST_DISARM.store(1, Ordering::SeqCst);
    set_shared_word(MUST_MAKE_LAST_CALL, 1);
    while shared_word(COMPLETED_STEPS) < 2 * THREADS && shared_word(ERROR) == 0 {
        sys::sched_yield();
    }
    // The expectation that each `ThreadError` breaks.
    let expectations = [
        "",
        "a thread sets itself up",
        "the result of a call",
        "registers that changed",
        "the selector is at BLOCK after a call",
        "a signal is sent",
        "a call with dispatch off",
    ];
    let error = usize::try_from(shared_word(ERROR)).unwrap_or(0);
    ensure(error == 0, expectations.get(error).unwrap_or(&""), || {
        format!("{:#x}", shared_word(ERROR_VALUE))
    })?;
    expect_equal(
        "calls that the Unix side handled",
        HANDLED_CALLS.load(Ordering::SeqCst),
        THREADS * WINDOWS_CALLS,
    )?;
    expect_equal(
        "calls with the wrong thread pointer",
        WRONG_THREAD_POINTERS.load(Ordering::SeqCst),
        0,
    )?;
    expect_equal("SIGSYS handled", u64::from(dispatch_count()), THREADS * (WINDOWS_CALLS + 1))?;
    let signals = THREADS * WINDOWS_CALLS / 4;
    expect_equal(
        "SIGUSR1 handled",
        u64::from(shared().other_signals.load(Ordering::SeqCst)),
        signals,
    )?;
    let record = first_sigsys_record()?;
    expect_equal_hex(
        "si_call_addr",
        record.call_address(),
        arch::nt_call_address() + arch::CALL_LENGTH,
    )
}

/// Handler body of a rewriter: replaces the system call instruction by a call of the sled at address 0.
fn rewrite(dispatch: Dispatch<'_>) {
    let instruction = dispatch.frame.registers[Reg::INSTRUCTION_POINTER] - arch::CALL_LENGTH;
    let page = (instruction & !(PAGE_SIZE as u64 - 1)) as *mut u8;
    let read_write_execute = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: the page holds the case's copy of a gate, and there is one thread.
    unsafe {
        if sys::protect(page, PAGE_SIZE, read_write_execute).is_err() {
            return;
        }
        (instruction as *mut u8).copy_from_nonoverlapping(arch::CALL_RAX.as_ptr(), 2);
        let _ = sys::protect(page, PAGE_SIZE, libc::PROT_READ | libc::PROT_EXEC);
    }
    arch::sled_target().store(instruction, Ordering::SeqCst);
    dispatch.frame.registers[Reg::INSTRUCTION_POINTER] = arch::sled_resume();
}

/// Handler body: sets ALLOW, so that the handler may issue system calls outside the range, and then acts as
/// [`rewrite`].
fn allow_and_rewrite(dispatch: Dispatch<'_>) {
    set_selector(ALLOW);
    rewrite(dispatch);
}

pub(crate) fn rewriter() -> Check {
    const SITES: usize = 2;
    const CALLS: u64 = 5;
    let sled = arch::sled_page();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let arguments = [
        0,
        PAGE_SIZE as u64,
        u64::from(protection.cast_unsigned()),
        u64::from(flags.cast_unsigned()),
        u64::MAX,
        0,
    ];
    // SAFETY: nothing is mapped at address 0. The kernel writes the page, since Rust may not access address
    // 0.
    unsafe {
        sys::call(libc::SYS_mmap, &arguments).map_err(|_| Failure::Unmet("mapping at 0".into()))?;
        let fd = sys::memory_file().map_err(broken("memfd_create"))?;
        let file = u64::from(fd.cast_unsigned());
        sys::call(libc::SYS_write, &[file, sled.as_ptr() as u64, sled.len() as u64])
            .and_then(|_| sys::call(libc::SYS_pread64, &[file, 0, sled.len() as u64, 0]))
            .map_err(broken("the sled"))?;
        let executable = (libc::PROT_READ | libc::PROT_EXEC).cast_unsigned();
        sys::call(libc::SYS_mprotect, &[0, PAGE_SIZE as u64, executable.into()])
            .map_err(broken("mprotect"))?;
    }
    let mut gates = Vec::new();
    for _ in 0..SITES {
        let page = map_pages(1)?;
        // SAFETY: a newly mapped page, which is executable from here on.
        gates.push(unsafe { arch::copy_gate(page) });
        protect(page, 1, libc::PROT_READ | libc::PROT_EXEC)?;
    }
    arch::sled_selector().store(selector_address(&SELECTOR), Ordering::SeqCst);
    let regs: Vec<Registers> = (0..CALLS).map(|_| fresh_umask_call()).collect();
    // There is no allowed range, so the handler's return is executed only because of ALLOW.
    handle_dispatches_with_restorer(allow_and_rewrite, 0, 0, arch::outside_restorer())?;
    reset_dispatch_count();
    expect_accepted(MODE_EXCLUSIVE, 0, 0, selector_address(&SELECTOR))?;
    for (site, gate) in gates.iter().enumerate() {
        for (call, regs) in regs.iter().enumerate() {
            set_selector(BLOCK);
            let after = gate.issue(regs);
            let selector_after = SELECTOR.load(Ordering::SeqCst);
            set_selector(ALLOW);
            let what = format!("call {call} at site {site}");
            expect_equal(&format!("selector after {what}"), selector_after, BLOCK)?;
            expect_equal(&format!("effect of {what}"), take_umask_effect(), true)?;
            let result = after.result();
            expect_equal(&format!("result of {what}"), result, RESET_UMASK.cast_signed())?;
            for reg in Reg::ARGUMENTS
                .into_iter()
                .chain(Reg::preserved_by_calls())
                .filter(|reg| *reg != Reg::Sp)
            {
                expect_equal_hex(&format!("{reg:?} after {what}"), after[reg], regs[reg])?;
            }
            expect_equal(
                &format!("SIGSYS handled by {what}"),
                dispatch_count() as usize,
                site + 1,
            )?;
        }
    }
    disarm()?;
    let calls = arch::sled_calls().load(Ordering::SeqCst);
    expect_equal("calls over the sled", calls, CALLS * SITES as u64)
}
