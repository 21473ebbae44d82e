// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The registers after the round trip from a dispatch to the handler's return.

use super::check_on;
use crate::arch::{self, Reg, Registers};
use crate::case::{Case, Check, Failure, Need, OnlyArchs, all_but, case};
use crate::shared::SigsysRecord;
use crate::support::*;
use crate::sys;
use sudbox_protocol::Arch;
use sudbox_protocol::Feature;

const ROLLBACK_FUNCTION: &str = "syscall_rollback()";
const DISPATCH_FUNCTION: &str = "syscall_user_dispatch()";
const RETURN_FUNCTION: &str = "rt_sigreturn()";

const ONLY_X86_FLOATING: OnlyArchs = OnlyArchs {
    archs: &[Arch::X86_64],
    reason: "on other architectures registers/floating-kept checks the registers",
};

const ONLY_X86_FLAGS: OnlyArchs =
    OnlyArchs { archs: &[Arch::X86_64], reason: "only x86-64 has this flag" };

pub(super) const CASES: &[Case] = &[
    case(
        "registers/general-kept",
        "every general register has its value at the call, both in the frame and after the handler",
        ROLLBACK_FUNCTION,
        general_kept,
    )
    .known_bugs(&["result-register-lost"]),
    case(
        "registers/number-kept",
        "a dispatch keeps all 64 bits of the number register",
        ROLLBACK_FUNCTION,
        number_kept,
    ),
    case(
        "registers/no-call-kept",
        "a dispatched call of number -1 keeps its first argument, in the frame and after the \
         handler; an allowed one returns ENOSYS",
        ROLLBACK_FUNCTION,
        check_on!("aarch64", this_arch::registers::number_minus_one_kept),
    )
    .only(OnlyArchs {
        archs: &[Arch::Aarch64],
        reason: "no other architecture answers number -1 (NO_SYSCALL) before it reads the selector",
    }),
    case(
        "registers/restart-numbers-kept",
        "a number or argument in the result register is kept even if it equals one of the kernel's \
         restart codes",
        "handle_signal()",
        restart_numbers_kept,
    )
    .known_bugs(&["restart-number", "result-register-lost"]),
    case(
        "registers/flags-kept",
        "a dispatch keeps every arithmetic flag or condition code, and on x86-64 the handler begins with \
         the direction flag clear",
        RETURN_FUNCTION,
        check_on!("x86_64" | "aarch64" | "s390x", this_arch::registers::flags_kept),
    )
    .only(OnlyArchs {
        archs: &[Arch::X86_64, Arch::Aarch64, Arch::S390x],
        reason: "riscv64 has no flags",
    }),
    case(
        "registers/trap-flag-kept",
        "if a program single-steps itself, the trap flag is set in the frame and clear in the \
         handler, and the program traps after its next instruction",
        "handle_signal()",
        check_on!("x86_64", this_arch::registers::trap_flag_kept),
    )
    .only(ONLY_X86_FLAGS),
    case(
        "registers/alignment-flag-kept",
        "the alignment check flag is set in the frame and after the call",
        RETURN_FUNCTION,
        check_on!("x86_64", this_arch::registers::alignment_flag_kept),
    )
    .only(ONLY_X86_FLAGS),
    case(
        "registers/sse-kept",
        "x87 and SSE registers and control words survive a handler that overwrites them",
        RETURN_FUNCTION,
        check_on!("x86_64", this_arch::registers::sse_kept),
    )
    .only(ONLY_X86_FLOATING),
    case(
        "registers/avx-kept",
        "AVX registers survive a handler that overwrites them",
        RETURN_FUNCTION,
        check_on!("x86_64", this_arch::registers::avx_kept),
    )
    .needs(&[Need::CpuFeature("avx")])
    .only(ONLY_X86_FLOATING),
    case(
        "registers/floating-kept",
        "floating point registers and their status survive a handler that overwrites them",
        RETURN_FUNCTION,
        check_on!(not "x86_64", floating::floating_kept),
    )
    .only(OnlyArchs {
        archs: all_but!(X86_64),
        reason: "x86-64 has registers/sse-kept and registers/avx-kept instead",
    }),
    case(
        "registers/scalable-cut",
        "a dispatched call keeps the low 128 bits of each scalable vector and zeroes the rest, like \
         any call",
        "fpsimd_syscall_enter()",
        check_on!("aarch64", this_arch::registers::scalable_cut),
    )
    .needs(&[Need::CpuFeature("sve")])
    .only(OnlyArchs { archs: &[Arch::Aarch64], reason: "only aarch64 has scalable vectors (SVE)" }),
    case(
        "registers/thread-pointers-kept",
        "the thread pointers are the same in the handler and after it",
        DISPATCH_FUNCTION,
        check_on!("x86_64" | "aarch64" | "s390x", this_arch::registers::thread_pointers_kept),
    )
    .only(OnlyArchs {
        archs: &[Arch::X86_64, Arch::Aarch64, Arch::S390x],
        reason: "on riscv64 the thread pointer is a general register",
    }),
    case(
        "registers/int80-kept",
        "a dispatched int 0x80 changes no register but the upper half of RAX, which is not part of the \
         number",
        ROLLBACK_FUNCTION,
        check_on!("x86_64", this_arch::registers::compat_kept),
    )
    .features(&[Feature::Dispatch, Feature::Ia32])
    .only(OnlyArchs::INT80),
    case(
        "registers/injected-result",
        "the program sees the result that a handler writes, even one that looks like an error",
        RETURN_FUNCTION,
        injected_result,
    ),
    case(
        "registers/edits-honoured",
        "every register that a handler changes in the frame has the new value after the handler",
        RETURN_FUNCTION,
        edits_honoured,
    ),
    case(
        "registers/next-instruction-honoured",
        "the program continues at the address that the handler sets",
        RETURN_FUNCTION,
        next_instruction_honoured,
    ),
    case(
        "registers/call-reissued",
        "if the handler sets ALLOW and steps back to the instruction, the call is issued once, with \
         its arguments",
        ROLLBACK_FUNCTION,
        call_reissued,
    )
    .known_bugs(&["result-register-lost"]),
    case(
        "registers/no-effect",
        "no dispatched call has an effect, whatever its number",
        DISPATCH_FUNCTION,
        no_effect,
    ),
];

