// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The ways into the kernel that only x86-64 has: `int 0x80`, the fast calls of 32-bit programs,
//! x32 numbers and the vsyscall page.

use super::compat::*;
use crate::arch::compat::{
    self, Registers as CompatRegisters, Request, context_index, number as compat_number,
};
use crate::arch::{self, Reg, Registers};
use crate::case::{Check, Failure};
use crate::probe;
use crate::support::*;
use crate::sys::{self, WaitStatus};
use crate::vdso;
use std::ops::Range;
use sudbox_protocol::Feature;

/// The umask that [`fresh_int80_umask_call`] and [`compat_umask_registers`] set, and the umask
/// before.
const CHANGED_UMASK: u32 = 0o137;
const RESET_UMASK: u32 = 0o022;

/// Resets the umask and returns the registers of an `int 0x80` for `umask(2)` that changes it.
fn fresh_int80_umask_call() -> Registers {
    let _ = take_umask_effect();
    let mut regs = fresh_umask_call();
    regs[Reg::RESULT] = compat_number::UMASK.into();
    regs[Reg::Bx] = CHANGED_UMASK.into();
    regs
}

pub(crate) fn int80() -> Check {
    handle_dispatches(do_nothing)?;
    let gate = arch::compat_gate();
    let after = gate.compared_address();
    arm()?;
    issue_dispatched(&gate, &fresh_int80_umask_call())?;
    ensure(!take_umask_effect(), "a dispatched call has no effect", || "it took effect".into())?;
    // The kernel reads the low half of the number register only, and restores only that half.
    let mut regs = fresh_int80_umask_call();
    regs[Reg::RESULT] |= 0xdead_beef << 32;
    let (got, seen) = issue_dispatched(&gate, &regs)?;
    expect_equal("si_syscall", seen.number(), compat_number::UMASK.cast_signed())?;
    expect_equal_hex("number after the handler", got[Reg::RESULT], compat_number::UMASK.into())?;
    // Allowed by the selector, and by the range.
    let executed = |selector| -> Result<bool, Failure> {
        reset_dispatch_count();
        let regs = fresh_int80_umask_call();
        set_selector(selector);
        let got = gate.issue(&regs);
        set_selector(ALLOW);
        let effect = take_umask_effect();
        let expected = if effect { RESET_UMASK } else { compat_number::UMASK };
        expect_equal("result", got.result(), expected.into())?;
        expect_equal("SIGSYS handled", dispatch_count(), u32::from(!effect))?;
        Ok(effect)
    };
    expect_equal("a call with ALLOW executes", executed(ALLOW)?, true)?;
    for (start, expected) in [(after, true), (after - 1, false), (after + 1, false)] {
        expect_accepted(MODE_EXCLUSIVE, start, 1, selector_address(&SELECTOR))?;
        handle_dispatches(flip_to_allow)?;
        expect_equal(
            &format!("range {start:#x}+1 allows a call before {after:#x}"),
            executed(BLOCK)?,
            expected,
        )?;
    }
    disarm()
}

/// The registers of a 32-bit program's `umask(2)`, with a pattern in all other registers.
fn compat_umask_registers() -> CompatRegisters {
    CompatRegisters::for_call(compat_number::UMASK, &[CHANGED_UMASK])
}

/// A request that resets the umask from inside, and whose result is the previous umask.
fn umask_request() -> Request {
    inside_request(compat_number::UMASK, &[RESET_UMASK])
}

/// Whether the umask(2) call before this [`umask_request`] took effect.
fn took_effect(umask_request: &Request) -> bool {
    umask_request.registers_after.ax == CHANGED_UMASK
}

pub(crate) fn int80_refused() -> Check {
    if probe::machine().features.contains(&Feature::Ia32) {
        return Err(Failure::Unmet("a kernel without int 0x80 (ia32_emulation=off)".into()));
    }
    handle_dispatches(leave_through_gate)?;
    for selector in [ALLOW, BLOCK, 2] {
        let end = run_vforked(|| {
            if arm().is_err() {
                return 99;
            }
            set_selector(selector);
            let _ = arch::compat_gate().issue(&fresh_int80_umask_call());
            0
        })?;
        expect_killed(end, libc::SIGSEGV, 0)?;
    }
    Ok(())
}

