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

/// The umask that [`fresh_int80_umask_call`] and [`compat_umask_registers`] set.
const CHANGED_UMASK: u32 = 0o137;
/// The umask before these calls.
const RESET_UMASK: u32 = 0o022;

/// Resets the umask, and returns the registers of a umask(2) call by `int 0x80` that changes it.
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
    let compared_address = gate.compared_address();
    arm()?;
    issue_dispatched(&gate, &fresh_int80_umask_call())?;
    ensure(!take_umask_effect(), "a dispatched call has no effect", || "it took effect".into())?;
    // The kernel reads the low half of the number register only, and restores only that half.
    let mut regs = fresh_int80_umask_call();
    regs[Reg::RESULT] |= 0xdead_beef << 32;
    let (after, record) = issue_dispatched(&gate, &regs)?;
    expect_equal("si_syscall", record.number(), compat_number::UMASK.cast_signed())?;
    expect_equal_hex("number after the handler", after[Reg::RESULT], compat_number::UMASK.into())?;
    // A call is executed if the selector or the range allows it.
    let is_executed = |selector| -> Result<bool, Failure> {
        reset_dispatch_count();
        let regs = fresh_int80_umask_call();
        set_selector(selector);
        let after = gate.issue(&regs);
        set_selector(ALLOW);
        let has_effect = take_umask_effect();
        let expected = if has_effect { RESET_UMASK } else { compat_number::UMASK };
        expect_equal("result", after.result(), expected.into())?;
        expect_equal("SIGSYS handled", dispatch_count(), u32::from(!has_effect))?;
        Ok(has_effect)
    };
    expect_equal("a call with ALLOW executes", is_executed(ALLOW)?, true)?;
    for (start, expected) in
        [(compared_address, true), (compared_address - 1, false), (compared_address + 1, false)]
    {
        expect_accepted(MODE_EXCLUSIVE, start, 1, selector_address(&SELECTOR))?;
        handle_dispatches(flip_to_allow)?;
        expect_equal(
            &format!("range {start:#x}+1 allows a call before {compared_address:#x}"),
            is_executed(BLOCK)?,
            expected,
        )?;
    }
    disarm()
}

/// The registers of a 32-bit program's `umask(2)`, with a pattern in all other registers.
fn compat_umask_registers() -> CompatRegisters {
    CompatRegisters::for_call(compat_number::UMASK, &[CHANGED_UMASK])
}

/// A request that resets the umask by a call from inside. The call returns the previous umask.
fn reset_umask_request() -> Request {
    inside_request(compat_number::UMASK, &[RESET_UMASK])
}

/// Whether the umask(2) call before this completed [`reset_umask_request`] took effect.
fn took_effect(reset_umask: &Request) -> bool {
    reset_umask.registers_after.ax == CHANGED_UMASK
}

pub(crate) fn int80_refused() -> Check {
    if probe::environment().features.contains(&Feature::Ia32) {
        return Err(Failure::Unmet("a kernel without int 0x80 (ia32_emulation=off)".into()));
    }
    handle_dispatches(leave_through_gate)?;
    for selector in [ALLOW, BLOCK, INVALID] {
        let status = run_vforked(|| {
            if arm().is_err() {
                return SETUP_FAILED;
            }
            set_selector(selector);
            let _ = arch::compat_gate().issue(&fresh_int80_umask_call());
            0
        })?;
        expect_killed(status, libc::SIGSEGV, 0)?;
    }
    Ok(())
}

/// Requests that arm with a range, issue a umask(2) call with BLOCK, and reset the umask.
fn arm_and_call_requests(gate: u32, range: &Range<u32>) -> [Request; 3] {
    let call = Request::new(gate, BLOCK, compat_umask_registers());
    [arm_range_request(range.start, range.end - range.start), call, reset_umask_request()]
}

