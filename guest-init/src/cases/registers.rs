//! What the round trip from a dispatch to the handler's return leaves of the registers.

use super::support::*;
use super::{Case, Check, Need, case};
use crate::arch::{self, AvxState, Reg, Registers, SseState};
use crate::shared::Seen;
use crate::sys;
use sudbox_protocol::Feature;

const ROLLBACK: &str = "syscall_rollback()";
const DISPATCH: &str = "syscall_user_dispatch()";
const RETURN: &str = "rt_sigreturn()";

pub(super) const CASES: &[Case] = &[
    case(
        "registers/general-kept",
        "every general register is in the frame as it was at the call, and there again after it",
        ROLLBACK,
        general_kept,
    ),
    case(
        "registers/number-kept",
        "the number register holds all 64 bits that the program put there",
        ROLLBACK,
        number_kept,
    ),
    case(
        "registers/restart-numbers-kept",
        "numbers that equal the kernel's own restart codes are kept like all others",
        "handle_signal()",
        restart_numbers_kept,
    )
    .shows("restart-number"),
    case(
        "registers/flags-kept",
        "every arithmetic flag survives, and the handler begins with the direction flag clear",
        RETURN,
        flags_kept,
    ),
    case(
        "registers/sse-kept",
        "x87 and SSE registers and control words survive a handler that overwrites them",
        RETURN,
        sse_kept,
    ),
    case(
        "registers/avx-kept",
        "AVX registers survive a handler that overwrites them",
        RETURN,
        avx_kept,
    )
    .needing(&[Need::CpuFeature("avx")]),
    case(
        "registers/thread-pointers-kept",
        "both thread pointers are the same in the handler and after it",
        DISPATCH,
        thread_pointers_kept,
    ),
    case(
        "registers/int80-kept",
        "int 0x80 that is dispatched changes no register at all",
        ROLLBACK,
        compat_kept,
    )
    .about(&[Feature::Dispatch, Feature::Ia32]),
    case(
        "registers/injected-result",
        "the result that a handler writes is what the program sees, also one like an error",
        RETURN,
        injected_result,
    ),
    case(
        "registers/edits-honoured",
        "every register that a handler edits in the frame has that value after it",
        RETURN,
        edits_honoured,
    ),
    case(
        "registers/next-instruction-honoured",
        "the program goes on where the handler says",
        RETURN,
        next_instruction_honoured,
    ),
    case(
        "registers/call-reissued",
        "a handler that allows the call and steps back issues it with its arguments, once",
        ROLLBACK,
        call_reissued,
    ),
    case(
        "registers/no-effect",
        "a dispatched call does nothing at all, whichever it is",
        DISPATCH,
        no_effect,
    ),
];

/// A call with a pattern in every register.
fn pattern() -> Registers {
    Registers::call(number(libc::SYS_umask), pattern_arguments())
}

fn pattern_arguments() -> [u64; 6] {
    std::array::from_fn(|i| 0xa5a5_1111_5a5a_0000 | i as u64)
}

/// All but the two registers that the instruction itself may overwrite.
fn kept_in(place: &str, got: &Registers, regs: &Registers, sp: u64) -> Check {
    for reg in Reg::KEPT.into_iter().chain(Reg::ARGUMENTS).chain([Reg::RESULT]) {
        let due = if reg == Reg::Sp { sp } else { regs[reg] };
        equal_hex(&format!("{reg:?} {place}"), got[reg], due)?;
    }
    Ok(())
}

/// The instruction may overwrite these, the kernel may leave nothing else there.
fn scratch_in(place: &str, got: &Registers, regs: &Registers, after: u64) -> Check {
    let values = Reg::SCRATCH.map(|reg| got[reg]);
    let due = regs.scratch_behind(after);
    ensure(due.contains(&values), &format!("{:?} {place}: one of {due:x?}", Reg::SCRATCH), || {
        format!("{values:x?}")
    })
}

fn round_trip(regs: &Registers, got: &Registers, seen: &Seen, after: u64) -> Check {
    let sp = got[Reg::Sp];
    kept_in("in the frame", &seen.registers, regs, sp)?;
    kept_in("after the handler", got, regs, sp)?;
    equal_hex("next instruction in the frame", seen.registers[Reg::NEXT], after)?;
    equal_hex("next instruction", got[Reg::NEXT], after)
}

fn general_kept() -> Check {
    handle(keep)?;
    arm()?;
    for gate in [arch::gate(), arch::second_gate()] {
        let regs = pattern();
        let (got, seen) = dispatched(&gate, &regs)?;
        round_trip(&regs, &got, &seen, gate.after())?;
        scratch_in("in the frame", &seen.registers, &regs, gate.after())?;
        scratch_in("after the handler", &got, &regs, gate.after())?;
    }
    Ok(())
}