/// Requests that arm with a range, issue a umask(2) call with BLOCK, and read the umask.
fn trial_requests(gate: u32, range: &Range<u32>) -> [Request; 3] {
    let call = Request::new(gate, BLOCK, compat_umask_registers());
    [arm_range_request(range.start, range.end - range.start), call, umask_request()]
}

/// Checks that the kernel compares `compared_address` with the range for calls of this gate, and
/// that a dispatch restores all registers. `wrong_range` is a range that must not allow the calls.
fn expect_range_obeyed(
    program: &Program,
    gate: u32,
    compared_address: u32,
    wrong_range: Range<u32>,
) -> Check {
    program.write(|shared| shared.state.selector_in_handler = ALLOW.into());
    let inside_range = compat::inside();
    let after = compared_address;
    let up_to_call = after - 0x10..after;
    let ranges = [
        (inside_range, false),
        (after..after + 1, true),
        (after - 1..after, false),
        (after + 1..after + 2, false),
        (up_to_call, false),
        (wrong_range, false),
    ];
    let mut requests = vec![sigsys_handler_request(program, SIGINFO | RESTORER), umask_request()];
    requests.extend([
        arm_inside_request(),
        Request::new(gate, ALLOW, compat_umask_registers()),
        umask_request(),
    ]);
    requests.extend(ranges.iter().flat_map(|(range, _)| trial_requests(gate, range)));
    let done = program.run(&requests)?;
    for (i, (range, expected)) in std::iter::once(&(0..0, true)).chain(&ranges).enumerate() {
        let [armed, call, asked] = &done[2 + 3 * i..5 + 3 * i] else { continue };
        expect_equal("prctl", armed.registers_after.ax, 0)?;
        let place = format!("range {range:#x?} executes a call before {after:#x}");
        expect_equal(&place, took_effect(asked), *expected)?;
        let result = if *expected { RESET_UMASK } else { compat_number::UMASK };
        expect_equal(
            "registers after the call",
            call.registers_after,
            CompatRegisters { ax: result, ..call.registers },
        )?;
        expect_equal("change of the stack pointer", call.stack_change, 0)?;
    }
    let dispatched = ranges.iter().filter(|(_, executed)| !executed).count();
    expect_equal("SIGSYS handled", program.sigsys_count() as usize, dispatched)?;
    for index in 0..dispatched.min(compat::MAX_RECORDED) {
        expect_siginfo(&program.sigsys_record(index)?, after, compat_number::UMASK)?;
        let frame = program.sigsys_record(index)?.user_context;
        let expected = compat_umask_registers();
        for (name, at, expected) in [
            ("EAX", context_index::AX, expected.ax),
            ("EBX", context_index::BX, expected.bx),
            ("ECX", context_index::CX, expected.cx),
            ("EDX", context_index::DX, expected.dx),
            ("ESI", context_index::SI, expected.si),
            ("EDI", context_index::DI, expected.di),
            ("EBP", context_index::BP, expected.bp),
            ("EIP", context_index::IP, after),
        ] {
            expect_equal_hex(&format!("{name} in the frame"), frame[at].into(), expected.into())?;
        }
    }
    Ok(())
}

pub(crate) fn int80_from_compat() -> Check {
    let fast = compat::kernel_vsyscall_gate()..compat::kernel_vsyscall_gate_return() + 1;
    expect_range_obeyed(
        &Program::start()?,
        compat::outside_gate(),
        compat::outside_gate_compared_address(),
        fast,
    )
}

/// Starts the program. Returns it and its vDSO, if the vDSO enters the kernel by this instruction.
fn start_with_vdso_instruction(instruction: EntryInstruction) -> Result<(Program, Vdso), Failure> {
    let program = Program::start()?;
    let vdso = program.vdso()?;
    if vdso.instruction == instruction {
        return Ok((program, vdso));
    }
    Err(Failure::Unmet(format!("a processor on which the 32-bit vDSO enters by {instruction}")))
}

/// Checks that calls through `__kernel_vsyscall` obey the range and the selector.
fn check_landing_pad(instruction: EntryInstruction) -> Check {
    let (program, vdso) = start_with_vdso_instruction(instruction)?;
    let int80_compared_address = vdso.int80_compared_address(&program)?;
    let caller = compat::kernel_vsyscall_gate()..compat::kernel_vsyscall_gate_return() + 1;
    expect_range_obeyed(&program, compat::kernel_vsyscall_gate(), int80_compared_address, caller)
}