/// The registers of a umask(2) call with different values in the other registers.
pub(super) fn pattern_registers() -> Registers {
    Registers::for_call(call_number(libc::SYS_umask), pattern_arguments())
}

/// Six different values, one for each argument of a call.
pub(super) fn pattern_arguments() -> [u64; 6] {
    std::array::from_fn(|i| 0xa5a5_1111_5a5a_0000 | i as u64)
}

/// Handler body: overwrites the floating point registers.
fn overwrite_floating(_: Dispatch<'_>) {
    arch::clobber_floating();
}

/// Issues a dispatched call whose handler overwrites the floating point registers. Checks that the
/// general registers are unchanged, and returns the floating point state after the call.
///
/// `issue` issues a call with the given registers, and returns the registers and the floating point
/// state after the call. `call_address` is the address of the system call instruction of `issue`.
pub(super) fn state_after_overwriting_handler<State>(
    issue: impl Fn(&Registers) -> (Registers, State),
    call_address: u64,
) -> Result<State, Failure> {
    handle_dispatches(overwrite_floating)?;
    arm()?;
    let before = pattern_registers();
    reset_dispatch_count();
    set_selector(BLOCK);
    let (after, state) = issue(&before);
    set_selector(ALLOW);
    expect_equal("SIGSYS handled for a blocked call", dispatch_count(), 1)?;
    let record = first_sigsys_record()?;
    expect_round_trip(&before, &after, &record, call_address + arch::CALL_LENGTH)?;
    Ok(state)
}

