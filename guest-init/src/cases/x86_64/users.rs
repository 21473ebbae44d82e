// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What real programs on x86-64 do with dispatch: Wine and a rewriter of system calls.

use crate::arch::{self, NtBlock, NtFrame, Reg, Registers};
use crate::case::{Check, Failure};
use crate::shared::shared;
use crate::support::*;
use crate::sys;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Marks: threads that are done, and what went wrong first in any.
const DONE: usize = 0;
const WRONG: usize = 1;
const GOT: usize = 2;
/// Calls that the Unix side saw, and those for which its thread pointer was not in force.
static WORKED: AtomicU64 = AtomicU64::new(0);
static MISPLACED: AtomicU64 = AtomicU64::new(0);
/// Dispatch is to be switched off at the next one.
static DISABLED: AtomicU32 = AtomicU32::new(0);

const WINDOWS_CALLS: u64 = 12;
/// A number that is `NtQueryPerformanceCounter` on some Windows, and `symlink` here.
const WINDOWS_NUMBER: u32 = 0x58;

/// What Wine's handler does: no look at siginfo, all from the registers.
fn to_dispatcher(dispatch: Dispatch<'_>) {
    let registers = &mut dispatch.frame.registers;
    if DISABLED.load(Ordering::SeqCst) == 1 {
        if sys::set_dispatch(OFF, 0, 0, 0).is_ok() {
            registers[Reg::NEXT] -= arch::CALL_LENGTH;
        }
        return;
    }
    // SAFETY: the threads that are dispatched here have a block, and in it the address of a frame
    // that no one else uses now.
    let frame = unsafe { &mut *(arch::nt_block().frame as *mut NtFrame) };
    frame.next = registers[Reg::NEXT] + arch::NT_RETURN;
    frame.flags = registers[Reg::Flags];
    registers[Reg::Cx] = std::ptr::from_ref(frame) as u64;
    registers[Reg::R11] = frame.flags;
    registers[Reg::NEXT] = arch::nt_dispatcher();
}

/// The Unix side: a real call of its own, and a sum that shows number and arguments.
extern "C" fn unix_side(frame: &mut NtFrame) -> u64 {
    // SAFETY: the program keeps two further arguments above the return address and the four
    // words for the callee.
    let further = unsafe { [*frame.stack.add(5), *frame.stack.add(6)] };
    let mut pointer = 0u64;
    // SAFETY: writes one word.
    let asked = unsafe {
        sys::call(libc::SYS_arch_prctl, &[arch::GET_THREAD_POINTER, &raw mut pointer as u64])
    };
    // SAFETY: this thread's block.
    let due = unsafe { arch::nt_block() }.unix_pointer;
    if asked.is_err() || pointer != due {
        MISPLACED.fetch_add(1, Ordering::SeqCst);
    }
    WORKED.fetch_add(1, Ordering::SeqCst);
    let sum = frame.arguments.iter().chain(&further).fold(0u64, |sum, value| sum * 10 + value);
    frame.number * 1_000_000 + sum
}

fn set_pointer(which: u64, value: u64) -> bool {
    // SAFETY: nothing in such a thread uses thread-local storage.
    unsafe { sys::call(libc::SYS_arch_prctl, &[which, value]) }.is_ok()
}

fn complain(what: u64, got: u64) {
    if mark(WRONG) == 0 {
        set_mark(GOT, got);
        set_mark(WRONG, what);
    }
}