fn number_kept() -> Check {
    handle(keep)?;
    arm()?;
    let gate = arch::gate();
    for number in [
        0,
        number(libc::SYS_getpid),
        1 << 32,
        0x8000_0027,
        0xffff_ffff,
        0xdead_beef_0000_0027,
        1 << 63,
        (-1i64).cast_unsigned(),
        (-i64::from(libc::ENOSYS)).cast_unsigned(),
        (-i64::from(libc::EINTR)).cast_unsigned(),
    ] {
        let (got, seen) = dispatched(&gate, &Registers::call(number, [0; 6]))?;
        equal_hex("number in the frame", seen.registers[Reg::RESULT], number)?;
        equal_hex("number after the handler", got[Reg::RESULT], number)?;
        equal_hex("next instruction in the frame", seen.registers[Reg::NEXT], gate.after())?;
    }
    Ok(())
}

/// Leaves the call behind even if the kernel stepped back to issue it again.
fn leave_behind(dispatch: Dispatch<'_>) {
    dispatch.frame.registers[Reg::NEXT] = arch::gate().after();
}

fn restart_numbers_kept() -> Check {
    let gate = arch::gate();
    arm()?;
    // include/linux/errno.h: ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK.
    for flags in [0, libc::SA_RESTART] {
        handle_as(leave_behind, flags, 0)?;
        for code in [-512i64, -513, -514, -516] {
            let (_, seen) = dispatched(&gate, &Registers::call(code.cast_unsigned(), [0; 6]))?;
            let at = format!("of {code} with flags {flags:#x} in the frame");
            let got = seen.registers;
            equal(&format!("number {at}"), got.result(), code)?;
            equal_hex(&format!("next instruction {at}"), got[Reg::NEXT], gate.after())?;
        }
    }
    Ok(())
}