/// Checks that for calls of this gate the kernel compares `compared_address` with the range, and that a
/// dispatch restores all registers. `wrong_range` is a further range that must not allow the calls.
fn expect_range_obeyed(
    program: &Program,
    gate: u32,
    compared_address: u32,
    wrong_range: Range<u32>,
) -> Check {
    program.write(|shared| shared.state.selector_in_handler = ALLOW.into());
    // Each range, and whether a call is executed with it and BLOCK.
    let ranges = [
        (compat::inside(), false),
        (compared_address..compared_address + 1, true),
        (compared_address - 1..compared_address, false),
        (compared_address + 1..compared_address + 2, false),
        (compared_address - 0x10..compared_address, false),
        (wrong_range, false),
    ];
    let mut requests =
        vec![sigsys_handler_request(program, SIGINFO | RESTORER), reset_umask_request()];
    requests.extend([
        arm_inside_request(),
        Request::new(gate, ALLOW, compat_umask_registers()),
        reset_umask_request(),
    ]);
    requests.extend(ranges.iter().flat_map(|(range, _)| arm_and_call_requests(gate, range)));
    let completed = program.run(&requests)?;
    // The first three requests after the preparations make the call with ALLOW, which is executed.
    let with_allow = (0..0, true);
    for (i, (range, expected)) in std::iter::once(&with_allow).chain(&ranges).enumerate() {
        let [arm, call, reset_umask] = &completed[2 + 3 * i..5 + 3 * i] else { continue };
        expect_equal("prctl", arm.registers_after.ax, 0)?;
        let what = format!("range {range:#x?} executes a call before {compared_address:#x}");
        expect_equal(&what, took_effect(reset_umask), *expected)?;
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
        expect_siginfo(&program.sigsys_record(index)?, compared_address, compat_number::UMASK)?;
        let frame = program.sigsys_record(index)?.user_context;
        let expected = compat_umask_registers();
        for (name, context_word, expected) in [
            ("EAX", context_index::AX, expected.ax),
            ("EBX", context_index::BX, expected.bx),
            ("ECX", context_index::CX, expected.cx),
            ("EDX", context_index::DX, expected.dx),
            ("ESI", context_index::SI, expected.si),
            ("EDI", context_index::DI, expected.di),
            ("EBP", context_index::BP, expected.bp),
            ("EIP", context_index::IP, compared_address),
        ] {
            let value = frame[context_word].into();
            expect_equal_hex(&format!("{name} in the frame"), value, expected.into())?;
        }
    }
    Ok(())
}

pub(crate) fn int80_from_compat() -> Check {
    let vsyscall_gate = compat::kernel_vsyscall_gate()..compat::kernel_vsyscall_gate_return() + 1;
    expect_range_obeyed(
        &Program::start()?,
        compat::outside_gate(),
        compat::outside_gate_compared_address(),
        vsyscall_gate,
    )
}

/// Starts the program, and returns the program and its vDSO. The case ends as unmet if the vDSO enters the
/// kernel by another instruction.
fn start_with_vdso_instruction(instruction: EntryInstruction) -> Result<(Program, Vdso), Failure> {
    let program = Program::start()?;
    let vdso = program.vdso()?;
    if vdso.instruction == instruction {
        return Ok((program, vdso));
    }
    Err(Failure::Unmet(format!("a processor on which the 32-bit vDSO enters by {instruction}")))
}

/// Checks that calls through `__kernel_vsyscall` obey the range and the selector. The kernel returns from
/// such calls to the address after the `int 0x80` (the landing pad), and compares this address with the range.
fn check_landing_pad(instruction: EntryInstruction) -> Check {
    let (program, vdso) = start_with_vdso_instruction(instruction)?;
    let int80_compared_address = vdso.int80_compared_address(&program)?;
    let caller = compat::kernel_vsyscall_gate()..compat::kernel_vsyscall_gate_return() + 1;
    expect_range_obeyed(&program, compat::kernel_vsyscall_gate(), int80_compared_address, caller)
}

/// Checks that a SYSENTER or SYSCALL with an unreadable stack fails before it is dispatched. The kernel
/// reads the sixth argument from the stack (`do_fast_syscall_32()`).
fn check_bad_stack(instruction: EntryInstruction) -> Check {
    const UNMAPPED: u32 = 0x1000;
    const EFAULT: u32 = (-libc::EFAULT).cast_unsigned();
    let (program, vdso) = start_with_vdso_instruction(instruction)?;
    let int80_compared_address = vdso.int80_compared_address(&program)?;
    let gate = match instruction {
        EntryInstruction::Sysenter => compat::sysenter_gate(),
        _ => compat::syscall_gate(),
    };
    program.write(|shared| shared.state.selector_in_handler = ALLOW.into());
    let bad_stack = CompatRegisters { bp: UNMAPPED, ..compat_umask_registers() };
    let [set_signal_stack, handle_faults] = fault_handler_requests(&program);
    let completed = program.run(&[
        set_signal_stack,
        handle_faults,
        sigsys_handler_request(&program, SIGINFO | RESTORER),
        reset_umask_request(),
        arm_inside_request(),
        Request::new(gate, BLOCK, bad_stack),
        reset_umask_request(),
        Request::new(gate, INVALID, bad_stack),
        // A usual call is still dispatched.
        Request::new(compat::outside_gate(), BLOCK, compat_umask_registers()),
        reset_umask_request(),
    ])?;
    for call in [&completed[5], &completed[7]] {
        expect_equal_hex("result of the call", call.registers_after.ax.into(), EFAULT.into())?;
        expect_equal_hex(
            "place of the fault",
            call.registers_after.bx.into(),
            int80_compared_address.into(),
        )?;
    }
    expect_equal("effect of the call", took_effect(&completed[6]), false)?;
    expect_equal("effect of a dispatched call", took_effect(&completed[9]), false)?;
    expect_equal("SIGSEGV handled", program.read(|shared| shared.state.fault_count), 2)?;
    expect_equal("SIGSYS handled", program.sigsys_count(), 1)
}