/// The life of a thread of a Windows program; its argument is the address of its block.
extern "C" fn windows_thread(argument: u64) -> u64 {
    const STACK: usize = 16 * PAGE;
    // SAFETY: the block is this thread's own and never freed.
    let block = unsafe { &*(argument as *const NtBlock) };
    // SAFETY: the stack for handlers is never freed.
    let ready = pages(STACK / PAGE)
        .is_ok_and(|stack| unsafe { sys::sigaltstack(stack as u64, STACK as u64, 0).is_ok() })
        && set_pointer(arch::SET_SECOND_THREAD_POINTER, argument)
        && sys::set_dispatch(
            EXCLUSIVE,
            arch::inside().start,
            inside_length(),
            address(&block.selector),
        )
        .is_ok()
        && set_pointer(arch::SET_THREAD_POINTER, block.program_pointer);
    if !ready {
        complain(1, 0);
    }
    block.selector.store(BLOCK, Ordering::SeqCst);
    for call in 0..WINDOWS_CALLS {
        let arguments = [call % 10, 2, 3, 4, 5, 6];
        let number = WINDOWS_NUMBER + u32::from(call % 2 == 1);
        // SAFETY: never reaches the kernel, or does nothing there for want of addresses.
        let (result, spoilt) = unsafe { arch::nt_program(number, &arguments) };
        if result != u64::from(number) * 1_000_000 + arguments[0] * 100_000 + 23_456 {
            complain(2, result);
        }
        if spoilt != 0 {
            complain(3, spoilt);
        }
        if block.selector.load(Ordering::SeqCst) != BLOCK {
            complain(4, 0);
        }
        if call % 4 == 3 {
            // A signal amid the program's code, whose handler returns through the C library.
            if sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGUSR1).is_err() {
                complain(5, 0);
            }
        }
    }
    let _ = set_pointer(arch::SET_THREAD_POINTER, block.unix_pointer);
    set_mark(DONE, mark(DONE) + 1);
    // Only the last thing of the process switches dispatch off.
    await_mark(DONE + 3, 1);
    let (result, _) = {
        let number = u32::try_from(libc::SYS_gettid).unwrap_or(0);
        // SAFETY: asks for a number.
        unsafe { arch::nt_program(number, &[0; 6]) }
    };
    if result != u64::from(sys::gettid().cast_unsigned()) {
        complain(6, result);
    }
    set_mark(DONE, mark(DONE) + 1);
    0
}

/// A thread's block, frame and stack of the Unix side.
fn windows_block() -> Result<u64, Failure> {
    const STACK: usize = 8 * PAGE;
    let page = pages(1)?;
    let stack = pages(STACK / PAGE)?;
    let frame = stack as u64 + (STACK - size_of::<NtFrame>()) as u64;
    // SAFETY: a zeroed page, which is a valid block, as long as one, and never freed.
    let block = unsafe { &mut *page.cast::<NtBlock>() };
    block.own = page as u64;
    block.unix_pointer = arch::thread_pointer();
    block.program_pointer = page as u64;
    block.work = Some(unix_side);
    block.frame = frame;
    Ok(page as u64)
}

pub(crate) fn wine() -> Check {
    const THREADS: u64 = 2;
    // `server_block_set` of Wine: what its own handlers may not be interrupted by.
    let blocked = [
        libc::SIGALRM,
        libc::SIGIO,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGCHLD,
    ];
    let mask = blocked.into_iter().fold(0, |mask, signal| mask | sys::bit(signal));
    handle_as(to_dispatcher, libc::SA_RESTART | libc::SA_ONSTACK, mask)?;
    count_signal(libc::SIGUSR1)?;
    for _ in 0..THREADS {
        let done = mark(DONE);
        spawn_thread(windows_thread, windows_block()?)?;
        // One after the other: the marks have one writer.
        await_mark(DONE, done + 1);
    }
    DISABLED.store(1, Ordering::SeqCst);
    set_mark(DONE + 3, 1);
    while mark(DONE) < 2 * THREADS && mark(WRONG) == 0 {
        sys::sched_yield();
    }
    let what = [
        "",
        "a thread sets itself up",
        "the result of a call",
        "registers that changed",
        "the selector is BLOCK after a call",
        "a signal is sent",
        "a call with dispatch off",
    ];
    let wrong_at = usize::try_from(mark(WRONG)).unwrap_or(0);
    ensure(wrong_at == 0, what.get(wrong_at).unwrap_or(&""), || format!("{:#x}", mark(GOT)))?;
    equal("calls that the Unix side saw", WORKED.load(Ordering::SeqCst), THREADS * WINDOWS_CALLS)?;
    equal("calls with the wrong thread pointer", MISPLACED.load(Ordering::SeqCst), 0)?;
    equal("SIGSYS handled", u64::from(dispatches()), THREADS * (WINDOWS_CALLS + 1))?;
    let signals = THREADS * WINDOWS_CALLS / 4;
    equal("SIGUSR1 handled", u64::from(shared().others.load(Ordering::SeqCst)), signals)?;
    let seen = shared().seen(0).ok_or_else(|| mismatch("a record", "none"))?;
    equal_hex("si_call_addr", seen.call_address(), arch::nt_call() + arch::CALL_LENGTH)
}

