// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The fast system call instructions of 32-bit mode (`sysenter`, `syscall`) in a 64-bit program.

use super::compat::{EntryInstruction, Program, SYSCALL, SYSENTER};
use crate::arch::compat::number as compat_number;
use crate::arch::{self, Reg, UserContext};
use crate::case::{Check, Failure};
use crate::shared::shared;
use crate::support::*;
use crate::sys;
use crate::vdso;
use std::sync::atomic::Ordering;

/// Pages of the stack of the program and of its signal handlers.
const STACK_PAGES: usize = 16;
/// The argument of umask(2).
const UMASK_ARGUMENT: u32 = 0o137;

/// Handler body: returns to the 64-bit code of [`arch::fast_call`].
fn return_to_64_bit(dispatch: Dispatch<'_>) {
    arch::return_from_fast(dispatch.frame);
}

/// The handler of SIGSEGV: sets ALLOW, and returns to the 64-bit code of [`arch::fast_call`].
extern "C" fn return_from_fault(_: i32, _: *const u8, frame: *mut UserContext) {
    shared().other_signals.fetch_add(1, Ordering::SeqCst);
    set_selector(ALLOW);
    // SAFETY: the kernel passes the signal frame.
    arch::return_from_fast(unsafe { &mut *frame });
}

/// Maps private memory below 4 GiB.
pub(super) fn map_low(length: usize) -> Result<*mut u8, Failure> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    sys::map_at(0, length, flags, -1).map_err(broken("mmap"))
}

fn to_u32(address: *mut u8) -> u32 {
    u32::try_from(address as u64).unwrap_or(0)
}

/// `do_fast_syscall_32()` computes the compared address of a fast 32-bit call as the landing pad's
/// offset in the 32-bit vDSO plus the address of the process's vDSO. A 64-bit program has the 64-bit
/// vDSO, so there is no landing pad at this address.
pub(crate) fn from_64_bit_program() -> Check {
    let program = Program::start()?;
    let compat_vdso = program.vdso()?;
    let offset = compat_vdso.int80_compared_address(&program)? - compat_vdso.mapping.start;
    let instruction = match compat_vdso.instruction {
        EntryInstruction::Syscall => SYSCALL,
        EntryInstruction::Sysenter => SYSENTER,
        EntryInstruction::Int80 => {
            return Err(Failure::Unmet("a processor with a fast 32-bit call".into()));
        }
    };
    let vdso = vdso::find().ok_or_else(|| Failure::Unmet("a vDSO".into()))?;
    let int80_compared_address = vdso.range.start + u64::from(offset);
    let code = map_low(PAGE_SIZE)?;
    // SAFETY: the page belongs to this case.
    unsafe { code.cast::<[u8; 2]>().write(instruction) };
    protect(code, 1, libc::PROT_READ | libc::PROT_EXEC)?;
    // SAFETY: the end of pages that belong to this case.
    let stack =
        to_u32(unsafe { map_low(STACK_PAGES * PAGE_SIZE)?.add((STACK_PAGES - 1) * PAGE_SIZE) });
    handle_dispatches(return_to_64_bit)?;
    let action = sys::SigAction {
        handler: return_from_fault as *const () as u64,
        flags: u64::from(libc::SA_SIGINFO.cast_unsigned()) | sys::SA_RESTORER,
        restorer: arch::restorer(),
        mask: 0,
    };
    // SAFETY: the address is that of a signal handler.
    unsafe { sys::sigaction(libc::SIGSEGV, &action) }.map_err(broken("rt_sigaction"))?;
    // Issues umask(2) by the fast instruction, and returns the result register.
    let call = |selector| {
        reset_dispatch_count();
        let _ = take_umask_effect();
        set_selector(selector);
        // SAFETY: the instruction was written above, and the handlers of both signals return here.
        let result =
            unsafe { arch::fast_call(to_u32(code), compat_number::UMASK, UMASK_ARGUMENT, stack) };
        set_selector(ALLOW);
        result
    };
    arm()?;
    expect_equal_hex(
        "result register after a dispatched call",
        call(BLOCK),
        compat_number::UMASK.into(),
    )?;
    expect_equal("effect of a dispatched call", take_umask_effect(), false)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)?;
    let record = first_sigsys_record()?;
    expect_equal_hex("si_call_addr", record.call_address(), int80_compared_address)?;
    expect_equal("si_syscall", record.number(), compat_number::UMASK.cast_signed())?;
    expect_equal_hex("si_arch", record.arch().into(), arch::AUDIT_ARCH_COMPAT.into())?;
    expect_equal_hex(
        "next instruction in the frame",
        record.registers[Reg::INSTRUCTION_POINTER],
        int80_compared_address,
    )?;
    expect_equal("faults", shared().other_signals.load(Ordering::SeqCst), 0)?;
    // A call that the selector or the range allows is executed. The program then continues at the low half
    // of the compared address, which is not mapped, and faults.
    let ranges = [
        (arch::inside().start, inside_length(), ALLOW, true),
        (int80_compared_address, 1, BLOCK, true),
        (int80_compared_address - 1, 1, BLOCK, false),
        (int80_compared_address + 1, 1, BLOCK, false),
        (to_u32(code).into(), 4, BLOCK, false),
    ];
    for (start, length, selector, expected) in ranges {
        expect_accepted(MODE_EXCLUSIVE, start, length, selector_address(&SELECTOR))?;
        shared().other_signals.store(0, Ordering::SeqCst);
        handle_dispatches(return_with_allow)?;
        let _ = call(selector);
        disarm()?;
        let what = format!("with {selector} and range {start:#x}+{length:#x}");
        expect_equal(&format!("effect {what}"), take_umask_effect(), expected)?;
        expect_equal(&format!("SIGSYS handled {what}"), dispatch_count(), u32::from(!expected))?;
        let faults = shared().other_signals.load(Ordering::SeqCst);
        expect_equal(&format!("faults {what}"), faults, u32::from(expected))?;
    }
    Ok(())
}

/// Handler body: sets ALLOW, so that a sigreturn outside the range is executed, and returns to the 64-bit code
/// of [`arch::fast_call`].
fn return_with_allow(dispatch: Dispatch<'_>) {
    set_selector(ALLOW);
    return_to_64_bit(dispatch);
}