/// Checks that a fast call with an unreadable stack fails before anything is dispatched.
fn check_bad_stack(instruction: EntryInstruction) -> Check {
    const NOWHERE: u32 = 0x1000;
    const EFAULT: u32 = (-libc::EFAULT).cast_unsigned();
    let (program, vdso) = start_with_vdso_instruction(instruction)?;
    let int80_compared_address = vdso.int80_compared_address(&program)?;
    let gate = match instruction {
        EntryInstruction::Sysenter => compat::sysenter_gate(),
        _ => compat::syscall_gate(),
    };
    program.write(|shared| shared.state.selector_in_handler = ALLOW.into());
    let bad = CompatRegisters { bp: NOWHERE, ..compat_umask_registers() };
    let [stack, faults] = fault_handler_requests(&program);
    let done = program.run(&[
        stack,
        faults,
        sigsys_handler_request(&program, SIGINFO | RESTORER),
        umask_request(),
        arm_inside_request(),
        Request::new(gate, BLOCK, bad),
        umask_request(),
        Request::new(gate, 2, bad),
        // The program still works.
        Request::new(compat::outside_gate(), BLOCK, compat_umask_registers()),
        umask_request(),
    ])?;
    for call in [&done[5], &done[7]] {
        expect_equal_hex("result of the call", call.registers_after.ax.into(), EFAULT.into())?;
        expect_equal_hex(
            "place of the fault",
            call.registers_after.bx.into(),
            int80_compared_address.into(),
        )?;
    }
    expect_equal("effect of the call", took_effect(&done[6]), false)?;
    expect_equal("effect of a dispatched call", took_effect(&done[9]), false)?;
    expect_equal("SIGSEGV handled", program.read(|shared| shared.state.fault_count), 2)?;
    expect_equal("SIGSYS handled", program.sigsys_count(), 1)
}

pub(crate) fn sigreturn_exempt() -> Check {
    // An unreadable address, which prctl(2) accepts.
    const NOWHERE: u32 = 1;
    for flags in [SIGINFO, 0] {
        let program = Program::start()?;
        program.vdso()?;
        program.write(|shared| shared.state.selector_in_handler = compat::UNCHANGED_SELECTOR);
        let call = Request::new(compat::outside_gate(), BLOCK, compat_umask_registers());
        let inside_range = compat::inside();
        let length = inside_range.end - inside_range.start;
        let kill = [program.pid().cast_unsigned(), libc::SIGSYS.cast_unsigned()];
        let done = program.run(&[
            sigsys_handler_request(&program, flags),
            umask_request(),
            arm_inside_request(),
            call,
            umask_request(),
            call,
            umask_request(),
            inside_request(compat_number::PRCTL, &[59, 1, inside_range.start, length, NOWHERE]),
            inside_request(compat_number::KILL, &kill),
            inside_request(compat_number::PRCTL, &[59, 0, 0, 0, 0]),
        ])?;
        for (call, asked) in [(&done[3], &done[4]), (&done[5], &done[6])] {
            expect_equal("registers after the call", call.registers_after, call.registers)?;
            expect_equal("effect of a dispatched call", took_effect(asked), false)?;
        }
        for request in &done[7..] {
            expect_equal("a call from inside", request.registers_after.ax, 0)?;
        }
        expect_equal("SIGSYS handled", program.sigsys_count(), 3)?;
    }
    Ok(())
}

/// The addresses after the `int 0x80` of both sigreturns in the vDSO, whose calls are always
/// executed.
fn exempt_addresses(vdso: &Vdso) -> [u32; 2] {
    // `pop eax; mov eax, imm32; int 0x80`, and the same without the pop (vdso32/sigreturn.S).
    [vdso.sigreturn + 8, vdso.rt_sigreturn + 7]
}

/// Requests that make the vDSO writable, and write the system call instruction `call` before each
/// of these addresses and a `jmp rsi` (or `jmp esi`) at them, so that the calls return to a gate.
fn patch_requests(vdso: &Vdso, places: [u32; 2], call: [u8; 2]) -> [Request; 3] {
    let code = u32::from_le_bytes([call[0], call[1], 0xff, 0xe6]);
    let rights = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).cast_unsigned();
    // The whole mapping: a special mapping cannot be split (special_mapping_split()).
    let length = vdso.mapping.end - vdso.mapping.start;
    let writable = inside_request(compat_number::MPROTECT, &[vdso.mapping.start, length, rights]);
    let [first, second] = places.map(|place| {
        let registers = CompatRegisters { bx: place - 2, cx: code, ..CompatRegisters::default() };
        Request::new(compat::store_code(), ALLOW, registers)
    });
    [writable, first, second]
}

