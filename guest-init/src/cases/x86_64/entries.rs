// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The system call entries that only x86-64 has.

use super::compat::*;
use crate::arch::compat::{
    self, Registers as CompatRegisters, Request, context, number as compat_number,
};
use crate::arch::{self, Reg, Registers};
use crate::case::{Check, Failure};
use crate::probe;
use crate::support::*;
use crate::sys::{self, Change};
use crate::vdso;
use std::ops::Range;
use sudbox_protocol::Feature;

/// The umask that a 32-bit [`fresh_umask_call`] sets, and the one before and after it.
const CHANGED_UMASK: u32 = 0o137;
const RESET_UMASK: u32 = 0o022;

/// `umask(2)` in the 32-bit table.
fn compat_touch() -> Registers {
    let _ = take_umask_effect();
    let mut regs = fresh_umask_call();
    regs[Reg::RESULT] = compat_number::UMASK.into();
    regs[Reg::Bx] = CHANGED_UMASK.into();
    regs
}

pub(crate) fn int80() -> Check {
    handle_dispatches(do_nothing)?;
    let gate = arch::compat_gate();
    let after = gate.after();
    arm()?;
    issue_dispatched(&gate, &compat_touch())?;
    ensure(!take_umask_effect(), "a dispatched call has no effect", || "it took effect".into())?;
    // Only the low half of the number register counts, and only that is restored.
    let mut regs = compat_touch();
    regs[Reg::RESULT] |= 0xdead_beef << 32;
    let (got, seen) = issue_dispatched(&gate, &regs)?;
    expect_equal("si_syscall", seen.number(), compat_number::UMASK.cast_signed())?;
    expect_equal_hex("number after the handler", got[Reg::RESULT], compat_number::UMASK.into())?;
    // Allowed by the selector, and by the range.
    let executed = |selector| -> Result<bool, Failure> {
        reset_dispatch_count();
        let regs = compat_touch();
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

/// `umask(2)` with a pattern in all other registers.
fn touch32() -> CompatRegisters {
    CompatRegisters::call(compat_number::UMASK, &[CHANGED_UMASK])
}

/// Resets the umask from inside, and returns the previous one.
fn umask_request() -> Request {
    inside(compat_number::UMASK, &[RESET_UMASK])
}

/// Whether the request before this result of [`umask_request`] took effect.
fn took_effect(asked: &Request) -> bool {
    asked.after.ax == CHANGED_UMASK
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
            let _ = arch::compat_gate().issue(&compat_touch());
            0
        })?;
        expect_killed(end, libc::SIGSEGV, 0)?;
    }
    Ok(())
}

/// Requests that arm with a range, issues a umask(2) call with BLOCK, and ask for its effect.
fn trial_requests(gate: u32, range: &Range<u32>) -> [Request; 3] {
    let touch = Request::new(gate, BLOCK, touch32());
    [arm_range(range.start, range.end - range.start), touch, umask_request()]
}