pub(crate) fn sigreturn_exempt() -> Check {
    // The address of a selector that cannot be read. prctl(2) accepts it.
    const UNREADABLE: u32 = 1;
    for flags in [SIGINFO, 0] {
        let program = Program::start()?;
        program.vdso()?;
        program.write(|shared| shared.state.selector_in_handler = compat::UNCHANGED_SELECTOR);
        let call = Request::new(compat::outside_gate(), BLOCK, compat_umask_registers());
        let inside_range = compat::inside();
        let length = inside_range.end - inside_range.start;
        let kill_arguments = [program.pid().cast_unsigned(), libc::SIGSYS.cast_unsigned()];
        let completed = program.run(&[
            sigsys_handler_request(&program, flags),
            reset_umask_request(),
            arm_inside_request(),
            call,
            reset_umask_request(),
            call,
            reset_umask_request(),
            set_dispatch_request(MODE_EXCLUSIVE, inside_range.start, length, UNREADABLE),
            inside_request(compat_number::KILL, &kill_arguments),
            set_dispatch_request(MODE_OFF, 0, 0, 0),
        ])?;
        for (call, reset_umask) in [(&completed[3], &completed[4]), (&completed[5], &completed[6])]
        {
            expect_equal("registers after the call", call.registers_after, call.registers)?;
            expect_equal("effect of a dispatched call", took_effect(reset_umask), false)?;
        }
        for request in &completed[7..] {
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

/// Requests that make the vDSO writable, write the system call instruction `instruction` before each of
/// these addresses, and write `jmp rsi` (`jmp esi` in 32-bit code) at each address, so that the calls
/// return to a gate.
fn patch_requests(vdso: &Vdso, addresses: [u32; 2], instruction: [u8; 2]) -> [Request; 3] {
    const JMP_RSI: [u8; 2] = [0xff, 0xe6];
    let code = u32::from_le_bytes([instruction[0], instruction[1], JMP_RSI[0], JMP_RSI[1]]);
    let rights = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).cast_unsigned();
    // The whole mapping: a special mapping cannot be split (special_mapping_split()).
    let length = vdso.mapping.end - vdso.mapping.start;
    let writable = inside_request(compat_number::MPROTECT, &[vdso.mapping.start, length, rights]);
    let [first, second] = addresses.map(|address| {
        let registers = CompatRegisters { bx: address - 2, cx: code, ..CompatRegisters::default() };
        Request::new(compat::code_without_call(), ALLOW, registers)
    });
    [writable, first, second]
}

/// Checks that the program carried out all requests. If the mprotect(2) of [`patch_requests`], the
/// request with index `mprotect`, was refused, the case ends as unmet.
fn expect_patched(status: WaitStatus, completed: &[Request], mprotect: usize) -> Check {
    match (status, completed[mprotect].registers_after.ax) {
        (WaitStatus::Killed { signal: libc::SIGSEGV, .. }, error) if error != 0 => {
            Err(Failure::Unmet("a vDSO that can be written".into()))
        }
        (status, _) => {
            let count = i32::try_from(completed.len()).unwrap_or(-1);
            expect_equal(
                "the 32-bit program",
                status.to_string(),
                WaitStatus::Exited(count).to_string(),
            )
        }
    }
}

pub(crate) fn exempt_by_address() -> Check {
    let program = Program::start()?;
    let vdso = program.vdso()?;
    let addresses = exempt_addresses(&vdso);
    program.write(|shared| shared.state.selector_in_handler = ALLOW.into());
    let mut requests = vec![
        sigsys_handler_request(&program, SIGINFO | RESTORER),
        reset_umask_request(),
        arm_inside_request(),
    ];
    requests.extend(patch_requests(&vdso, addresses, INT80));
    let first_call = requests.len();
    for address in addresses {
        for selector in [BLOCK, INVALID] {
            let registers = CompatRegisters { bp: address - 2, ..compat_umask_registers() };
            requests.push(Request::new(compat::jump_gate(), selector, registers));
            requests.push(reset_umask_request());
        }
    }
    let (status, completed) = program.run_until_end(&requests)?;
    expect_patched(status, &completed, 3)?;
    for pair in completed[first_call..].chunks(2) {
        expect_equal("effect of an exempt call", took_effect(&pair[1]), true)?;
        expect_equal("its result", pair[0].registers_after.ax, RESET_UMASK)?;
    }
    expect_equal("SIGSYS handled", program.sigsys_count(), 0)
}

pub(crate) fn exempt_only_compat() -> Check {
    let program = Program::start()?;
    let vdso = program.vdso()?;
    let addresses = exempt_addresses(&vdso);
    program.write(|shared| shared.state.selector_in_handler = ALLOW.into());
    let mut requests = vec![
        sigsys_handler_request(&program, SIGINFO | RESTORER),
        reset_umask_request(),
        arm_inside_request(),
    ];
    requests.extend(patch_requests(&vdso, addresses, SYSCALL));
    let first_call = requests.len();
    let umask = u32::try_from(libc::SYS_umask).unwrap_or(0);
    for address in addresses {
        let registers = CompatRegisters {
            ax: umask,
            di: CHANGED_UMASK,
            bp: address - 2,
            ..compat_umask_registers()
        };
        for selector in [BLOCK, ALLOW] {
            requests.push(Request::new(compat::long_gate(), selector, registers));
            requests.push(reset_umask_request());
        }
    }
    let (status, completed) = program.run_until_end(&requests)?;
    expect_patched(status, &completed, 3)?;
    for (pair, allowed) in completed[first_call..].chunks(2).zip([false, true, false, true]) {
        expect_equal("effect of a 64-bit call", took_effect(&pair[1]), allowed)?;
        let expected = if allowed { RESET_UMASK } else { umask };
        expect_equal("its result", pair[0].registers_after.ax, expected)?;
    }
    expect_equal("SIGSYS handled", program.sigsys_count(), 2)?;
    for (index, address) in addresses.into_iter().enumerate() {
        let record = program.sigsys_record(index)?;
        expect_equal_hex("si_call_addr", record.call_address().into(), address.into())?;
        expect_equal_hex("si_arch", record.arch().into(), arch::AUDIT_ARCH.into())?;
    }
    Ok(())
}

/// Handler body: sets ALLOW, and continues at the end of [`arch::compat_gate`]. The copy of the gate that
/// issued the call has no end.
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
        let unmapped = unsafe {
            sys::unmap(data.start as *mut u8, usize::try_from(data.end - data.start).unwrap_or(0))
        };
        if unmapped.is_err() {
            return Err(Failure::Unmet("a vDSO whose data can be unmapped".into()));
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
    let (after, record) = issue_dispatched(&gate, &fresh_int80_umask_call())?;
    ensure(!take_umask_effect(), "a dispatched call has no effect", || "it took effect".into())?;
    expect_equal_hex("si_call_addr", record.call_address(), start)?;
    expect_equal_hex(
        "next instruction",
        after[Reg::INSTRUCTION_POINTER],
        arch::compat_gate().other_continuation(),
    )
}

pub(crate) fn x32() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let gate = arch::gate();
    let fresh_x32_umask_call = || {
        let mut regs = fresh_umask_call();
        regs[Reg::RESULT] |= arch::X32_BIT;
        regs
    };
    let (after, record) = issue_dispatched(&gate, &fresh_x32_umask_call())?;
    ensure(!take_umask_effect(), "a dispatched call has no effect", || "it took effect".into())?;
    expect_equal("si_syscall", i64::from(record.number()), fresh_x32_umask_call().result())?;
    expect_equal("number after the handler", after.result(), fresh_x32_umask_call().result())?;
    expect_equal_hex("si_arch", record.arch().into(), arch::AUDIT_ARCH.into())?;
    let regs = fresh_x32_umask_call();
    reset_dispatch_count();
    let after = gate.issue(&regs);
    ensure(take_umask_effect(), "an allowed call takes effect", || "it had none".into())?;
    expect_equal("its result", after.result(), RESET_UMASK.into())?;
    expect_accepted(MODE_EXCLUSIVE, gate.compared_address(), 1, selector_address(&SELECTOR))?;
    let after = issue_blocked(&gate, &fresh_x32_umask_call());
    ensure(take_umask_effect(), "a call in range takes effect", || "it had none".into())?;
    expect_equal("its result", after.result(), RESET_UMASK.into())?;
    expect_equal("SIGSYS handled", dispatch_count(), 0)
}

pub(crate) fn vsyscall() -> Check {
    handle_dispatches(flip_to_allow)?;
    let before = sys::clock(libc::CLOCK_REALTIME).as_secs();
    for selector in [ALLOW, BLOCK, INVALID] {
        reset_dispatch_count();
        arm()?;
        let mut written_time = 0u64;
        set_selector(selector);
        let returned_time = arch::vsyscall_time(&mut written_time);
        set_selector(ALLOW);
        expect_equal("SIGSYS handled", dispatch_count(), 0)?;
        let now = sys::clock(libc::CLOCK_REALTIME).as_secs();
        // time(2) returns the seconds at the last timer tick, which may be those before `before`.
        let possible_times = before.saturating_sub(1)..=now;
        ensure(possible_times.contains(&returned_time), "the time", || returned_time.to_string())?;
        expect_equal("the time written", written_time, returned_time)?;
    }
    // An ordinary system call is dispatched.
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