/// Checks that every register in `after` has its value from `before`, except those that the system
/// call instruction may overwrite. `sp` is the expected stack pointer. `location` says in messages
/// whether the registers are those in the frame or those after the handler.
fn expect_kept(location: &str, after: &Registers, before: &Registers, sp: u64) -> Check {
    for reg in Reg::preserved_by_calls().chain(Reg::ARGUMENTS).chain([Reg::NUMBER, Reg::RESULT]) {
        let expected = if reg == Reg::Sp { sp } else { before[reg] };
        if reg != Reg::RESULT || !is_result_kept(after, before) {
            expect_equal_hex(&format!("{reg:?} {location}"), after[reg], expected)?;
        }
    }
    Ok(())
}

/// Checks that the registers that the system call instruction may overwrite have one of the permitted
/// combinations of values ([`Registers::clobbered_values`]).
fn expect_permitted_clobbers(
    location: &str,
    after: &Registers,
    before: &Registers,
    compared_address: u64,
) -> Check {
    let values = Reg::CLOBBERED_BY_CALL.map(|reg| after[reg]);
    let expected = before.clobbered_values(compared_address);
    ensure(
        expected.contains(&values),
        &format!("{:?} {location}: one of {expected:x?}", Reg::CLOBBERED_BY_CALL),
        || format!("{values:x?}"),
    )
}

/// Checks that a dispatched call kept the registers in the frame (`record`) and after the handler
/// (`after`), and that the next instruction is at the compared address.
pub(super) fn expect_round_trip(
    before: &Registers,
    after: &Registers,
    record: &SigsysRecord,
    compared_address: u64,
) -> Check {
    let sp = after[Reg::Sp];
    expect_kept("in the frame", &record.registers, before, sp)?;
    expect_kept("after the handler", after, before, sp)?;
    expect_next_instruction(after, record, compared_address)
}

/// Checks that the next instruction is at this address, in the frame (`record`) and after the handler
/// (`after`).
pub(super) fn expect_next_instruction(
    after: &Registers,
    record: &SigsysRecord,
    address: u64,
) -> Check {
    expect_equal_hex(
        "next instruction in the frame",
        record.registers[Reg::INSTRUCTION_POINTER],
        address,
    )?;
    expect_equal_hex("next instruction", after[Reg::INSTRUCTION_POINTER], address)
}

/// Checks that a dispatch changes no register. In the result register, the value that a known bug leaves
/// is accepted too.
pub(super) fn expect_registers_kept() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    for gate in [arch::gate(), arch::second_gate()] {
        let before = pattern_registers();
        let (after, record) = issue_dispatched(&gate, &before)?;
        expect_round_trip(&before, &after, &record, gate.compared_address())?;
        expect_permitted_clobbers(
            "in the frame",
            &record.registers,
            &before,
            gate.compared_address(),
        )?;
        expect_permitted_clobbers("after the handler", &after, &before, gate.compared_address())?;
    }
    Ok(())
}

fn general_kept() -> Check {
    expect_registers_kept()?;
    let before = pattern_registers();
    let (after, record) = issue_dispatched(&arch::gate(), &before)?;
    let result_label = |location: &str| format!("{:?} {location}", Reg::RESULT);
    expect_equal_hex(
        &result_label("in the frame"),
        record.registers[Reg::RESULT],
        before[Reg::RESULT],
    )?;
    expect_equal_hex(&result_label("after the handler"), after[Reg::RESULT], before[Reg::RESULT])
}

fn number_kept() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let gate = arch::gate();
    for number in [
        0,
        call_number(libc::SYS_getpid),
        1 << 32,
        0x8000_0027,
        0xffff_ffff,
        0xdead_beef_0000_0027,
        1 << 63,
        (-1i64).cast_unsigned(),
        (-i64::from(libc::ENOSYS)).cast_unsigned(),
        (-i64::from(libc::EINTR)).cast_unsigned(),
    ] {
        let (after, record) = issue_dispatched(&gate, &Registers::for_call(number, [0; 6]))?;
        expect_equal_hex("number in the frame", record.registers[Reg::NUMBER], number)?;
        expect_equal_hex("number after the handler", after[Reg::NUMBER], number)?;
        expect_equal_hex(
            "next instruction in the frame",
            record.registers[Reg::INSTRUCTION_POINTER],
            gate.compared_address(),
        )?;
    }
    Ok(())
}