/// Checks that calls of this gate are judged by the address `after`, and that a dispatch restores all
/// registers. `wrong` is a range that must have no effect.
fn expect_obeyed(program: &Program, gate: u32, after: u32, wrong_range: Range<u32>) -> Check {
    program.write(|shared| shared.head.reaction = ALLOW.into());
    let inside_range = compat::inside();
    let up_to_call = after - 0x10..after;
    let ranges = [
        (inside_range, false),
        (after..after + 1, true),
        (after - 1..after, false),
        (after + 1..after + 2, false),
        (up_to_call, false),
        (wrong_range, false),
    ];
    let mut requests = vec![handle_sigsys(program, SIGINFO | RESTORER), umask_request()];
    requests.extend([arm_inside(), Request::new(gate, ALLOW, touch32()), umask_request()]);
    requests.extend(ranges.iter().flat_map(|(range, _)| trial_requests(gate, range)));
    let done = program.run(&requests)?;
    for (i, (range, expected)) in std::iter::once(&(0..0, true)).chain(&ranges).enumerate() {
        let [armed, call, asked] = &done[2 + 3 * i..5 + 3 * i] else { continue };
        expect_equal("prctl", armed.after.ax, 0)?;
        let place = format!("range {range:#x?} executes a call before {after:#x}");
        expect_equal(&place, took_effect(asked), *expected)?;
        let result = if *expected { RESET_UMASK } else { compat_number::UMASK };
        expect_equal(
            "registers after the call",
            call.after,
            CompatRegisters { ax: result, ..call.registers },
        )?;
        expect_equal("change of the stack pointer", call.stack_change, 0)?;
    }
    let dispatched = ranges.iter().filter(|(_, executed)| !executed).count();
    expect_equal("SIGSYS handled", program.signals() as usize, dispatched)?;
    for index in 0..dispatched.min(compat::SEEN) {
        expect_siginfo(&program.seen(index)?, after, compat_number::UMASK)?;
        let frame = program.seen(index)?.context;
        let expected = touch32();
        for (name, at, expected) in [
            ("EAX", context::AX, expected.ax),
            ("EBX", context::BX, expected.bx),
            ("ECX", context::CX, expected.cx),
            ("EDX", context::DX, expected.dx),
            ("ESI", context::SI, expected.si),
            ("EDI", context::DI, expected.di),
            ("EBP", context::BP, expected.bp),
            ("EIP", context::IP, after),
        ] {
            expect_equal_hex(&format!("{name} in the frame"), frame[at].into(), expected.into())?;
        }
    }
    Ok(())
}

pub(crate) fn int80_from_compat() -> Check {
    let fast = compat::fast_gate()..compat::fast_gate_after() + 1;
    expect_obeyed(&Program::start()?, compat::gate(), compat::gate_after(), fast)
}

/// The program and its vDSO, if the vDSO uses this entry.
fn entering(entry: EntryInstruction) -> Result<(Program, Vdso), Failure> {
    let program = Program::start()?;
    let vdso = program.vdso()?;
    if vdso.entry == entry {
        return Ok((program, vdso));
    }
    Err(Failure::Unmet(format!("a processor on which the 32-bit vDSO enters by {entry}")))
}

fn landing_pad(entry: EntryInstruction) -> Check {
    let (program, vdso) = entering(entry)?;
    let after_int80 = vdso.after_int80(&program)?;
    let caller = compat::fast_gate()..compat::fast_gate_after() + 1;
    expect_obeyed(&program, compat::fast_gate(), after_int80, caller)
}

fn bad_stack(entry: EntryInstruction) -> Check {
    const NOWHERE: u32 = 0x1000;
    const EFAULT: u32 = (-libc::EFAULT).cast_unsigned();
    let (program, vdso) = entering(entry)?;
    let after_int80 = vdso.after_int80(&program)?;
    let gate = match entry {
        EntryInstruction::Sysenter => compat::sysenter_gate(),
        _ => compat::syscall_gate(),
    };
    program.write(|shared| shared.head.reaction = ALLOW.into());
    let bad = CompatRegisters { bp: NOWHERE, ..touch32() };
    let [stack, faults] = handle_faults(&program);
    let done = program.run(&[
        stack,
        faults,
        handle_sigsys(&program, SIGINFO | RESTORER),
        umask_request(),
        arm_inside(),
        Request::new(gate, BLOCK, bad),
        umask_request(),
        Request::new(gate, 2, bad),
        // The program still works.
        Request::new(compat::gate(), BLOCK, touch32()),
        umask_request(),
    ])?;
    for call in [&done[5], &done[7]] {
        expect_equal_hex("result of the call", call.after.ax.into(), EFAULT.into())?;
        expect_equal_hex("place of the fault", call.after.bx.into(), after_int80.into())?;
    }
    expect_equal("effect of the call", took_effect(&done[6]), false)?;
    expect_equal("effect of a dispatched call", took_effect(&done[9]), false)?;
    expect_equal("SIGSEGV handled", program.read(|shared| shared.head.faults), 2)?;
    expect_equal("SIGSYS handled", program.signals(), 1)
}

