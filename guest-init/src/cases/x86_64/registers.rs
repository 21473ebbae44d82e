// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The flags, vector registers and segment bases of x86-64.

use crate::arch::{self, AvxState, Reg, Registers, SseState, UserContext};
use crate::case::Check;
use crate::cases::registers::{
    expect_round_trip, pattern_arguments, pattern_registers, state_after_overwriting_handler,
};
use crate::support::*;
use crate::sys;

pub(crate) fn flags_kept() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let gate = arch::gate();
    let single = (0..12).map(|bit| 1 << bit).filter(|flag| arch::SETTABLE_FLAGS & flag != 0);
    for flags in single.chain([0, arch::SETTABLE_FLAGS]) {
        let (after, record) = issue_dispatched(&gate, &pattern_registers().with_flags(flags))?;
        expect_equal_hex(
            "flags in the frame",
            record.registers[Reg::Flags] & arch::SETTABLE_FLAGS,
            flags,
        )?;
        expect_equal_hex(
            "flags after the handler",
            after[Reg::Flags] & arch::SETTABLE_FLAGS,
            flags,
        )?;
        expect_equal_hex("direction flag in the handler", record.flags & arch::FLAG_DIRECTION, 0)?;
    }
    Ok(())
}

/// The index of the shared word with the number of traps.
const TRAP_COUNT: usize = 0;
/// The index of the shared word with the instruction pointer at the first trap. The next two words have that
/// at the second and third trap.
const FIRST_TRAP_ADDRESS: usize = 1;

/// The handler of SIGTRAP: records the trap, and clears TF after the gate's call.
extern "C" fn on_trap(_: i32, _: *const u8, frame: *mut UserContext) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO its frame.
    let registers = unsafe { &mut (*frame).registers };
    let trap = shared_word(TRAP_COUNT);
    let word = FIRST_TRAP_ADDRESS + usize::try_from(trap).unwrap_or(0).min(2);
    set_shared_word(word, registers[Reg::INSTRUCTION_POINTER]);
    set_shared_word(TRAP_COUNT, trap + 1);
    if registers[Reg::INSTRUCTION_POINTER] >= arch::gate().compared_address() {
        registers[Reg::Flags] &= !arch::FLAG_TRAP;
    }
}

/// `handle_signal()` clears the flag in the registers with which the handler begins, but not in the
/// frame. The CPU traps after each instruction that begins with the flag set: an instruction before the
/// call, and the instruction after the call, whether or not the call is dispatched.
pub(crate) fn trap_flag_kept() -> Check {
    /// The length of `pushfq`, the instruction after a gate's call, in bytes.
    const PUSHFQ_LENGTH: u64 = 1;
    handle_dispatches(do_nothing)?;
    let action = sys::SigAction {
        handler: on_trap as *const () as u64,
        flags: u64::from(libc::SA_SIGINFO.cast_unsigned()) | sys::SA_RESTORER,
        restorer: arch::restorer(),
        mask: 0,
    };
    // SAFETY: the address is that of a signal handler.
    unsafe { sys::sigaction(libc::SIGTRAP, &action) }.map_err(broken("rt_sigaction"))?;
    arm()?;
    let gate = arch::gate();
    for selector in [ALLOW, BLOCK] {
        let mut regs = fresh_umask_call();
        regs[Reg::Flags] |= arch::FLAG_TRAP;
        reset_dispatch_count();
        set_shared_word(TRAP_COUNT, 0);
        set_selector(selector);
        let after = gate.issue(&regs);
        set_selector(ALLOW);
        let what = format!("with selector {selector}");
        expect_equal(&format!("effect {what}"), take_umask_effect(), selector == ALLOW)?;
        expect_equal(
            &format!("SIGSYS handled {what}"),
            dispatch_count(),
            u32::from(selector == BLOCK),
        )?;
        expect_equal(&format!("traps {what}"), shared_word(TRAP_COUNT), 2)?;
        let trap_addresses = [FIRST_TRAP_ADDRESS, FIRST_TRAP_ADDRESS + 1].map(shared_word);
        expect_equal_hex(
            &format!("address of the first trap {what}"),
            trap_addresses[0],
            gate.call_address(),
        )?;
        let expected = gate.compared_address() + PUSHFQ_LENGTH;
        expect_equal_hex(
            &format!("address of the second trap {what}"),
            trap_addresses[1],
            expected,
        )?;
        expect_equal_hex(
            &format!("trap flag {what}"),
            after[Reg::Flags] & arch::FLAG_TRAP,
            arch::FLAG_TRAP,
        )?;
    }
    let record = first_sigsys_record()?;
    let in_frame = record.registers[Reg::Flags] & arch::FLAG_TRAP;
    expect_equal_hex("trap flag in the frame", in_frame, arch::FLAG_TRAP)?;
    expect_equal_hex("trap flag in the handler", record.flags & arch::FLAG_TRAP, 0)
}