/// Handler body: continues after the call, even if a kernel that restarts the call has put the call's
/// own address into the frame.
fn skip_restart(dispatch: Dispatch<'_>) {
    dispatch.frame.registers[Reg::INSTRUCTION_POINTER] = arch::gate().compared_address();
}

fn restart_numbers_kept() -> Check {
    let gate = arch::gate();
    arm()?;
    // include/linux/errno.h: ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK.
    for flags in [0, libc::SA_RESTART] {
        handle_dispatches_with(skip_restart, flags, 0)?;
        for code in [-512i64, -513, -514, -516] {
            let mut before = fresh_umask_call();
            before[Reg::RESULT] = code.cast_unsigned();
            let (_, record) = issue_dispatched(&gate, &before)?;
            let location = format!("of {code} with flags {flags:#x} in the frame");
            let in_frame = record.registers;
            expect_equal(&format!("{:?} {location}", Reg::RESULT), in_frame.result(), code)?;
            expect_equal_hex(
                &format!("next instruction {location}"),
                in_frame[Reg::INSTRUCTION_POINTER],
                gate.compared_address(),
            )?;
        }
    }
    Ok(())
}

/// Handler body: sets the result register to shared word 0.
fn set_result_from_shared_word(dispatch: Dispatch<'_>) {
    dispatch.frame.registers[Reg::RESULT] = shared_word(0);
}

fn injected_result() -> Check {
    handle_dispatches(set_result_from_shared_word)?;
    arm()?;
    for result in [0, 1, -1, -4, -38, -512, -513, -514, -516, -4095, i64::MIN, 0x1234_5678_9abc] {
        set_shared_word(0, result.cast_unsigned());
        let before = pattern_registers();
        let (after, record) = issue_dispatched(&arch::gate(), &before)?;
        expect_equal("result", after.result(), result)?;
        expect_kept("in the frame", &record.registers, &before, after[Reg::Sp])?;
        expect_equal_hex(
            "next instruction",
            after[Reg::INSTRUCTION_POINTER],
            arch::gate().compared_address(),
        )?;
    }
    Ok(())
}

/// The value that [`edit_registers`] gives a register: `value` with its changeable bits inverted.
fn edited_value(reg: Reg, value: u64) -> u64 {
    value ^ reg.changeable_bits()
}

/// Handler body: changes every register as [`edited_value`] does.
fn edit_registers(dispatch: Dispatch<'_>) {
    for reg in Reg::ALL {
        let registers = &mut dispatch.frame.registers;
        registers[reg] = edited_value(reg, registers[reg]);
    }
}

fn edits_honoured() -> Check {
    handle_dispatches(edit_registers)?;
    arm()?;
    let mut before = pattern_registers();
    // The first round changes the pattern to its inverse, the second the inverse to the pattern.
    for _ in 0..2 {
        let (after, record) = issue_dispatched(&arch::gate(), &before)?;
        for reg in Reg::ALL {
            before[reg] = edited_value(reg, record.registers[reg]);
            let expected = before[reg] & reg.changeable_bits();
            expect_equal_hex(&format!("{reg:?}"), after[reg] & reg.changeable_bits(), expected)?;
        }
    }
    Ok(())
}

/// Handler body: continues at [`arch::Gate::other_continuation`].
fn continue_other_continuation(dispatch: Dispatch<'_>) {
    dispatch.frame.registers[Reg::INSTRUCTION_POINTER] = arch::gate().other_continuation();
}