/// Checks that the program carried out all requests. If [`patch_requests`], at index `patch`, could
/// not write to the vDSO, the case ends as unmet.
fn expect_patched(change: WaitStatus, done: &[Request], patch: usize) -> Check {
    match (change, done[patch].registers_after.ax) {
        (WaitStatus::Killed { signal: libc::SIGSEGV, .. }, refused) if refused != 0 => {
            Err(Failure::Unmet("a vDSO that can be written".into()))
        }
        (change, _) => {
            let all = i32::try_from(done.len()).unwrap_or(-1);
            expect_equal(
                "the 32-bit program",
                change.to_string(),
                WaitStatus::Exited(all).to_string(),
            )
        }
    }
}

pub(crate) fn exempt_by_address() -> Check {
    let program = Program::start()?;
    let vdso = program.vdso()?;
    let places = exempt_addresses(&vdso);
    program.write(|shared| shared.state.selector_in_handler = ALLOW.into());
    let mut requests = vec![
        sigsys_handler_request(&program, SIGINFO | RESTORER),
        umask_request(),
        arm_inside_request(),
    ];
    requests.extend(patch_requests(&vdso, places, [0xcd, 0x80]));
    let first = requests.len();
    // With BLOCK, and with an invalid value.
    for (place, selector) in places.into_iter().flat_map(|place| [(place, BLOCK), (place, 2)]) {
        let registers = CompatRegisters { bp: place - 2, ..compat_umask_registers() };
        requests.push(Request::new(compat::jump_gate(), selector, registers));
        requests.push(umask_request());
    }
    let (change, done) = program.run_until_end(&requests)?;
    expect_patched(change, &done, 3)?;
    for pair in done[first..].chunks(2) {
        expect_equal("effect of an exempt call", took_effect(&pair[1]), true)?;
        expect_equal("its result", pair[0].registers_after.ax, RESET_UMASK)?;
    }
    expect_equal("SIGSYS handled", program.sigsys_count(), 0)
}

pub(crate) fn exempt_only_compat() -> Check {
    let program = Program::start()?;
    let vdso = program.vdso()?;
    let places = exempt_addresses(&vdso);
    program.write(|shared| shared.state.selector_in_handler = ALLOW.into());
    let mut requests = vec![
        sigsys_handler_request(&program, SIGINFO | RESTORER),
        umask_request(),
        arm_inside_request(),
    ];
    requests.extend(patch_requests(&vdso, places, [0x0f, 0x05]));
    let first = requests.len();
    let umask = u32::try_from(libc::SYS_umask).unwrap_or(0);
    for (place, selector) in places.into_iter().flat_map(|place| [(place, BLOCK), (place, ALLOW)]) {
        let registers = CompatRegisters {
            ax: umask,
            di: CHANGED_UMASK,
            bp: place - 2,
            ..compat_umask_registers()
        };
        requests.push(Request::new(compat::long_gate(), selector, registers));
        requests.push(umask_request());
    }
    let (change, done) = program.run_until_end(&requests)?;
    expect_patched(change, &done, 3)?;
    for (pair, allowed) in done[first..].chunks(2).zip([false, true, false, true]) {
        expect_equal("effect of a 64-bit call", took_effect(&pair[1]), allowed)?;
        let expected = if allowed { RESET_UMASK } else { umask };
        expect_equal("its result", pair[0].registers_after.ax, expected)?;
    }
    expect_equal("SIGSYS handled", program.sigsys_count(), 2)?;
    for (index, place) in places.into_iter().enumerate() {
        let seen = program.sigsys_record(index)?;
        expect_equal_hex("si_call_addr", seen.call_address().into(), place.into())?;
        expect_equal_hex("si_arch", seen.arch().into(), arch::AUDIT_ARCH.into())?;
    }
    Ok(())
}

/// Handler body: continues at the end of [`arch::compat_gate`], since a partial copy of the gate
/// has no end.
fn leave_through_gate(dispatch: Dispatch<'_>) {
    set_selector(ALLOW);
    dispatch.frame.registers[Reg::INSTRUCTION_POINTER] = arch::compat_gate().other_continuation();
}