pub(crate) fn alignment_flag_kept() -> Check {
    const FLAG: u64 = arch::FLAG_ALIGNMENT;
    handle_dispatches(do_nothing)?;
    arm()?;
    let mut regs = fresh_umask_call();
    regs[Reg::Flags] |= FLAG;
    let (after, record) = issue_dispatched(&arch::gate(), &regs)?;
    expect_equal_hex("alignment flag in the frame", record.registers[Reg::Flags] & FLAG, FLAG)?;
    expect_equal_hex("alignment flag after the call", after[Reg::Flags] & FLAG, FLAG)?;
    let (after, record) = issue_dispatched(&arch::gate(), &fresh_umask_call())?;
    expect_equal_hex("alignment flag in the frame", record.registers[Reg::Flags] & FLAG, 0)?;
    expect_equal_hex("alignment flag after the call", after[Reg::Flags] & FLAG, 0)
}

pub(crate) fn sse_kept() -> Check {
    let before = SseState::pattern();
    let issue = |regs: &Registers| arch::issue_with_sse(regs, &before);
    let after = state_after_overwriting_handler(issue, arch::sse_call_address())?;
    ensure(before.is_same(&after), "x87 and SSE state as before", || before.difference(&after))
}

pub(crate) fn avx_kept() -> Check {
    let before = AvxState::pattern();
    let issue = |regs: &Registers| arch::issue_with_avx(regs, &before);
    let after = state_after_overwriting_handler(issue, arch::avx_call_address())?;
    ensure(before == after, "AVX registers as before", || before.difference(&after))
}

/// The word at the second thread pointer.
fn word_at_second_thread_pointer() -> u64 {
    // SAFETY: the case has set it to the address of a word that lives as long as the case.
    unsafe { arch::read_second_thread_pointer() }
}

/// Handler body: stores the thread pointers in shared words.
fn store_thread_pointers(_: Dispatch<'_>) {
    set_shared_word(0, thread_pointer(arch::GET_THREAD_POINTER));
    set_shared_word(1, thread_pointer(arch::GET_SECOND_THREAD_POINTER));
    set_shared_word(2, word_at_second_thread_pointer());
}

/// The thread pointer that this operation of `arch_prctl(2)` reads.
fn thread_pointer(operation: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: writes one word, which is live.
    let _ = unsafe { sys::call(libc::SYS_arch_prctl, &[operation, &raw mut value as u64]) };
    value
}

pub(crate) fn thread_pointers_kept() -> Check {
    const VALUE: u64 = 0x1234_5678_9abc_def0;
    handle_dispatches(store_thread_pointers)?;
    let word = Box::leak(Box::new(VALUE));
    let second = std::ptr::from_ref(word) as u64;
    // SAFETY: nothing else uses the second thread pointer, and the word is never freed.
    unsafe { sys::call(libc::SYS_arch_prctl, &[arch::SET_SECOND_THREAD_POINTER, second]) }
        .map_err(broken("arch_prctl"))?;
    let first = thread_pointer(arch::GET_THREAD_POINTER);
    arm()?;
    issue_dispatched(&arch::gate(), &fresh_umask_call())?;
    expect_equal_hex("FS base in the handler", shared_word(0), first)?;
    expect_equal_hex("GS base in the handler", shared_word(1), second)?;
    expect_equal_hex("word at GS in the handler", shared_word(2), VALUE)?;
    expect_equal_hex("FS base", thread_pointer(arch::GET_THREAD_POINTER), first)?;
    expect_equal_hex("GS base", thread_pointer(arch::GET_SECOND_THREAD_POINTER), second)?;
    expect_equal_hex("word at GS", word_at_second_thread_pointer(), VALUE)
}

pub(crate) fn compat_kept() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let gate = arch::compat_gate();
    let regs = Registers::for_call(arch::COMPAT_GETPID, pattern_arguments());
    let (after, record) = issue_dispatched(&gate, &regs)?;
    expect_round_trip(&regs, &after, &record, gate.compared_address())?;
    for reg in Reg::CLOBBERED_BY_CALL {
        expect_equal_hex(&format!("{reg:?} in the frame"), record.registers[reg], regs[reg])?;
        expect_equal_hex(&format!("{reg:?} after the handler"), after[reg], regs[reg])?;
    }
    Ok(())
}