pub(crate) fn sigreturn_exempt() -> Check {
    // An unreadable address, which prctl(2) accepts.
    const NOWHERE: u32 = 1;
    for flags in [SIGINFO, 0] {
        let program = Program::start()?;
        program.vdso()?;
        program.write(|shared| shared.head.reaction = compat::LEAVE);
        let call = Request::new(compat::gate(), BLOCK, touch32());
        let inside_range = compat::inside();
        let length = inside_range.end - inside_range.start;
        let kill = [program.pid().cast_unsigned(), libc::SIGSYS.cast_unsigned()];
        let done = program.run(&[
            handle_sigsys(&program, flags),
            umask_request(),
            arm_inside(),
            call,
            umask_request(),
            call,
            umask_request(),
            inside(compat_number::PRCTL, &[59, 1, inside_range.start, length, NOWHERE]),
            inside(compat_number::KILL, &kill),
            inside(compat_number::PRCTL, &[59, 0, 0, 0, 0]),
        ])?;
        for (call, asked) in [(&done[3], &done[4]), (&done[5], &done[6])] {
            expect_equal("registers after the call", call.after, call.registers)?;
            expect_equal("effect of a dispatched call", took_effect(asked), false)?;
        }
        for request in &done[7..] {
            expect_equal("a call from inside", request.after.ax, 0)?;
        }
        expect_equal("SIGSYS handled", program.signals(), 3)?;
    }
    Ok(())
}

/// The addresses after the `int 0x80` of both sigreturns.
fn exempt_addresses(vdso: &Vdso) -> [u32; 2] {
    // `pop eax; mov eax, imm32; int 0x80`, and the same without the pop (vdso32/sigreturn.S).
    [vdso.sigreturn + 8, vdso.rt_sigreturn + 7]
}

/// Requests that make the vDSO writable and write a `jmp rsi` (or `jmp esi`) at these addresses, so that the
/// calls before them return.
fn patch_requests(vdso: &Vdso, places: [u32; 2], call: [u8; 2]) -> [Request; 3] {
    let code = u32::from_le_bytes([call[0], call[1], 0xff, 0xe6]);
    let rights = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).cast_unsigned();
    // The whole mapping: a special mapping cannot be split (special_mapping_split()).
    let length = vdso.mapping.end - vdso.mapping.start;
    let writable = inside(compat_number::MPROTECT, &[vdso.mapping.start, length, rights]);
    let [first, second] = places.map(|place| {
        let registers = CompatRegisters { bx: place - 2, cx: code, ..CompatRegisters::default() };
        Request::new(compat::store_gate(), ALLOW, registers)
    });
    [writable, first, second]
}

/// Makes an unmet requirement of the fault of [`patch_requests`] on a sealed vDSO.
fn expect_patched(change: Change, done: &[Request], at: usize) -> Check {
    match (change, done[at].after.ax) {
        (Change::Killed { signal: libc::SIGSEGV, .. }, refused) if refused != 0 => {
            Err(Failure::Unmet("a vDSO that can be written".into()))
        }
        (change, _) => {
            let all = i32::try_from(done.len()).unwrap_or(-1);
            expect_equal("the 32-bit program", change.to_string(), Change::Exited(all).to_string())
        }
    }
}

pub(crate) fn exempt_by_address() -> Check {
    let program = Program::start()?;
    let vdso = program.vdso()?;
    let places = exempt_addresses(&vdso);
    program.write(|shared| shared.head.reaction = ALLOW.into());
    let mut requests =
        vec![handle_sigsys(&program, SIGINFO | RESTORER), umask_request(), arm_inside()];
    requests.extend(patch_requests(&vdso, places, [0xcd, 0x80]));
    let first = requests.len();
    // With BLOCK, and with an invalid value.
    for (place, selector) in places.into_iter().flat_map(|place| [(place, BLOCK), (place, 2)]) {
        let registers = CompatRegisters { bp: place - 2, ..touch32() };
        requests.push(Request::new(compat::jump_gate(), selector, registers));
        requests.push(umask_request());
    }
    let (change, done) = program.run_until_end(&requests)?;
    expect_patched(change, &done, 3)?;
    for pair in done[first..].chunks(2) {
        expect_equal("effect of an exempt call", took_effect(&pair[1]), true)?;
        expect_equal("its result", pair[0].after.ax, RESET_UMASK)?;
    }
    expect_equal("SIGSYS handled", program.signals(), 0)
}