pub(crate) fn exempt_only_in_compat_vdso() -> Check {
    handle_dispatches(leave_through_gate)?;
    let Some(vdso) = vdso::find() else {
        return Err(Failure::Unmet("a vDSO".into()));
    };
    let start = vdso.range.start;
    let page = start - PAGE_SIZE as u64;
    while let Some(data) = sys::mapping(sys::getpid(), page) {
        // SAFETY: the page before the vDSO is its data, which this process does not use from here
        // on.
        let gone = unsafe {
            sys::unmap(data.start as *mut u8, usize::try_from(data.end - data.start).unwrap_or(0))
        };
        if gone.is_err() {
            return Err(Failure::Unmet("a vDSO whose data can be taken away".into()));
        }
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let mapped = sys::map_at(page, PAGE_SIZE, flags, -1).map_err(broken("mmap"))?;
    expect_equal_hex("the page before the vDSO", mapped as u64, page)?;
    // SAFETY: the page is newly mapped, and made executable before its use.
    let gate = unsafe { arch::compat_gate_before(start as *mut u8) };
    protect(page as *mut u8, 1, libc::PROT_READ | libc::PROT_EXEC)?;
    expect_equal_hex("address after the call", gate.compared_address(), start)?;
    arm()?;
    let (got, seen) = issue_dispatched(&gate, &fresh_int80_umask_call())?;
    ensure(!take_umask_effect(), "a dispatched call has no effect", || "it took effect".into())?;
    expect_equal_hex("si_call_addr", seen.call_address(), start)?;
    expect_equal_hex(
        "next instruction",
        got[Reg::INSTRUCTION_POINTER],
        arch::compat_gate().other_continuation(),
    )
}

pub(crate) fn x32() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let gate = arch::gate();
    let call = || {
        let mut regs = fresh_umask_call();
        regs[Reg::RESULT] |= arch::X32_BIT;
        regs
    };
    let (got, seen) = issue_dispatched(&gate, &call())?;
    ensure(!take_umask_effect(), "a dispatched call has no effect", || "it took effect".into())?;
    expect_equal("si_syscall", i64::from(seen.number()), call().result())?;
    expect_equal("number after the handler", got.result(), call().result())?;
    expect_equal_hex("si_arch", seen.arch().into(), arch::AUDIT_ARCH.into())?;
    let regs = call();
    reset_dispatch_count();
    let got = gate.issue(&regs);
    ensure(take_umask_effect(), "an allowed call takes effect", || "it had none".into())?;
    expect_equal("its result", got.result(), RESET_UMASK.into())?;
    expect_accepted(MODE_EXCLUSIVE, gate.compared_address(), 1, selector_address(&SELECTOR))?;
    let got = issue_blocked(&gate, &call());
    ensure(take_umask_effect(), "a call in range takes effect", || "it had none".into())?;
    expect_equal("its result", got.result(), RESET_UMASK.into())?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}

pub(crate) fn vsyscall() -> Check {
    handle_dispatches(flip_to_allow)?;
    let before = sys::clock(libc::CLOCK_REALTIME).as_secs();
    for selector in [ALLOW, BLOCK, 2] {
        reset_dispatch_count();
        arm()?;
        let mut seconds = 0u64;
        set_selector(selector);
        let answer = arch::vsyscall_time(&mut seconds);
        set_selector(ALLOW);
        expect_equal("SIGSYS handled", dispatch_count(), 0)?;
        let now = sys::clock(libc::CLOCK_REALTIME).as_secs();
        // time(2) gives the seconds of the last tick.
        ensure((before.saturating_sub(1)..=now).contains(&answer), "the time", || {
            answer.to_string()
        })?;
        expect_equal("the time written", seconds, answer)?;
    }
    // The system call of the same function is dispatched as usual.
    expect_dispatched(&arch::gate())
}

pub(crate) fn sysenter() -> Check {
    check_landing_pad(EntryInstruction::Sysenter)
}

pub(crate) fn syscall32() -> Check {
    check_landing_pad(EntryInstruction::Syscall)
}

pub(crate) fn sysenter_bad_stack() -> Check {
    check_bad_stack(EntryInstruction::Sysenter)
}

pub(crate) fn syscall32_bad_stack() -> Check {
    check_bad_stack(EntryInstruction::Syscall)
}