fn flags_kept() -> Check {
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

fn overwrite(_: Dispatch<'_>) {
    arch::clobber_floating();
}

fn sse_kept() -> Check {
    handle(overwrite)?;
    arm()?;
    let before = SseState::pattern();
    let regs = pattern();
    forget();
    flip(BLOCK);
    let (got, after) = arch::issue_with_sse(&regs, &before);
    flip(ALLOW);
    floating(&regs, &got, arch::sse_call())?;
    ensure(before.same(&after), "x87 and SSE state as before", || before.difference(&after))
}

fn avx_kept() -> Check {
    handle(overwrite)?;
    arm()?;
    let before = AvxState::pattern();
    let regs = pattern();
    forget();
    flip(BLOCK);
    let (got, after) = arch::issue_with_avx(&regs, &before);
    flip(ALLOW);
    floating(&regs, &got, arch::avx_call())?;
    ensure(before == after, "AVX registers as before", || before.difference(&after))
}

/// The call was dispatched, and the general registers survived with the others.
fn floating(regs: &Registers, got: &Registers, call: u64) -> Check {
    equal("SIGSYS handled for a blocked call", dispatches(), 1)?;
    let seen = crate::shared::shared().seen(0).ok_or_else(|| wrong("a record", "none"))?;
    round_trip(regs, got, &seen, call + arch::CALL_LENGTH)
}

fn second_pointer_value() -> u64 {
    // SAFETY: the case points it at a word that lives until the end of the case.
    unsafe { arch::read_second_thread_pointer() }
}

fn read_pointers(_: Dispatch<'_>) {
    set_mark(0, thread_pointer(arch::GET_THREAD_POINTER));
    set_mark(1, thread_pointer(arch::GET_SECOND_THREAD_POINTER));
    set_mark(2, second_pointer_value());
}

fn thread_pointer(which: u64) -> u64 {
    let mut value = 0u64;
    // SAFETY: writes one word.
    let _ = unsafe { sys::call(libc::SYS_arch_prctl, &[which, &raw mut value as u64]) };
    value
}

fn thread_pointers_kept() -> Check {
    const VALUE: u64 = 0x1234_5678_9abc_def0;
    handle(read_pointers)?;
    let word = Box::leak(Box::new(VALUE));
    let second = std::ptr::from_ref(word) as u64;
    // SAFETY: nothing else here uses the second thread pointer, and the word is never freed.
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

fn compat_kept() -> Check {
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

fn inject(dispatch: Dispatch<'_>) {
    dispatch.frame.registers[Reg::RESULT] = mark(0);
}

fn injected_result() -> Check {
    handle(inject)?;
    arm()?;
    for result in [0, 1, -1, -4, -38, -512, -513, -514, -516, -4095, i64::MIN, 0x1234_5678_9abc] {
        set_mark(0, result.cast_unsigned());
        let regs = pattern();
        let (got, seen) = dispatched(&arch::gate(), &regs)?;
        equal("result", got.result(), result)?;
        kept_in("in the frame", &seen.registers, &regs, got[Reg::Sp])?;
        equal_hex("next instruction", got[Reg::NEXT], arch::gate().after())?;
    }
    Ok(())
}

/// What [`edit`] puts into a register.
fn edited(reg: Reg) -> u64 {
    0x00c0_ffee_0000_0000 | reg as u64
}

fn edit(dispatch: Dispatch<'_>) {
    for reg in Reg::ALL {
        match reg {
            Reg::Sp | Reg::Ip => {}
            Reg::Flags => dispatch.frame.registers[reg] ^= arch::FLAGS,
            _ => dispatch.frame.registers[reg] = edited(reg),
        }
    }
}

fn edits_honoured() -> Check {
    handle(edit)?;
    arm()?;
    for flags in [0, arch::FLAGS] {
        let (got, _) = dispatched(&arch::gate(), &pattern().with_flags(flags))?;
        for reg in Reg::ALL {
            match reg {
                Reg::Sp | Reg::Ip => {}
                Reg::Flags => {
                    equal_hex("flags", got[reg] & arch::FLAGS, flags ^ arch::FLAGS)?;
                }
                _ => equal_hex(&format!("{reg:?}"), got[reg], edited(reg))?,
            }
        }
    }
    Ok(())
}

fn go_elsewhere(dispatch: Dispatch<'_>) {
    dispatch.frame.registers[Reg::NEXT] = arch::gate().elsewhere();
}

fn next_instruction_honoured() -> Check {
    handle(go_elsewhere)?;
    arm()?;
    let regs = pattern();
    let (got, seen) = dispatched(&arch::gate(), &regs)?;
    equal_hex("next instruction", got[Reg::NEXT], arch::gate().elsewhere())?;
    kept_in("after the handler", &got, &regs, got[Reg::Sp])?;
    equal_hex("next instruction in the frame", seen.registers[Reg::NEXT], arch::gate().after())
}

fn call_reissued() -> Check {
    handle(reissue)?;
    arm()?;
    let (got, _) = dispatched(&arch::gate(), &touch())?;
    ensure(touched(), "the call takes effect", || "it had none".into())?;
    equal("its result", got.result(), 0o022)
}

fn no_effect() -> Check {
    handle(keep)?;
    let page = pages(1)?;
    let fd = sys::memory_file().map_err(broken("memfd_create"))?;
    let me = u64::from(sys::getpid().cast_unsigned());
    let kill = libc::SIGKILL.cast_unsigned().into();
    let child = libc::SIGCHLD.cast_unsigned().into();
    let descriptor = u64::from(fd.cast_unsigned());
    let calls: &[(i64, [u64; 6])] = &[
        (libc::SYS_exit_group, [1, 0, 0, 0, 0, 0]),
        (libc::SYS_exit, [1, 0, 0, 0, 0, 0]),
        (libc::SYS_kill, [me, kill, 0, 0, 0, 0]),
        (libc::SYS_close, [descriptor, 0, 0, 0, 0, 0]),
        (libc::SYS_ftruncate, [descriptor, 77, 0, 0, 0, 0]),
        (libc::SYS_munmap, [page as u64, PAGE as u64, 0, 0, 0, 0]),
        (libc::SYS_clone, [child, 0, 0, 0, 0, 0]),
        (libc::SYS_vfork, [0; 6]),
        (libc::SYS_rt_sigreturn, [0; 6]),
        (libc::SYS_restart_syscall, [0; 6]),
        (libc::SYS_rt_sigprocmask, [0, &raw const FULL_MASK as u64, 0, 8, 0, 0]),
        (libc::SYS_prctl, [59, 0, 0, 0, 0, 0]),
        (libc::SYS_umask, [0o777, 0, 0, 0, 0, 0]),
        (libc::SYS_pause, [0; 6]),
    ];
    arm()?;
    let _ = touched();
    for (call, arguments) in calls {
        let (got, seen) = dispatched(&arch::gate(), &Registers::call(number(*call), *arguments))?;
        equal("si_syscall", i64::from(seen.number()), *call)?;
        equal("number after the handler", got.result(), *call)?;
    }
    // SAFETY: the page is the case's own; if it is gone after all, the runner sees the fault.
    unsafe { page.write_volatile(1) };
    // SAFETY: asks for flags and for the mask of the process.
    let (descriptor, mask) = unsafe {
        let size = sys::call(libc::SYS_lseek, &[descriptor, 0, 2]);
        (size, sys::call(libc::SYS_umask, &[0o022]))
    };
    equal("size of the file", descriptor, Ok(0))?;
    equal("umask", mask, Ok(0o022))?;
    equal("signal mask", sys::sigmask(libc::SIG_BLOCK, 0), Ok(0))?;
    equal("children", sys::wait(-1, libc::WNOHANG), Err(sys::Errno(libc::ECHILD)))
}

static FULL_MASK: u64 = u64::MAX;