fn next_instruction_honoured() -> Check {
    handle_dispatches(continue_other_continuation)?;
    arm()?;
    let before = pattern_registers();
    let (after, record) = issue_dispatched(&arch::gate(), &before)?;
    expect_equal_hex(
        "next instruction",
        after[Reg::INSTRUCTION_POINTER],
        arch::gate().other_continuation(),
    )?;
    expect_kept("after the handler", &after, &before, after[Reg::Sp])?;
    expect_equal_hex(
        "next instruction in the frame",
        record.registers[Reg::INSTRUCTION_POINTER],
        arch::gate().compared_address(),
    )
}

fn call_reissued() -> Check {
    handle_dispatches(allow_and_reissue)?;
    arm()?;
    let (after, _) = issue_dispatched(&arch::gate(), &fresh_umask_call())?;
    ensure(take_umask_effect(), "the call takes effect", || "it had none".into())?;
    expect_equal("result of the call", after.result(), RESET_UMASK.cast_signed())
}

pub(super) fn no_effect() -> Check {
    handle_dispatches(do_nothing)?;
    let page = map_pages(1)?;
    let fd = sys::memory_file().map_err(broken("memfd_create"))?;
    let own_pid = u64::from(sys::getpid().cast_unsigned());
    let sigkill = libc::SIGKILL.cast_unsigned().into();
    let dispatch_off = sys::PR_SET_SYSCALL_USER_DISPATCH.cast_unsigned().into();
    let sigchld = libc::SIGCHLD.cast_unsigned().into();
    let descriptor = u64::from(fd.cast_unsigned());
    let calls: &[(i64, [u64; 6])] = &[
        (libc::SYS_exit_group, [1, 0, 0, 0, 0, 0]),
        (libc::SYS_exit, [1, 0, 0, 0, 0, 0]),
        (libc::SYS_kill, [own_pid, sigkill, 0, 0, 0, 0]),
        (libc::SYS_close, [descriptor, 0, 0, 0, 0, 0]),
        (libc::SYS_ftruncate, [descriptor, 77, 0, 0, 0, 0]),
        (libc::SYS_munmap, [page as u64, PAGE_SIZE as u64, 0, 0, 0, 0]),
        (libc::SYS_clone, [sigchld, 0, 0, 0, 0, 0]),
        (libc::SYS_rt_sigreturn, [0; 6]),
        (libc::SYS_restart_syscall, [0; 6]),
        (libc::SYS_rt_sigprocmask, [0, &raw const FULL_MASK as u64, 0, 8, 0, 0]),
        (libc::SYS_prctl, [dispatch_off, 0, 0, 0, 0, 0]),
        (libc::SYS_umask, [0o777, 0, 0, 0, 0, 0]),
    ];
    arm()?;
    let _ = take_umask_effect();
    for (call, arguments) in calls.iter().chain(arch::LEGACY_CALLS) {
        let before = Registers::for_call(call_number(*call), *arguments);
        let (after, record) = issue_dispatched(&arch::gate(), &before)?;
        expect_equal("si_syscall", i64::from(record.number()), *call)?;
        ensure(
            is_result_kept(&after, &before),
            &format!("result register after the call: {}", before.result()),
            || after.result().to_string(),
        )?;
    }
    // The write fails if munmap(2) had an effect.
    // SAFETY: the page belongs to this case.
    unsafe { page.write_volatile(1) };
    let seek_end = i64::from(libc::SEEK_END).cast_unsigned();
    // SAFETY: neither call takes a pointer.
    let (size, umask) = unsafe {
        let size = sys::call(libc::SYS_lseek, &[descriptor, 0, seek_end]);
        (size, sys::call(libc::SYS_umask, &[RESET_UMASK]))
    };
    expect_equal("size of the file", size, Ok(0))?;
    expect_equal("umask", umask, Ok(RESET_UMASK))?;
    expect_equal("signal mask", sys::sigmask(libc::SIG_BLOCK, 0), Ok(0))?;
    expect_equal("children", sys::wait(-1, libc::WNOHANG), Err(sys::Errno(libc::ECHILD)))
}

static FULL_MASK: u64 = u64::MAX;