/// What a rewriter's handler does: the call's place becomes a call of the slide.
fn rewrite(dispatch: Dispatch<'_>) {
    let place = dispatch.frame.registers[Reg::NEXT] - arch::CALL_LENGTH;
    let page = (place & !(PAGE as u64 - 1)) as *mut u8;
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: the page is a copy of a gate of the case's own, and this thread is the only one.
    unsafe {
        if sys::protect(page, PAGE, all).is_err() {
            return;
        }
        (place as *mut u8).copy_from_nonoverlapping(arch::SLIDE_CALL.as_ptr(), 2);
        let _ = sys::protect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC);
    }
    arch::slide_place().store(place, Ordering::SeqCst);
    dispatch.frame.registers[Reg::NEXT] = arch::slide_resume();
}

/// The handler's beginning: ALLOW before any call of its own.
fn allow_and_rewrite(dispatch: Dispatch<'_>) {
    flip(ALLOW);
    rewrite(dispatch);
}

pub(crate) fn rewriter() -> Check {
    const SITES: usize = 2;
    const CALLS: u64 = 5;
    let slide = arch::slide();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let arguments = [
        0,
        PAGE as u64,
        u64::from(protection.cast_unsigned()),
        u64::from(flags.cast_unsigned()),
        u64::MAX,
        0,
    ];
    // SAFETY: nothing lives at address 0. It is written by the kernel, to which it is a place
    // like any other: to Rust it is not.
    unsafe {
        sys::call(libc::SYS_mmap, &arguments).map_err(|_| Failure::Unmet("mapping at 0".into()))?;
        let fd = sys::memory_file().map_err(broken("memfd_create"))?;
        let file = u64::from(fd.cast_unsigned());
        sys::call(libc::SYS_write, &[file, slide.as_ptr() as u64, slide.len() as u64])
            .and_then(|_| sys::call(libc::SYS_pread64, &[file, 0, slide.len() as u64, 0]))
            .map_err(broken("the slide"))?;
        let executable = (libc::PROT_READ | libc::PROT_EXEC).cast_unsigned();
        sys::call(libc::SYS_mprotect, &[0, PAGE as u64, executable.into()])
            .map_err(broken("mprotect"))?;
    }
    let mut gates = Vec::new();
    for _ in 0..SITES {
        let page = pages(1)?;
        // SAFETY: a page of its own, executable from here on.
        gates.push(unsafe { arch::copy_gate(page) });
        protect(page, 1, libc::PROT_READ | libc::PROT_EXEC)?;
    }
    arch::slide_selector().store(address(&SELECTOR), Ordering::SeqCst);
    let regs: Vec<Registers> = (0..CALLS).map(|_| touch()).collect();
    // The return from the handler is outside too, as there is no inside: it lives by ALLOW.
    handle_returning(allow_and_rewrite, 0, 0, arch::outside_restorer())?;
    forget();
    accepted(EXCLUSIVE, 0, 0, address(&SELECTOR))?;
    for (site, gate) in gates.iter().enumerate() {
        for (call, regs) in regs.iter().enumerate() {
            flip(BLOCK);
            let got = gate.issue(regs);
            let after = SELECTOR.load(Ordering::SeqCst);
            flip(ALLOW);
            let what = format!("call {call} of place {site}");
            equal(&format!("selector behind {what}"), after, BLOCK)?;
            equal(&format!("effect of {what}"), touched(), true)?;
            equal(&format!("result of {what}"), got.result(), 0o022)?;
            for reg in
                Reg::ARGUMENTS.into_iter().chain(Reg::preserved()).filter(|reg| *reg != Reg::Sp)
            {
                equal_hex(&format!("{reg:?} behind {what}"), got[reg], regs[reg])?;
            }
            equal(&format!("SIGSYS handled by {what}"), dispatches() as usize, site + 1)?;
        }
    }
    disarm()?;
    let calls = arch::slide_calls().load(Ordering::SeqCst);
    equal("calls over the slide", calls, CALLS * SITES as u64)
}
