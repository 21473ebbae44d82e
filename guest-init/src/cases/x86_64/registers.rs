// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The flags, vector registers and segment bases of x86-64.

use crate::arch::{self, AvxState, Reg, Registers, SseState};
use crate::case::Check;
use crate::cases::registers::{behind_overwriting_handler, pattern, pattern_arguments, round_trip};
use crate::support::*;
use crate::sys;

pub(crate) fn flags_kept() -> Check {
    handle(keep)?;
    arm()?;
    let gate = arch::gate();
    let single = (0..12).map(|bit| 1 << bit).filter(|flag| arch::FLAGS & flag != 0);
    for flags in single.chain([0, arch::FLAGS]) {
        let (got, seen) = dispatched(&gate, &pattern().with_flags(flags))?;
        equal_hex("flags in the frame", seen.registers[Reg::Flags] & arch::FLAGS, flags)?;
        equal_hex("flags after the handler", got[Reg::Flags] & arch::FLAGS, flags)?;
        equal_hex("direction flag in the handler", seen.flags & arch::FLAG_DIRECTION, 0)?;
    }
    Ok(())
}

pub(crate) fn sse_kept() -> Check {
    let before = SseState::pattern();
    let issue = |regs: &Registers| arch::issue_with_sse(regs, &before);
    let after = behind_overwriting_handler(issue, arch::sse_call())?;
    ensure(before.same(&after), "x87 and SSE state as before", || before.difference(&after))
}

pub(crate) fn avx_kept() -> Check {
    let before = AvxState::pattern();
    let issue = |regs: &Registers| arch::issue_with_avx(regs, &before);
    let after = behind_overwriting_handler(issue, arch::avx_call())?;
    ensure(before == after, "AVX registers as before", || before.difference(&after))
}

fn second_pointer_value() -> u64 {
    // SAFETY: the case has set it to the address of a word that lives as long as the case.
    unsafe { arch::read_second_thread_pointer() }
}

fn read_pointers(_: Dispatch<'_>) {
    set_mark(0, thread_pointer(arch::GET_THREAD_POINTER));
    set_mark(1, thread_pointer(arch::GET_SECOND_THREAD_POINTER));
    set_mark(2, second_pointer_value());
}

fn thread_pointer(which: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: writes one word, which is live.
    let _ = unsafe { sys::call(libc::SYS_arch_prctl, &[which, &raw mut value as u64]) };
    value
}

pub(crate) fn thread_pointers_kept() -> Check {
    const VALUE: u64 = 0x1234_5678_9abc_def0;
    handle(read_pointers)?;
    let word = Box::leak(Box::new(VALUE));
    let second = std::ptr::from_ref(word) as u64;
    // SAFETY: nothing else uses the second thread pointer, and the word is never freed.
    unsafe { sys::call(libc::SYS_arch_prctl, &[arch::SET_SECOND_THREAD_POINTER, second]) }
        .map_err(broken("arch_prctl"))?;
    let first = thread_pointer(arch::GET_THREAD_POINTER);
    arm()?;
    dispatched(&arch::gate(), &touch())?;
    equal_hex("FS base in the handler", mark(0), first)?;
    equal_hex("GS base in the handler", mark(1), second)?;
    equal_hex("word at GS in the handler", mark(2), VALUE)?;
    equal_hex("FS base", thread_pointer(arch::GET_THREAD_POINTER), first)?;
    equal_hex("GS base", thread_pointer(arch::GET_SECOND_THREAD_POINTER), second)?;
    equal_hex("word at GS", second_pointer_value(), VALUE)
}

pub(crate) fn compat_kept() -> Check {
    handle(keep)?;
    arm()?;
    let gate = arch::compat_gate();
    let regs = Registers::call(arch::COMPAT_GETPID, pattern_arguments());
    let (got, seen) = dispatched(&gate, &regs)?;
    round_trip(&regs, &got, &seen, gate.after())?;
    for reg in Reg::SCRATCH {
        equal_hex(&format!("{reg:?} in the frame"), seen.registers[reg], regs[reg])?;
        equal_hex(&format!("{reg:?} after the handler"), got[reg], regs[reg])?;
    }
    Ok(())
}