pub(crate) fn exempt_only_compat() -> Check {
    let program = Program::start()?;
    let vdso = program.vdso()?;
    let places = exempt_addresses(&vdso);
    program.write(|shared| shared.head.reaction = ALLOW.into());
    let mut requests =
        vec![handle_sigsys(&program, SIGINFO | RESTORER), umask_request(), arm_inside()];
    requests.extend(patch_requests(&vdso, places, [0x0f, 0x05]));
    let first = requests.len();
    let umask = u32::try_from(libc::SYS_umask).unwrap_or(0);
    for (place, selector) in places.into_iter().flat_map(|place| [(place, BLOCK), (place, ALLOW)]) {
        let registers =
            CompatRegisters { ax: umask, di: CHANGED_UMASK, bp: place - 2, ..touch32() };
        requests.push(Request::new(compat::long_gate(), selector, registers));
        requests.push(umask_request());
    }
    let (change, done) = program.run_until_end(&requests)?;
    expect_patched(change, &done, 3)?;
    for (pair, allowed) in done[first..].chunks(2).zip([false, true, false, true]) {
        expect_equal("effect of a 64-bit call", took_effect(&pair[1]), allowed)?;
        let expected = if allowed { RESET_UMASK } else { umask };
        expect_equal("its result", pair[0].after.ax, expected)?;
    }
    expect_equal("SIGSYS handled", program.signals(), 2)?;
    for (index, place) in places.into_iter().enumerate() {
        let seen = program.seen(index)?;
        expect_equal_hex("si_call_addr", seen.call_address().into(), place.into())?;
        expect_equal_hex("si_arch", seen.arch().into(), arch::AUDIT_ARCH.into())?;
    }
    Ok(())
}

/// Handler body: continues an `int 0x80` at the end of the whole gate, which partial copies do not have.
fn leave_through_gate(dispatch: Dispatch<'_>) {
    set_selector(ALLOW);
    dispatch.frame.registers[Reg::NEXT] = arch::compat_gate().other_continuation();
}

pub(crate) fn exempt_only_in_compat_vdso() -> Check {
    handle_dispatches(leave_through_gate)?;
    let Some(vdso) = vdso::find() else {
        return Err(Failure::Unmet("a vDSO".into()));
    };
    let start = vdso.range.start;
    let page = start - PAGE_SIZE as u64;
    while let Some(data) = sys::mapping(sys::getpid(), page) {
        // SAFETY: the page before the vDSO is its data, which this process does not use from here on.
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
    expect_equal_hex("address after the call", gate.after(), start)?;
    arm()?;
    let (got, seen) = issue_dispatched(&gate, &compat_touch())?;
    ensure(!take_umask_effect(), "a dispatched call has no effect", || "it took effect".into())?;
    expect_equal_hex("si_call_addr", seen.call_address(), start)?;
    expect_equal_hex("next instruction", got[Reg::NEXT], arch::compat_gate().other_continuation())
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
    expect_accepted(MODE_EXCLUSIVE, gate.after(), 1, selector_address(&SELECTOR))?;
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
    landing_pad(EntryInstruction::Sysenter)
}

pub(crate) fn syscall32() -> Check {
    landing_pad(EntryInstruction::Syscall)
}

pub(crate) fn sysenter_bad_stack() -> Check {
    bad_stack(EntryInstruction::Sysenter)
}

pub(crate) fn syscall32_bad_stack() -> Check {
    bad_stack(EntryInstruction::Syscall)
}
